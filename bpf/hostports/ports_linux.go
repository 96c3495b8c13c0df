package hostports

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf"
)

// Probe says why ports can't be received for here: the error wraps bpf.ErrUnavailable.
func Probe() error {
	return bpf.Needs{
		Programs: []bpf.Program{{Type: ebpf.SkLookup, Since: "5.9"}},
		Maps:     []ebpf.MapType{ebpf.SockHash},
		Helpers:  []bpf.Helper{{Program: ebpf.SkLookup, Function: asm.FnSkAssign, Since: "5.9"}},
	}.Probe()
}

// Ports are those of one network namespace, as far as this process receives for them.
// Methods are safe for concurrent use; sockets have to be made in the namespace that Open
// was called in.
type Ports struct {
	objects programObjects
	link    link.Link
	family  int // of inner sockets

	mu     sync.Mutex // guards what follows
	owners map[uint64]string
}

// Open attaches to the network namespace of the calling thread. Errors wrap
// bpf.ErrUnavailable. It is undone by Close, and by the end of the process.
func Open() (*Ports, error) {
	if err := Probe(); err != nil {
		return nil, err
	}
	// Kernels before 5.11 count what we load by a limit that few may raise, and it may do.
	_ = rlimit.RemoveMemlock()
	p := &Ports{family: innerFamily(), owners: map[uint64]string{}}
	if err := loadProgramObjects(&p.objects, nil); err != nil {
		return nil, bpf.Unavailable("the program can't be loaded: %w", err)
	}
	// A process's other threads may be elsewhere.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	namespace, err := os.Open("/proc/thread-self/ns/net")
	if err == nil {
		defer namespace.Close()
		p.link, err = link.AttachNetNs(int(namespace.Fd()), p.objects.LtHostPorts)
	}
	if err != nil {
		_ = p.objects.Close()
		return nil, bpf.Unavailable("the program can't be attached to the network namespace: %w", err)
	}
	return p, nil
}

// innerFamily is IPv6's, whose sockets serve both, unless the kernel has none.
func innerFamily() int {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return unix.AF_INET
	}
	_ = unix.Close(fd)
	return unix.AF_INET6
}

// Close ends the attachment. Sockets stay open, and receive nothing from then on, unless
// another process receives for them.
func (p *Ports) Close() error {
	return errors.Join(p.link.Close(), p.objects.Close())
}

// ListenTCP opens a socket that gets the connections to an address, "192.0.2.1:80", or to
// all of a port, ":80". A [Conflict] says that somebody else has it.
func (p *Ports) ListenTCP(address string) (*net.TCPListener, error) {
	file, err := p.listen("tcp", address)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("listen to %s/tcp: %w", address, err)
	}
	return listener.(*net.TCPListener), nil
}

// ListenUDP is ListenTCP for datagrams. What is sent over the socket has to say which
// address it comes from (IP_PKTINFO, IPV6_PKTINFO): that which the client sent to.
func (p *Ports) ListenUDP(address string) (*net.UDPConn, error) {
	file, err := p.listen("udp", address)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil, fmt.Errorf("listen to %s/udp: %w", address, err)
	}
	return conn.(*net.UDPConn), nil
}

// Adopt makes a socket that another process opened by ListenTCP ("tcp") or ListenUDP
// ("udp") get what is for address from this process's program too. So it goes on when that
// one ends.
func (p *Ports) Adopt(network, address string, socket syscall.RawConn) error {
	at, err := placeOf(network, address)
	if err != nil {
		return err
	}
	var refused error
	err = socket.Control(func(fd uintptr) { refused = p.receive(at, int(fd)) })
	if err := errors.Join(err, refused); err != nil {
		return fmt.Errorf("receive for %s: %w", at, err)
	}
	return nil
}

// listen opens the inner socket of an address, and receives for it.
func (p *Ports) listen(network, address string) (*os.File, error) {
	at, err := placeOf(network, address)
	if err != nil {
		return nil, err
	}
	// Sockets and /proc are those of one thread's namespace.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.checkConflicts(at); err != nil {
		return nil, err
	}
	file, err := openInner(p.family, at)
	if err != nil {
		return nil, fmt.Errorf("listen to %s: %w", at, err)
	}
	if err := p.receive(at, int(file.Fd())); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("receive for %s: %w", at, err)
	}
	return file, nil
}

// receive gives what is for a place to a socket.
func (p *Ports) receive(at place, fd int) error {
	for _, key := range at.keys() {
		err := p.objects.LtSockets.Update(key, uint64(fd), ebpf.UpdateAny)
		if errors.Is(err, unix.E2BIG) {
			return fmt.Errorf("the map is full with %d addresses", p.objects.LtSockets.MaxEntries())
		}
		if err != nil {
			return fmt.Errorf("put socket into the map: %w", err)
		}
	}
	return nil
}

// openInner opens the socket of a place. A TCP socket listens.
func openInner(family int, at place) (*os.File, error) {
	kind := unix.SOCK_STREAM
	if at.network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	// Not of Multipath TCP, whose sockets no map takes.
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), at.String())
	if err := bindInner(fd, family, at); err != nil {
		_ = file.Close()
		return nil, err
	}
	if at.network == "udp" {
		return file, nil
	}
	if err := unix.Listen(fd, backlog()); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	return file, nil
}

func bindInner(fd, family int, at place) error {
	inner := at.inner()
	options := []struct{ level, name, value int }{
		{unix.IPPROTO_IP, unix.IP_FREEBIND, 1},
		// Connections have the real port, which others can bind again only if we allow it.
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
	}
	if at.network == "udp" { // of which two could bind the same
		options = options[:1]
	}
	if family == unix.AF_INET6 {
		options = append(options, struct{ level, name, value int }{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("prepare socket: %w", err)
		}
	}
	bind := func(port int) error {
		if family == unix.AF_INET6 {
			return unix.Bind(fd, &unix.SockaddrInet6{Addr: inner.Addr().As16(), Port: port})
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Addr: inner.Addr().As4(), Port: port})
	}
	err := bind(int(inner.Port()))
	if errors.Is(err, unix.EADDRINUSE) && at.network == "tcp" {
		err = bind(0) // somebody listens to our number on all addresses
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("bind: UDP ports below 1024 need CAP_NET_BIND_SERVICE: %w", err)
	}
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// backlog is the longest queue of connections that the system allows, as the net package
// has it.
func backlog() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	n := 0
	if _, scanErr := fmt.Sscan(string(text), &n); err != nil || scanErr != nil || n <= 0 {
		return unix.SOMAXCONN
	}
	return n
}
