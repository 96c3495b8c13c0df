package process

import "syscall"

func (a Attachment) attributes() *syscall.SysProcAttr {
	s := &syscall.SysProcAttr{Setpgid: true}
	if a == Attached {
		s.Pdeathsig = syscall.SIGKILL
	}
	return s
}
