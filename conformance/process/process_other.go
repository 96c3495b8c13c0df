//go:build !linux

package process

import "syscall"

func (a Attachment) attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
