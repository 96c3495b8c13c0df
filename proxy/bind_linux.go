package proxy

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// controlSize holds the control messages that come with a datagram.
const controlSize = 128

// controlOf prepares a socket before it is bound.
func controlOf(l *Listener) socketControl {
	if !l.FreeBind {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		controlErr := c.Control(func(fd uintptr) {
			// For IPv6 too: Linux looks at the same option.
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
		})
		return errors.Join(controlErr, err)
	}
}

// askLocal makes the address that a datagram was sent to come with it, and reports whether
// it does.
func askLocal(conn *net.UDPConn) bool {
	wire, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	asked := false
	_ = wire.Control(func(fd uintptr) {
		// A socket for both families gets either message.
		v4 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		v6 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		asked = v4 == nil || v6 == nil
	})
	return asked
}

// localOf returns the address that a datagram was sent to, invalid if it is not told.
func localOf(control []byte) netip.Addr {
	for len(control) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		switch {
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[8:12])) // ipi_addr
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data[:16])).Unmap()
		}
		control = rest
	}
	return netip.Addr{}
}

// controlFrom makes the datagrams to a client come from the address that it has sent to;
// nil leaves it to the system.
func controlFrom(key sessionKey) []byte {
	switch {
	case key.local.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: key.local.As4()})
	case key.local.Is6():
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: key.local.As16()})
	default:
		return nil
	}
}
