package proxy

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// duplicate returns a descriptor of the socket that is not the Go runtime's.
func duplicate(socket syscall.Conn) (fd int, ok bool) {
	wire, err := socket.SyscallConn()
	if err != nil {
		return -1, false
	}
	err = wire.Control(func(own uintptr) {
		var errno error
		fd, errno = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
		ok = errno == nil
	})
	return fd, ok && err == nil
}
