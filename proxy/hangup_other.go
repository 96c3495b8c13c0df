//go:build !linux

package proxy

import (
	"net"
	"syscall"
)

// hungUp cannot tell here: a client that left is noticed when it is written to.
func hungUp(net.Conn) bool { return false }

// broken cannot tell either: a write may get the reset that ends a response before its time.
func broken(net.Conn) bool { return false }

// peek cannot look here: a stale connection is noticed when it is used.
type peek struct{}

func newPeek(net.Conn) *peek { return nil }

func (*peek) readable() bool { return false }

// duplicate cannot: there is no express lane here.
func duplicate(syscall.Conn) (fd int, ok bool) { return -1, false }

// loopListener is a listening socket of a loop. There are none here.
type loopListener struct{ net.Listener }

func forLoops(*net.TCPListener) (*loopListener, bool) { return nil, false }

// Control is never called.
func (*loopListener) Control(func(fd uintptr)) error { return syscall.ENOTSUP }

// Read and Write are never called.
func (*loopListener) Read(func(uintptr) bool) error  { return syscall.ENOTSUP }
func (*loopListener) Write(func(uintptr) bool) error { return syscall.ENOTSUP }
