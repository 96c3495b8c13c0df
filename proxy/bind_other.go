//go:build !linux

package proxy

import (
	"net"
	"net/netip"
)

// controlSize holds the control messages that come with a datagram: none.
const controlSize = 0

// controlOf prepares nothing.
func controlOf(*Listener) socketControl { return nil }

// askLocal reports that it cannot be told what address a datagram was sent to.
func askLocal(*net.UDPConn) bool { return false }

// localOf is not called.
func localOf([]byte) netip.Addr { return netip.Addr{} }

// controlFrom leaves it to the system.
func controlFrom(sessionKey) []byte { return nil }
