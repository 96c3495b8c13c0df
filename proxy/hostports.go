package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// Sockets are bound to what they listen to, or, with [Settings.HostPorts], are inner
// sockets: they are bound to nothing that a client could reach, and get what comes for
// what they listen to all the same. Nobody can tell them apart from outside. A port
// that HostPorts cannot do is bound.

// listening is a socket of the net package.
type listening interface {
	syscall.Conn
	io.Closer
}

// origin is how a socket of type S is opened, and how it is made of what another process
// gave.
type origin[S listening] struct {
	bind  func() (S, error)
	adopt func(*os.File) (S, error)
	inner *innerOrigin[S] // nil where all are bound
}

// innerOrigin is origin for inner sockets.
type innerOrigin[S listening] struct {
	open func() (S, error)
	// adopt makes a socket of another process get here, too, what comes for it.
	adopt func(syscall.RawConn) error
	// forgo is told why the socket is bound instead.
	forgo func(error)
}

// open opens a socket, and reports whether it is an inner one.
func (o *origin[S]) open() (socket S, inner bool, err error) {
	if o.inner == nil {
		socket, err = o.bind()
		return socket, false, err
	}
	socket, err = o.inner.open()
	if err == nil || errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		return socket, true, err
	}
	socket, err = o.bindInstead(err)
	return socket, false, err
}

// bindInstead binds a socket because what was wanted failed.
func (o *origin[S]) bindInstead(because error) (S, error) {
	socket, err := o.bind()
	if err != nil {
		return socket, fmt.Errorf("%w; and by binding: %w", because, err)
	}
	o.inner.forgo(because)
	return socket, nil
}

// take makes a socket of what another process gave, and reports whether it is an inner one.
// An inner socket that this process can't do is bound beside it: it gets what comes as
// soon as the other process ends.
func (o *origin[S]) take(file *os.File, inner bool) (S, bool, error) {
	if inner && o.inner == nil {
		socket, err := o.bind()
		return socket, false, err
	}
	socket, err := o.adopt(file)
	if err != nil || !inner {
		return socket, false, err
	}
	wire, err := socket.SyscallConn()
	if err == nil {
		err = o.inner.adopt(wire)
	}
	if err == nil {
		return socket, true, nil
	}
	_ = socket.Close() // the other process has it too
	socket, err = o.bindInstead(err)
	return socket, false, err
}

// tcpOrigin opens sockets for what a Listener's name says.
func (s *Server) tcpOrigin(l *Listener) origin[*net.TCPListener] {
	control := controlOf(l)
	o := origin[*net.TCPListener]{
		bind: func() (*net.TCPListener, error) {
			// Background: Listen resolves nothing, as names are numeric.
			config := net.ListenConfig{Control: control}
			listener, err := config.Listen(context.Background(), "tcp", l.Name)
			if err != nil {
				return nil, err
			}
			return listener.(*net.TCPListener), nil
		},
		adopt: func(file *os.File) (*net.TCPListener, error) {
			listener, err := net.FileListener(file) // a duplicate
			if err != nil {
				return nil, err
			}
			return listener.(*net.TCPListener), nil
		},
	}
	if ports := s.settings.HostPorts; ports != nil {
		o.inner = innerOriginOf[*net.TCPListener](s, place{"tcp", l.Name, control}, ports.ListenTCP)
	}
	return o
}

// udpOrigin opens sockets for UDP. control prepares them.
func (s *Server) udpOrigin(address string, control socketControl) origin[*net.UDPConn] {
	o := origin[*net.UDPConn]{
		bind: func() (*net.UDPConn, error) {
			config := net.ListenConfig{Control: control}
			conn, err := config.ListenPacket(context.Background(), "udp", address)
			if err != nil {
				return nil, err
			}
			return conn.(*net.UDPConn), nil
		},
		adopt: func(file *os.File) (*net.UDPConn, error) {
			conn, err := net.FilePacketConn(file) // a duplicate
			if err != nil {
				return nil, err
			}
			return conn.(*net.UDPConn), nil
		},
	}
	if ports := s.settings.HostPorts; ports != nil {
		o.inner = innerOriginOf[*net.UDPConn](s, place{"udp", address, control}, ports.ListenUDP)
	}
	return o
}

// place is what a socket listens to.
type place struct {
	network, address string
	control          socketControl // nil wants the machine to have the address
}

func innerOriginOf[S listening](s *Server, at place, open func(string) (S, error)) *innerOrigin[S] {
	return &innerOrigin[S]{
		open: func() (S, error) {
			if err := at.check(); err != nil {
				var none S
				return none, err
			}
			return open(at.address)
		},
		adopt: func(wire syscall.RawConn) error { return s.settings.HostPorts.Adopt(at.network, at.address, wire) },
		forgo: func(err error) {
			s.settings.Log.Warn("a socket is bound, as it can't receive without", "socket", at.address, "network", at.network, "error", err)
		},
	}
}

// check returns an error, as binding would, if the machine has to have the address and has
// it not.
func (p *place) check() error {
	at := listensTo(p.address).Addr()
	if p.control != nil || at.IsUnspecified() {
		return nil
	}
	probe, err := net.ListenPacket("udp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		return fmt.Errorf("look for address: %w", err)
	}
	return probe.Close()
}

// listensTo is the address in a socket's name, with [::] for that of ":80"; invalid if there
// is none.
func listensTo(address string) netip.AddrPort {
	if strings.HasPrefix(address, ":") {
		address = "[::]" + address
	}
	at, _ := netip.ParseAddrPort(address) // names are numeric
	return at
}

// innerUDP is an inner socket as QUIC has to see it, which answers from where it was asked
// over sockets that listen to all addresses.
type innerUDP struct {
	*net.UDPConn
	port uint16
}

// LocalAddr is that of a socket that listens to all addresses.
func (c *innerUDP) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv6unspecified, Port: int(c.port)}
}
