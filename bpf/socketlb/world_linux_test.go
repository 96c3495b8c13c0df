package socketlb

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf"
	"github.com/lintel-dev/lintel/bpf/bpftest"
)

// world is a network namespace and a cgroup of the test's own, with servers that answer
// with their names. It belongs to the goroutine of the test.
type world struct {
	*testing.T
	cgroup  string
	maps    map[string]*ebpf.Map // of what was loaded last
	outside int                  // a socket of the namespace that was made outside of the cgroup
}

func newWorld(t *testing.T) *world {
	t.Helper()
	bpftest.Require(t, Needs().Probe())
	bpftest.NothingLeft(t, "lb_")
	bpftest.Namespace(t)
	w := &world{T: t, cgroup: bpftest.Cgroup(t)}
	outside, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.outside = outside
	t.Cleanup(func() { unix.Close(outside) })
	bpftest.Enter(t, w.cgroup)
	return w
}

// load loads programs that nothing is in yet, and attaches them.
func (w *world) load(sizes Sizes) *table {
	w.Helper()
	p, err := load(bpf.Pins{}, sizes.orSmall())
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(p.close)
	w.maps = p.collection.Maps
	t, err := newTable(p.collection.Maps)
	if err != nil {
		w.Fatal(err)
	}
	if err := p.attach(w.cgroup); err != nil {
		w.Fatal(err)
	}
	return t
}

func (w *world) apply(t *table, want Services) {
	w.Helper()
	if err := t.apply(want); err != nil {
		w.Fatal(err)
	}
}

// kind is of sockets.
type kind struct {
	family, kind int
	protocol     Protocol
}

// sockaddr is an address as sockets of the family take it.
func (k kind) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if k.family == unix.AF_INET {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return unmapped(netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)))
	}
	return netip.AddrPort{}
}

func (w *world) socket(k kind) int {
	w.Helper()
	s, err := unix.Socket(k.family, k.kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.Fatal(err)
	}
	limit := unix.NsecToTimeval(5e9)
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		w.Fatal(err)
	}
	return s
}

// serve answers at an address of lo with a name, until the test ends.
func (w *world) serve(protocol Protocol, at, name string) netip.AddrPort {
	w.Helper()
	a := netip.MustParseAddrPort(at)
	k := kind{unix.AF_INET6, unix.SOCK_STREAM, protocol}
	if a.Addr().Is4() {
		k.family = unix.AF_INET
	}
	if protocol == UDP {
		k.kind = unix.SOCK_DGRAM
	}
	s, err := unix.Socket(k.family, k.kind|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = unix.Bind(s, k.sockaddr(a))
	}
	if err == nil && protocol == TCP {
		err = unix.Listen(s, 1024)
	}
	if err != nil {
		w.Fatalf("serve %s: %v", at, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if protocol == TCP {
			answerConnections(s, name)
		} else {
			answerDatagrams(s, name)
		}
	}()
	w.Cleanup(func() {
		_ = unix.Shutdown(s, unix.SHUT_RDWR) // wakes whoever waits in it
		<-ended
		unix.Close(s)
	})
	return a
}

func answerConnections(s int, name string) {
	for {
		c, _, err := unix.Accept4(s, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
			continue
		}
		if err != nil {
			return
		}
		_, _ = unix.Write(c, []byte(name))
		unix.Close(c)
	}
}

func answerDatagrams(s int, name string) {
	for buffer := make([]byte, 64); ; {
		n, from, err := unix.Recvfrom(s, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || from == nil || n == 0 {
			return
		}
		_ = unix.Sendto(s, []byte(name), 0, from)
	}
}

// connect returns the name of who answers, and the peer that the socket says it has.
func (w *world) connect(k kind, to string) (name, peer string, err error) {
	w.Helper()
	s := w.socket(k)
	defer unix.Close(s)
	return w.connectSocket(s, k, to)
}

func (w *world) connectSocket(s int, k kind, to string) (name, peer string, err error) {
	w.Helper()
	if err := unix.Connect(s, k.sockaddr(netip.MustParseAddrPort(to))); err != nil {
		return "", "", err
	}
	if k.protocol == UDP {
		if _, err := unix.Write(s, []byte("?")); err != nil {
			return "", "", err
		}
	}
	buffer := make([]byte, 64)
	var n int
	for {
		if n, err = unix.Read(s, buffer); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return "", "", err
	}
	a, err := unix.Getpeername(s)
	if err == nil {
		peer = addrPort(a).String()
	} else if errors.Is(err, unix.ENOTCONN) { // the server has closed it
		peer, err = to, nil
	}
	return string(buffer[:n]), peer, err
}

// ask sends a datagram from a socket that is not connected, and returns who answered, and
// from where that came.
func (w *world) ask(s int, k kind, to string) (name, from string, err error) {
	w.Helper()
	if err := unix.Sendto(s, []byte("?"), 0, k.sockaddr(netip.MustParseAddrPort(to))); err != nil {
		return "", "", err
	}
	buffer := make([]byte, 64)
	for {
		n, a, err := unix.Recvfrom(s, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return "", "", err
		}
		return string(buffer[:n]), addrPort(a).String(), nil
	}
}

func kinds() map[string]kind {
	return map[string]kind{
		"TCP over IPv4": {unix.AF_INET, unix.SOCK_STREAM, TCP}, "TCP over IPv6": {unix.AF_INET6, unix.SOCK_STREAM, TCP},
		"UDP over IPv4": {unix.AF_INET, unix.SOCK_DGRAM, UDP}, "UDP over IPv6": {unix.AF_INET6, unix.SOCK_DGRAM, UDP},
	}
}

func tcp4() kind { return kind{unix.AF_INET, unix.SOCK_STREAM, TCP} }

func addresses(all ...string) (a []netip.AddrPort) {
	for _, s := range all {
		a = append(a, netip.MustParseAddrPort(s))
	}
	return a
}

func quiet(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// inode is how links name a cgroup.
func inode(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

func expectAll(t *testing.T, got string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(got, part) {
			t.Errorf("%q does not say %q", got, part)
		}
	}
}
