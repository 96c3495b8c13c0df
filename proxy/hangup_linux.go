package proxy

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hungUp reports whether the peer of a TCP connection has closed or reset it, or
// finished sending. It neither reads nor blocks, and sees past unread bytes.
func hungUp(conn net.Conn) bool { return happened(conn, unix.POLLRDHUP) }

// broken reports whether a TCP connection takes and brings nothing any more, as after a reset.
func broken(conn net.Conn) bool { return happened(conn, 0) }

// happened reports whether poll(2) tells of the events, or of an error or the end of both
// directions.
func happened(conn net.Conn, events int16) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds[:], 0)
		gone = err == nil && n > 0
	})
	return gone || err != nil
}

// peek looks whether a read of a connection would return at once. It is kept
// with the connection so that looking allocates nothing.
type peek struct {
	raw   syscall.RawConn
	look  func(fd uintptr)
	first byte
	ready bool
}

// newPeek returns nil for a connection that cannot be looked at.
func newPeek(conn net.Conn) *peek {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	p := &peek{raw: raw}
	p.look = func(fd uintptr) {
		// A raw call, as it cannot block; cheaper than poll(2).
		_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p.first)), 1,
			unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		p.ready = errno != unix.EAGAIN
	}
	return p
}

// readable reports whether there are bytes, the end or an error to read.
func (p *peek) readable() bool {
	if p == nil {
		return false
	}
	p.ready = false
	err := p.raw.Control(p.look)
	return p.ready || err != nil
}
