package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// server is one address of the edge.
type server struct {
	edge    *Edge
	index   int
	address netip.AddrPort
	serving sync.WaitGroup

	frozen  atomic.Bool // nothing gets through connections, and nobody hears of it
	blocked atomic.Bool // the same for UDP alone

	mu        sync.Mutex // guards what follows
	listener  net.Listener
	udp       *net.UDPConn
	transport *quic.Transport
	quic      *quic.Listener
	conns     map[net.Conn]struct{}
}

// open listens on the address.
func (s *server) open() error {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", s.address.String())
	if err != nil {
		return err
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.address))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	transport := &quic.Transport{Conn: &lossy{PacketConn: udp, server: s}}
	quicListener, err := transport.Listen(&tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"argotunnel"},
		Certificates: []tls.Certificate{s.edge.authority.certificate},
	}, &quic.Config{MaxIdleTimeout: silence, KeepAlivePeriod: keepAlive, MaxIncomingStreams: 1 << 16})
	if err != nil {
		return errors.Join(err, listener.Close(), udp.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener, s.udp, s.transport, s.quic, s.conns = listener, udp, transport, quicListener, map[net.Conn]struct{}{}
	s.serving.Go(func() { s.acceptTCP(listener) })
	s.serving.Go(func() { s.acceptQUIC(quicListener) })
	return nil
}

// close stops listening, and breaks all connections.
func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return
	}
	s.listener.Close()
	_ = s.quic.Close() // it says nothing that matters
	_ = s.transport.Close()
	_ = s.udp.Close()
	for conn := range s.conns {
		conn.Close()
	}
	s.listener, s.conns = nil, nil
}

// Stop makes a server go away as if it had crashed.
func (e *Edge) Stop(server int) { e.servers[server].close() }

// Restart lets a server that was stopped listen again.
func (e *Edge) Restart(server int) error { return e.servers[server].open() }

// Freeze makes everything that goes to and from a server get lost, without anybody
// hearing of it, until Thaw.
func (e *Edge) Freeze(server int) { e.servers[server].frozen.Store(true) }

// Thaw ends Freeze. Connections that were open do not go on.
func (e *Edge) Thaw(server int) {
	e.servers[server].frozen.Store(false)
	s := e.servers[server]
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// BlockQUIC makes all datagrams get lost, as a firewall does, until AllowQUIC.
func (e *Edge) BlockQUIC() {
	for _, s := range e.servers {
		s.blocked.Store(true)
	}
}

// AllowQUIC ends BlockQUIC.
func (e *Edge) AllowQUIC() {
	for _, s := range e.servers {
		s.blocked.Store(false)
	}
}

// GoAway makes a server send its connections away, as before a restart in order: what is
// under way goes on, and new requests go elsewhere.
func (e *Edge) GoAway(server int) {
	for _, c := range e.connectionsOf(server) {
		e.leave(c)
		c.goAway()
	}
}

func (e *Edge) connectionsOf(server int) []*connection {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*connection
	for _, c := range e.connections {
		if c.Server == server {
			all = append(all, c)
		}
	}
	return all
}

func (s *server) acceptTCP(listener net.Listener) {
	for {
		wire, err := listener.Accept()
		if err != nil {
			return
		}
		conn := &icy{Conn: wire, server: s, closed: make(chan struct{})}
		s.mu.Lock()
		if s.conns == nil {
			s.mu.Unlock()
			_ = conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.serving.Go(func() {
			s.serveHTTP2(conn)
			_ = conn.Close()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, conn)
		})
	}
}

func (s *server) acceptQUIC(listener *quic.Listener) {
	for {
		conn, err := listener.Accept(context.Background())
		if err != nil {
			return
		}
		s.serving.Go(func() { s.serveQUIC(conn) })
	}
}

// icy is a connection that can freeze.
type icy struct {
	net.Conn
	server *server
	closed chan struct{}
	once   sync.Once
}

// Read implements net.Conn.
func (c *icy) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.server.frozen.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

// Write implements net.Conn.
func (c *icy) Write(p []byte) (int, error) {
	if c.server.frozen.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *icy) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// lossy is a UDP socket that loses everything while its server is frozen or blocked.
type lossy struct {
	net.PacketConn
	server *server
}

func (l *lossy) loses() bool { return l.server.frozen.Load() || l.server.blocked.Load() }

// ReadFrom implements net.PacketConn.
func (l *lossy) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := l.PacketConn.ReadFrom(p)
		if err != nil || !l.loses() {
			return n, from, err
		}
	}
}

// WriteTo implements net.PacketConn.
func (l *lossy) WriteTo(p []byte, to net.Addr) (int, error) {
	if l.loses() {
		return len(p), nil
	}
	return l.PacketConn.WriteTo(p, to)
}

// SetReadBuffer is for QUIC, which complains otherwise.
func (l *lossy) SetReadBuffer(int) error { return nil }

// SetWriteBuffer is for QUIC, too.
func (l *lossy) SetWriteBuffer(int) error { return nil }
