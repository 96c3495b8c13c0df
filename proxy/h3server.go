package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// HTTP/3 (RFC 9114) is served on the UDP port of the same number beside each TCP socket
// that speaks TLS. quic-go does QUIC and the framing of HTTP/3; each request is an
// exchange of the full lane. There is no 0-RTT: what is sent before the handshake is
// complete can be replayed by anyone who recorded it (RFC 8446 §8).
//
// A connection holds at most what its window lets the client send beyond what was taken
// (maxConnectionWindow), one buffer of bodySize for each request that is under way, and
// what was sent and not acknowledged, which congestion control bounds. One at rest takes
// about 75 KiB, garbage included.
const (
	// h3UniStreams leaves room beside the three that HTTP/3 has (RFC 9114 §6.2).
	h3UniStreams = 8
	// maxStreamWindow lets an upload run at 160 Mbit/s over a path of 50 ms, and
	// maxConnectionWindow lets one stalled upload not stop the others. They are reached
	// only as fast as the endpoint takes what comes.
	maxStreamWindow     = 1 << 20
	maxConnectionWindow = 3 << 19
	// initialStreamWindow is enough for nearly all request bodies.
	initialStreamWindow     = 128 << 10
	initialConnectionWindow = 192 << 10
	// quicSilence is when a client that vanished is given up. It is longer than the
	// silences of an exchange, 60 s each: clients that wait longer for something keep
	// their connection alive (RFC 9114 §5.1).
	quicSilence = 3 * time.Minute
	// reopenHTTP3 is how soon a UDP port that could not be opened is tried again.
	reopenHTTP3 = time.Second
	// retryAbove is how many handshakes may be under way before new clients have to
	// show that their address is theirs, which costs them a round trip (RFC 9000 §8.1).
	retryAbove = 100
)

// h3Listener is the HTTP/3 side of a socket.
type h3Listener struct {
	socket   *socket
	port     *quicPort
	config   *tls.Config
	listener *quic.Listener // nil before the socket was started
	waits    bool           // for another process to leave the port
	closed   chan struct{}
}

// followHTTP3 opens or closes the HTTP/3 side of the socket as its settings want it. The
// caller holds the Server's mu.
func (s *socket) followHTTP3() {
	table := s.table()
	wanted := !s.server.settings.NoHTTP3 && s.certificates.Load() != nil &&
		(table.HTTP(s.name) || !table.Streams(s.name)) && !s.yieldsUDP()
	switch open := s.h3.Load() != nil; {
	case wanted && !open:
		s.openHTTP3()
	case !wanted && open:
		s.closeHTTP3()
	}
}

// openHTTP3 takes the UDP port of the socket's address. Without it the socket serves on, and
// tries again.
func (s *socket) openHTTP3() {
	if !s.address.IsValid() {
		return
	}
	port, err := s.server.quic.use(s.server, s.address, s.control)
	if err != nil {
		s.lacksHTTP3(fmt.Errorf("open UDP socket: %w", err))
		return
	}
	config := s.tls.Clone()
	config.MinVersion = tls.VersionTLS13
	config.NextProtos = []string{http3.NextProtoH3}
	config.GetConfigForClient = s.refuseStreams(s.askClients(config))
	s.h3.Store(&h3Listener{socket: s, port: port, config: config, closed: make(chan struct{})})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.h3Fault = ""
}

// refuseStreams is choose, but for those who name a server whose connections are streams:
// to them it is unknown.
func (s *socket) refuseStreams(choose func(*tls.ClientHelloInfo) (*tls.Config, error)) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		table := s.table()
		if table.Streams(s.name) && !table.MatchStream(s.name, hostOfServer(hello.ServerName)).HTTP {
			return &tls.Config{MinVersion: tls.VersionTLS13}, nil // without a certificate: unrecognized_name
		}
		return choose(hello)
	}
}

// warnHTTP3 logs why there is no HTTP/3, once.
func (s *socket) warnHTTP3(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.h3Fault != err.Error() {
		s.h3Fault = err.Error()
		s.server.settings.Log.Warn("no HTTP/3", "socket", s.name, "error", err)
	}
}

// lacksHTTP3 tells why there is no HTTP/3, and tries soon to open it. The caller holds the
// Server's mu.
func (s *socket) lacksHTTP3(err error) {
	s.warnHTTP3(err)
	if s.h3Retries {
		return
	}
	s.h3Retries = true
	time.AfterFunc(reopenHTTP3, func() {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.h3Retries = false
		if s.server.sockets[s.name] != s {
			return // it is closed
		}
		s.followHTTP3()
		if s.server.phase == serving {
			s.startHTTP3()
		}
	})
}

