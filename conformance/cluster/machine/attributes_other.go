//go:build !linux

package machine

import "syscall"

// attributes makes no namespaces: there are none, and nsenter will say so.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
