//go:build linux

package loop

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of an exchange are raw: none of them can block, as every
// descriptor is non-blocking, and telling the scheduler costs more than some of
// them.

func readSocket(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
	return int(n), errno
}

// writeSocket does not raise SIGPIPE: write(2) would, and while Go ignores that for
// sockets it still runs a signal handler.
func writeSocket(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// quiet reports whether nothing is there to read: no byte, no end, no error.
func quiet(fd int) bool {
	var first byte
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&first)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return errno == unix.EAGAIN
}

// hungUp reports whether the peer has finished sending, or all is over, before an event
// has told so. It sees past unread bytes.
func hungUp(fd int) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n > 0
}

func closeDescriptor(fd int) {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// shutdownWrite tells the peer that nothing follows.
func shutdownWrite(fd int) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return errno == 0
}

// resetOnClose makes close send a reset, so that the peer sees an error.
func resetOnClose(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// noDelay lets small pieces out at once.
func noDelay(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

// connectSocket begins to connect to addr. With EINPROGRESS the outcome is told
// later, see socketError; on any other error there is no descriptor.
func connectSocket(addr netip.AddrPort) (int, unix.Errno) {
	family := unix.AF_INET
	if !addr.Addr().Unmap().Is4() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, errnoOf(err)
	}
	noDelay(fd)
	if err := unix.Connect(fd, socketAddress(addr)); err != nil {
		if errors.Is(err, unix.EINPROGRESS) {
			return fd, unix.EINPROGRESS
		}
		closeDescriptor(fd)
		return -1, errnoOf(err)
	}
	return fd, 0
}

func errnoOf(err error) unix.Errno {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return unix.EINVAL
}

func socketAddress(addr netip.AddrPort) unix.Sockaddr {
	ip := addr.Addr().Unmap()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: ip.As16(), ZoneId: zoneIndex(ip.Zone())}
}

// zoneIndex reads the number of an interface; endpoints have no zones by name.
func zoneIndex(zone string) (index uint32) {
	for _, c := range zone {
		if c < '0' || c > '9' {
			return 0
		}
		index = index*10 + uint32(c-'0')
	}
	return index
}

// socketError returns what became of a connection attempt, or why a connection
// broke; 0 when it is in order.
func socketError(fd int) unix.Errno {
	value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return errnoOf(err)
	}
	return unix.Errno(value)
}

// acceptSocket takes a connection from a listening socket. What that has set, such as
// TCP_NODELAY and what keeps connections alive, the connection inherits.
func acceptSocket(listening int) (fd int, peer netip.AddrPort, errno unix.Errno) {
	var address unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listening), uintptr(unsafe.Pointer(&address)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(n), addressOf(&address), 0
}

// localAddress is what the peer has connected to; invalid is not known.
func localAddress(fd int) netip.AddrPort {
	var address unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&address)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return netip.AddrPort{}
	}
	return addressOf(&address)
}

// addressOf reads an address of the kernel's: IPv4 as such, and without a zone.
func addressOf(address *unix.RawSockaddrAny) netip.AddrPort {
	switch address.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(address))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), networkOrder(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(address))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), networkOrder(in.Port))
	}
	return netip.AddrPort{}
}

// networkOrder is a port as the kernel writes it, big-endian.
func networkOrder(port uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&port))[:])
}
