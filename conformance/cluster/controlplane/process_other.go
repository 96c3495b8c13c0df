//go:build !linux

package controlplane

import "syscall"

func (a attachment) attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
