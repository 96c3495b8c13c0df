package hostports

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf/bpftest"
)

// Clients and sockets are made by system calls on the test's own thread, which is in the
// test's network namespace; others are not.

const patience = 5 * time.Second

// places are one of each kind, and what clients dial.
func places() []listenedTo {
	return []listenedTo{
		{"every address, IPv4", ":80", "127.0.0.1:80"},
		{"every address, another one of IPv4", ":80", "127.9.9.9:80"},
		{"every address, IPv6", ":80", "[::1]:80"},
		{"an address of a pool, IPv4", "127.20.0.1:80", "127.20.0.1:80"},
		{"an address of a pool, IPv6", "[2001:db8::1]:80", "[2001:db8::1]:80"},
	}
}

type listenedTo struct{ name, listen, dial string }

// inWorld attaches in a network namespace of the test's own, which has 2001:db8::1 on lo.
func inWorld(t *testing.T) *Ports {
	t.Helper()
	bpftest.Require(t, Probe())
	bpftest.NothingLeft(t, "lt_host_ports")
	bpftest.NothingLeft(t, "lt_sockets")
	bpftest.Namespace(t)
	giveLoopback(t, "2001:db8::1")
	return open(t)
}

func open(t *testing.T) *Ports {
	t.Helper()
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() }) // some tests have closed it
	return p
}

// giveLoopback puts an address of IPv6 on lo.
func giveLoopback(t *testing.T, address string) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	request := struct { // struct in6_ifreq
		address [16]byte
		prefix  uint32
		index   int32
	}{netip.MustParseAddr(address).As16(), 128, 1}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&request))); errno != 0 {
		t.Fatalf("give lo %s: %v", address, errno)
	}
}

func sockaddr(at netip.AddrPort) (family int, address unix.Sockaddr) {
	if at.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}
}

// dial connects a socket.
func dial(kind int, address string) (net.Conn, error) {
	family, to := sockaddr(netip.MustParseAddrPort(address))
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), address)
	defer file.Close()
	if err := unix.Connect(fd, to); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	conn, err := net.FileConn(file)
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

// bound really binds a TCP socket, as others do.
func bound(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// accepts checks that a client's connection comes out of the listener, and that both sides
// agree who they are.
func accepts(t *testing.T, listener net.Listener, address string) {
	t.Helper()
	client, err := dial(unix.SOCK_STREAM, address)
	if err != nil {
		t.Errorf("%s: %v", address, err)
		return
	}
	defer client.Close()
	_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	conn, err := listener.Accept()
	if err != nil {
		t.Errorf("%s: accept: %v", address, err)
		return
	}
	defer conn.Close()
	if got := conn.LocalAddr().String(); got != address {
		t.Errorf("the accepted connection is to %s, want %s", got, address)
	}
	if conn.RemoteAddr().String() != client.LocalAddr().String() || client.RemoteAddr().String() != address {
		t.Errorf("client %v to %v came as %v", client.LocalAddr(), client.RemoteAddr(), conn.RemoteAddr())
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 8)
	if n, err := client.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
}
