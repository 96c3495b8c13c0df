package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/tls13"
	"github.com/lintel-dev/lintel/router"
)

// Pauses after a failing accept, such as one without file descriptors left.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// sweepTime is how long a socket that closes still accepts: clients whose
// connection the kernel has taken already would be reset otherwise.
const sweepTime = 10 * time.Millisecond

// socketControl prepares a socket before it is bound, as [net.ListenConfig] calls it.
type socketControl = func(network, address string, c syscall.RawConn) error

type getCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// socket is one open listening socket and the connections that came from it.
type socket struct {
	routes
	name     string
	server   *Server
	listener net.Listener
	address  netip.AddrPort // that it listens to; invalid is not known
	shared   *shared        // with other processes; nil is not
	control  socketControl  // of its UDP side
	tls      *tls.Config    // used while certificates is not nil

	handshakes *tls13.Server // with tls, for connections that the loops may take
	streamTLS  *tls.Config   // of streams whose TLS ends here

	isTCP atomic.Bool // every connection is a stream

	drains atomic.Uint32 // calls of drain, for the loops

	// certificates answers handshakes; nil means plain.
	certificates atomic.Pointer[getCertificate]
	clientAuth   atomic.Pointer[clientAuth] // nil asks for no certificate

	h3 atomic.Pointer[h3Listener] // the HTTP/3 side, nil when there is none; changed holding the Server's mu
	// h3Retries says that it is opened soon if it can be; guarded by the Server's mu.
	h3Retries bool

	mu            sync.Mutex // guards what follows
	h3Connections map[*h3Connection]struct{}
	h3Fault       string // why there is no HTTP/3, as it was logged
	connections   map[*connection]struct{}
	streams       map[*stream]struct{}
	arriving      map[net.Conn]struct{} // whose preamble or ClientHello is being read
	count         int                   // of open connections in either lane
	closed        bool
	served        sync.WaitGroup // the connections' goroutines
	closing       chan struct{}  // closed with closed
	accepting     sync.WaitGroup // the accept loop, once the socket was started
}

// open listens for l. The caller holds s.mu.
func (s *Server) open(l Listener) (*socket, error) {
	listener, shared, err := openShared(&s.settings, l.Name+"/tcp", s.tcpOrigin(&l))
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	sock := s.newSocket(l, listener)
	sock.shared = shared
	if at, ok := listener.Addr().(*net.TCPAddr); ok {
		sock.address = at.AddrPort()
	}
	if s.loops != nil {
		if l, ok := forLoops(listener); ok {
			sock.listener = l
			shared.is(l)
		}
	}
	if shared.inner {
		sock.address = listensTo(l.Name)
	}
	return sock, nil
}

func (s *Server) newSocket(l Listener, listener net.Listener) *socket {
	sock := &socket{
		routes:        routes{current: &s.table},
		name:          l.Name,
		server:        s,
		listener:      listener,
		control:       controlOf(&l),
		connections:   map[*connection]struct{}{},
		h3Connections: map[*h3Connection]struct{}{},
		streams:       map[*stream]struct{}{},
		arriving:      map[net.Conn]struct{}{},
		closing:       make(chan struct{}),
	}
	certificate := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		get := sock.certificates.Load()
		if get == nil {
			return nil, nil
		}
		return (*get)(hello)
	}
	sock.streamTLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate}
	sock.streamTLS.GetConfigForClient = answerChallenges(sock.streamTLS, sock.askClients(sock.streamTLS))
	sock.tls = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: certificate,
	}
	sock.tls.GetConfigForClient = answerChallenges(sock.tls, sock.askClients(sock.tls))
	sock.handshakes = tls13.NewServer(sock.tls)
	sock.isTCP.Store(l.Protocol == router.SocketTCP)
	if l.GetCertificate != nil {
		sock.certificates.Store(&l.GetCertificate)
		sock.clientAuth.Store(clientAuthOf(&l))
	}
	return sock
}

// follow takes over what may change while the socket is open.
func (s *socket) follow(l *Listener) {
	s.secure(l)
	if s.server.phase == serving {
		s.startHTTP3()
	}
}

// secure changes how handshakes are answered from now on. When the socket turns from
// plain to TLS or back, or asks something else of clients, the connections that it has
// drain.
func (s *socket) secure(l *Listener) {
	defer s.followHTTP3()
	s.mu.Lock()
	defer s.mu.Unlock()
	get, asked := l.GetCertificate, clientAuthOf(l)
	isTCP := l.Protocol == router.SocketTCP
	changed := s.isTCP.Swap(isTCP) != isTCP || (s.certificates.Load() == nil) != (get == nil) || !s.clientAuth.Load().equal(asked)
	s.clientAuth.Store(asked)
	if get == nil {
		s.certificates.Store(nil)
	} else {
		s.certificates.Store(&get)
	}
	if changed {
		s.drain()
		for c := range s.h3Connections {
			c.drain()
		}
	}
}

// close stops accepting; run then drains the connections. When it returns, the
// address can be listened on again.
func (s *socket) close() {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	s.closeHTTP3()
	close(s.closing)
	switch l := s.listener.(type) {
	case *loopListener:
		s.accepting.Wait()
	case interface{ SetDeadline(time.Time) error }:
		_ = l.SetDeadline(time.Now().Add(sweepTime))
		s.accepting.Wait()
	}
	s.mu.Lock()
	s.drain()
	s.mu.Unlock()
	s.shared.leave()
	s.listener.Close()
}

