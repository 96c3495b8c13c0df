package proxy

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp reports whether the peer of a TCP connection has closed or reset it, or
// finished sending. It neither reads nor blocks, and sees past unread bytes.
func hungUp(conn net.Conn) bool { return polls(conn, unix.POLLRDHUP) }

// readable reports whether a read of a TCP connection would return at once: with
// bytes, the end or an error.
func readable(conn net.Conn) bool { return polls(conn, unix.POLLIN|unix.POLLRDHUP) }

func polls(conn net.Conn, events int16) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	ready := false
	err = raw.Control(func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds[:], 0)
		ready = err == nil && n > 0
	})
	return ready || err != nil
}
