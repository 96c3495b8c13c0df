package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// The protocols of streams, as a [Report] has them.
const (
	protocolTCP = "tcp"
	protocolTLS = "tls"
	protocolUDP = "udp"
)

// stream is a client's connection that is not read as HTTP: one of a TCPRoute, or of a
// TLSRoute. It is relayed to one endpoint, which is chosen once, until both sides have
// ended.
type stream struct {
	server  *Server
	socket  *socket
	arrival arrival
	match   router.StreamMatch
	conn    net.Conn // the client's, above TLS that ends here
	report  Report

	mu      sync.Mutex // guards what follows
	aborted bool
	open    []io.Closer // what abort closes
}

// beginStream starts the goroutine of a stream, which run waits for. The caller holds
// s.mu.
func (s *socket) beginStream(t *stream) {
	s.streams[t] = struct{}{}
	s.served.Go(func() {
		t.run()
		s.server.clients.leave(t.arrival.source().Addr())
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.streams, t)
		s.count--
	})
}

// newStream returns the stream of a connection.
func newStream(s *socket, a arrival, match router.StreamMatch) *stream {
	t := &stream{server: s.server, socket: s, arrival: a, match: match, conn: a.conn}
	t.report = Report{Socket: s.name, Client: a.source().Addr(), Protocol: protocolTCP, Scheme: protocolTCP, Start: time.Now()}
	if match.Stream != nil {
		t.report.Listener, t.report.Route = match.Stream.Listener, match.Stream.Route
	}
	return t
}

// run serves the stream until it ends, closes it, and tells of it.
func (t *stream) run() {
	stats := &t.server.stats
	stats.Downstream.Add(1)
	stats.Streams.Add(1)
	t.report.Cause = t.serve()
	t.conn.Close()
	stats.Streams.Add(-1)
	stats.Downstream.Add(-1)
	t.report.Duration = time.Since(t.report.Start)
	if observe := t.server.settings.Observe; observe != nil {
		observe(&t.report)
	}
}

func (t *stream) serve() exchange.Cause {
	if !t.hold(t.arrival.conn) {
		return exchange.CauseDrained
	}
	if t.match.Stream == nil {
		return exchange.CauseNoRoute // without a TLS alert: TLSRoute wants the connection itself refused
	}
	if t.match.Terminate && !t.handshake() {
		return exchange.CauseClientTLS
	}
	backend := t.match.Stream.Pick()
	if backend == nil {
		return exchange.CauseNoBackend
	}
	t.report.Backend = backend.Name
	if t.server.pressure.High() {
		return exchange.CauseOverload
	}
	if !backend.Acquire() {
		return exchange.CauseCircuit
	}
	defer backend.Release()
	up, cause := t.connect(backend)
	if cause != exchange.CauseNone {
		return cause
	}
	defer up.close()
	cause = t.relay(up.conn)
	up.conclude(cause, t.report.Sent)
	if t.isAborted() {
		return exchange.CauseDrained
	}
	return cause
}

// handshake ends the client's TLS here. Nothing is promised about what is spoken in it
// (ALPN), as the endpoint is not known yet: as with HAProxy and Envoy in front of plain
// TCP, a client is told of no protocol, whatever it offers.
func (t *stream) handshake() bool {
	_ = t.arrival.conn.SetDeadline(time.Now().Add(t.server.settings.ReadHeaderTimeout))
	conn := tls.Server(t.arrival.underTLS(), t.socket.streamTLS)
	if conn.HandshakeContext(context.Background()) != nil || conn.ConnectionState().NegotiatedProtocol == challengeProtocol {
		return false
	}
	_ = t.arrival.conn.SetDeadline(time.Time{})
	t.conn, t.arrival.unread = conn, nil
	return true
}

// hold makes abort close c too, and reports whether that was not called yet.
func (t *stream) hold(c io.Closer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.aborted {
		_ = c.Close()
		return false
	}
	t.open = append(t.open, c)
	return true
}

// abort closes the stream. It is called by other goroutines.
func (t *stream) abort() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.aborted = true
	for _, c := range t.open {
		_ = c.Close()
	}
}

func (t *stream) isAborted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.aborted
}

// closer makes a function that ends something an [io.Closer].
type closer func()

// Close calls the function.
func (c closer) Close() error { c(); return nil }