// drain asks every connection to end after its exchange. The caller holds s.mu.
func (s *socket) drain() {
	for c := range s.connections {
		c.drain()
	}
	for conn := range s.arriving {
		_ = conn.SetReadDeadline(time.Now().Add(exchange.FreshGrace))
	}
	if s.server.loops != nil {
		s.drains.Add(1)
		s.server.loops.Drain(express{s})
	}
}

// start lets the socket accept: run does, on a goroutine of group. Nothing else
// may close the socket meanwhile.
func (s *socket) start(group *sync.WaitGroup) {
	s.accepting.Add(1)
	s.startHTTP3()
	group.Go(s.run)
}

// run accepts until close, then waits for the connections, and closes those
// that are left after the DrainTimeout.
func (s *socket) run() {
	s.accept()
	s.accepting.Done()
	done := make(chan struct{})
	go func() {
		s.served.Wait()
		close(done)
	}()
	timeout := time.NewTimer(s.server.settings.DrainTimeout)
	defer timeout.Stop()
	select {
	case <-done:
		return
	case <-timeout.C:
	}
	s.mu.Lock()
	for c := range s.connections {
		c.abort()
	}
	for c := range s.h3Connections {
		c.abort()
	}
	for t := range s.streams {
		t.abort()
	}
	for conn := range s.arriving {
		conn.Close()
	}
	if s.server.loops != nil {
		s.server.loops.Abort(express{s})
	}
	s.mu.Unlock()
	<-done
}

func (s *socket) accept() {
	if s.acceptExpress() {
		return
	}
	pause := minAcceptPause
	for {
		conn, err := s.listener.Accept()
		if err == nil {
			pause = minAcceptPause
			s.serve(arrival{conn: conn})
			continue
		}
		if errors.Is(err, net.ErrClosed) || isTimeout(err) {
			return
		}
		s.acceptFails(err, pause)
		select {
		case <-s.closing:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

func (s *socket) acceptFails(err error, pause time.Duration) {
	s.server.settings.Log.Warn("accept failed", "socket", s.name, "error", err, "pause", pause)
}

// serve serves a connection that was accepted, or closes it when there are too
// many.
func (s *socket) serve(a arrival) {
	s.mu.Lock()
	full := s.server.settings.MaxConnections > 0 && s.count >= s.server.settings.MaxConnections
	if full {
		s.mu.Unlock()
		s.refuse(&a)
		return
	}
	s.count++
	if !s.expectsPreamble(&a) {
		s.mu.Unlock()
		s.welcome(a)
		return
	}
	defer s.mu.Unlock()
	if err := a.connect(); err != nil {
		s.drops(err)
		s.count--
		return
	}
	s.arriving[a.conn] = struct{}{}
	s.served.Add(1)
	go s.receivePreamble(a)
}

// expectsPreamble reports whether the peer is a load balancer that tells whose
// connection it forwards.
func (s *socket) expectsPreamble(a *arrival) bool {
	return exchange.Within(a.source().Addr(), s.server.settings.ProxyProtocolFrom)
}

// drops tells of a connection that could not be served.
func (s *socket) drops(err error) {
	s.server.settings.Log.Warn("connection dropped", "socket", s.name, "error", err)
}

// refuse closes a connection that is one too many.
func (s *socket) refuse(a *arrival) {
	s.server.stats.Refused.Add(1)
	a.close()
}

// leave notes that a connection has ended.
func (s *socket) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
}

// welcome serves a connection whose client is known: in the express lane if it can.
func (s *socket) welcome(a arrival) {
	client := a.source().Addr()
	if !s.server.clients.enter(client) {
		s.refuse(&a)
		s.leave()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	secure := s.certificates.Load() != nil
	asks := secure && s.table().Streams(s.name)
	if !s.isTCP.Load() && !asks && s.serveExpress(&a) {
		return
	}
	if err := a.connect(); err != nil {
		s.drops(err)
		s.server.clients.leave(client)
		s.count--
		return
	}
	switch {
	case s.isTCP.Load():
		s.beginStream(newStream(s, a, s.table().MatchStream(s.name, "")))
	case asks:
		s.arriving[a.conn] = struct{}{}
		s.served.Add(1)
		go s.receiveHello(a)
	case secure:
		s.begin(newSecureConnection(s, a), s.closed)
	default:
		s.begin(newConnection(s, a), s.closed)
	}
}

// beginSecure serves a connection that turned out to be HTTP over TLS. The caller holds s.mu.
func (s *socket) beginSecure(a *arrival) {
	if !s.serveExpress(a) {
		s.begin(newSecureConnection(s, *a), s.closed)
	}
}

// begin starts a connection's goroutine, which run waits for. One that came while
// the socket was draining gets its first exchange. The caller holds s.mu.
func (s *socket) begin(c *connection, draining bool) {
	s.connections[c] = struct{}{}
	if draining {
		c.drain()
	}
	s.server.pressure.Hold(connectionMemory)
	s.served.Go(func() {
		c.run()
		s.server.pressure.Return(connectionMemory)
		s.server.clients.leave(c.client.Addr)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.connections, c)
		s.count--
	})
}