// startHTTP3 lets clients connect, if the socket has an HTTP/3 side that they cannot
// connect to yet. The caller holds the Server's mu, and keeps run from ending.
func (s *socket) startHTTP3() {
	l := s.h3.Load()
	if l == nil || l.listener != nil || l.awaitPort() {
		return
	}
	l.port.socket.Store(s) // first: clients may have written already, and are asked about at once
	listener, err := l.port.transport.Listen(l.config, s.server.quicConfig())
	if err != nil {
		l.port.socket.Store(nil)
		s.h3.Store(nil)
		l.port.release()
		s.lacksHTTP3(fmt.Errorf("listen for QUIC: %w", err))
		return
	}
	l.listener = listener
	s.served.Go(l.accept)
}

// awaitPort reports whether another process reads from the port. When that has left it, the
// socket lets clients connect. The caller holds the Server's mu, and keeps run from ending.
func (l *h3Listener) awaitPort() bool {
	select {
	case <-l.port.shared.keeps:
		return false
	default:
	}
	if l.waits {
		return true
	}
	l.waits = true
	l.socket.served.Go(func() {
		select {
		case <-l.closed:
			return
		case <-l.port.shared.keeps:
		}
		server := l.socket.server
		server.mu.Lock()
		defer server.mu.Unlock()
		l.socket.startHTTP3()
	})
	return true
}

// closeHTTP3 ends the HTTP/3 side of the socket; its connections drain. The caller holds
// the Server's mu.
func (s *socket) closeHTTP3() {
	l := s.h3.Swap(nil)
	if l == nil {
		return
	}
	close(l.closed)
	if l.listener != nil {
		l.port.socket.Store(nil)
		_ = l.listener.Close() // it has no error to tell
	}
	l.port.release()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.h3Connections {
		c.drain()
	}
}

// announcesHTTP3 reports whether a client that came over TLS is told that there is HTTP/3.
// Proxies are not: they might tell their own clients, which it would lead astray.
func (s *socket) announcesHTTP3(client exchange.Client) bool {
	return s.h3.Load() != nil && !client.Trusted
}

// quicConfig is that of all connections.
func (s *Server) quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           s.settings.ReadHeaderTimeout / 2, // twice that bounds the whole
		MaxIdleTimeout:                 quicSilence,
		InitialStreamReceiveWindow:     initialStreamWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: initialConnectionWindow,
		MaxConnectionReceiveWindow:     maxConnectionWindow,
		AllowConnectionWindowIncrease:  func(*quic.Conn, uint64) bool { return !s.pressure.High() },
		MaxIncomingStreams:             int64(s.settings.MaxConcurrentStreams),
		MaxIncomingUniStreams:          h3UniStreams,
	}
}

// accept serves connections until the listener is closed.
func (l *h3Listener) accept() {
	for {
		conn, err := l.listener.Accept(context.Background())
		if err == nil {
			l.serve(conn)
			continue
		}
		if !errors.Is(err, quic.ErrServerClosed) {
			l.fail(fmt.Errorf("accept: %w", err))
		}
		return
	}
}

// fail gives up a UDP socket of which quic-go reads no more, as the kernel told of an error, for
// another one.
func (l *h3Listener) fail(err error) {
	s := l.socket
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.h3.Load() == l {
		s.closeHTTP3()
		s.lacksHTTP3(err)
	}
}

// serve serves a connection whose handshake is complete, so that its address is genuine.
func (l *h3Listener) serve(conn *quic.Conn) {
	if done, ok := conn.Context().Value(handshakeKey{}).(func()); ok {
		done()
	}
	s := l.socket
	client := udpAddrPort(conn.RemoteAddr()).Addr()
	if !s.server.clients.enter(client) {
		s.server.stats.Refused.Add(1)
		closeQUIC(conn, http3.ErrCodeExcessiveLoad)
		return
	}
	c := newH3Connection(s, conn)
	l.port.share()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.h3Connections[c] = struct{}{}
	s.served.Go(func() {
		c.run()
		s.server.clients.leave(client)
		s.mu.Lock()
		delete(s.h3Connections, c)
		s.mu.Unlock()
		l.port.release()
	})
	if s.h3.Load() != l {
		c.drain()
	}
}

func closeQUIC(conn *quic.Conn, code http3.ErrCode) {
	_ = conn.CloseWithError(quic.ApplicationErrorCode(code), "") // it fails on a closed one
}
