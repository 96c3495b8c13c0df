package proxy

import (
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// What package net sets for each connection, as defaults of [net.KeepAliveConfig].
const (
	keepAliveIdle  = 15 // seconds
	keepAliveEvery = 15 // seconds
	keepAliveCount = 9
)

// loopListener is a listening socket that a loop accepts from. The Go runtime, which would
// wake up for each connection, does not know of it. It implements [syscall.RawConn], too.
type loopListener struct {
	address net.Addr
	mu      sync.Mutex // held while fd is used, but for the loop
	fd      int        // -1 when closed
}

// forLoops takes listener over, or returns false. Connections inherit from it what package
// net would set for each.
func forLoops(listener *net.TCPListener) (*loopListener, bool) {
	fd, ok := duplicate(listener)
	if !ok {
		return nil, false
	}
	for _, option := range [][3]int{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveIdle},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveEvery},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount},
	} {
		_ = unix.SetsockoptInt(fd, option[0], option[1], option[2])
	}
	_ = listener.Close() // the duplicate goes on
	return &loopListener{address: listener.Addr(), fd: fd}, true
}

// Accept is the loop's.
func (*loopListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }

// Addr is what it listens to.
func (l *loopListener) Addr() net.Addr { return l.address }

// Close closes the socket, once the loop has let go of it.
func (l *loopListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		return net.ErrClosed
	}
	fd := l.fd
	l.fd = -1
	return unix.Close(fd)
}

// Control calls f with the descriptor.
func (l *loopListener) Control(f func(fd uintptr)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(l.fd))
	return nil
}

// Read and Write are for sockets that the Go runtime knows.
func (*loopListener) Read(func(uintptr) bool) error  { return syscall.ENOTSUP }
func (*loopListener) Write(func(uintptr) bool) error { return syscall.ENOTSUP }
