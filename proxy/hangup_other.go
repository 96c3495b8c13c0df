//go:build !linux

package proxy

import "net"

// hungUp cannot tell here: a client that left is noticed when it is written to.
func hungUp(net.Conn) bool { return false }

// peek cannot look here: a stale connection is noticed when it is used.
type peek struct{}

func newPeek(net.Conn) *peek { return nil }

func (*peek) readable() bool { return false }

// duplicate cannot: there is no express lane here.
func duplicate(*net.TCPConn) (fd int, ok bool) { return -1, false }
