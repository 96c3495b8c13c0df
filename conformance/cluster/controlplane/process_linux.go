package controlplane

import "syscall"

func (a attachment) attributes() *syscall.SysProcAttr {
	s := &syscall.SysProcAttr{Setpgid: true}
	if a == attached {
		s.Pdeathsig = syscall.SIGKILL
	}
	return s
}
