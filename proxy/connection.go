package proxy

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/proxyprotocol"
)

// connection is one downstream connection. Its goroutine owns it, but for what
// drain and abort use.
type connection struct {
	server *Server
	socket *socket
	conn   net.Conn
	wire   net.Conn // conn, or what lies below its TLS
	secure bool     // it begins with a handshake
	alpn   string   // the protocol that the handshake has agreed on, or ""

	client  exchange.Client      // what every exchange tells its upstream
	arrived proxyprotocol.Header // of the arrival

	in       input
	head     *[]byte // in's pooled buffer
	early    []byte  // what was read before the goroutine began; moved to in
	promised bool    // the first request is served even while draining
	readBy   deadline
	writeBy  deadline

	// draining says that no exchange follows the one in flight; state is what the
	// goroutine waits for. Each side writes its own first and then reads the
	// other's, so one of them notices. mu is held by drain while it sets the read
	// deadline.
	draining atomic.Bool
	aborted  atomic.Bool
	state    atomic.Uint32
	mu       sync.Mutex

	// h1 serves HTTP/1.1; nil before the first request. It is set by the goroutine
	// alone, holding mu.
	h1 *h1Downstream
	h2 *h2Downstream // the same for HTTP/2
}

// The states of a connection.
const (
	fresh  uint32 = iota // no request came yet
	busy                 // an exchange is in flight
	unused               // between two exchanges
)

func newConnection(s *socket, a arrival) *connection {
	c := &connection{server: s.server, socket: s, conn: a.conn, wire: a.conn, early: a.unread, arrived: a.client}
	c.client = a.identify(s)
	c.readBy = readDeadline(c.wire)
	c.writeBy = writeDeadline(c.wire)
	return c
}

// newSecureConnection returns a connection that begins with a handshake of TLS.
func newSecureConnection(s *socket, a arrival) *connection {
	c := newConnection(s, a)
	c.identifySecure()
	c.secure = true
	c.conn, c.early = a.underTLS(), nil
	return c
}

// identifySecure notes that the client has come over TLS.
func (c *connection) identifySecure() {
	c.client.Scheme = "https"
	c.client.AltSvc = c.socket.announcesHTTP3(c.client)
}

// run serves the connection until it ends, and closes it.
func (c *connection) run() {
	stats := &c.server.stats
	stats.Downstream.Add(1)
	defer stats.Downstream.Add(-1)
	defer func() { c.conn.Close() }()

	c.startClock()
	if c.secure && c.handshake() != nil {
		return
	}
	c.head = c.server.heads.get()
	defer c.server.heads.put(c.head)
	c.in = newInput(*c.head)
	c.in.push(c.early)
	c.early = nil

	for c.await() {
		if c.h1 == nil && c.beginsH2() {
			c.serveH2()
			return
		}
		if !c.serve() {
			return
		}
		c.in.compact()
	}
}

// serve does one exchange, and reports whether another may follow.
func (c *connection) serve() bool {
	if c.h1 == nil {
		d := newH1Downstream(c)
		c.mu.Lock()
		c.h1 = d
		c.mu.Unlock()
	}
	return c.h1.serve()
}

// startClock bounds the handshake and the wait for the first request.
func (c *connection) startClock() {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.server.settings.ReadHeaderTimeout
	if c.draining.Load() {
		limit = exchange.FreshGrace
	}
	c.readBy.exactly(time.Now().Add(limit))
}

// await waits for the first byte of a request. It reports false when none will
// come.
func (c *connection) await() bool {
	if c.promised {
		c.promised = false
		c.become(busy)
		return true
	}
	if len(c.in.unread()) > 0 { // pipelined
		return true
	}
	if c.state.Load() != fresh {
		c.readBy.extend(time.Now(), c.server.settings.IdleTimeout)
		c.state.Store(unused)
		if c.draining.Load() { // since the response, which did not say so
			c.mu.Lock()
			c.readBy.exactly(time.Now().Add(exchange.FreshGrace))
			c.mu.Unlock()
		}
	}
	n, _ := c.conn.Read(c.in.room())
	c.in.w += n
	c.become(busy)
	return n > 0
}

// become says what the goroutine waits for from now on.
func (c *connection) become(state uint32) {
	c.state.Store(state)
	if c.draining.Load() {
		c.mu.Lock() // until drain has set its deadline
		c.readBy.forget()
		c.mu.Unlock()
	}
}

// drain makes the exchange in flight the last one, or one that is on the way. It is
// called by other goroutines.
func (c *connection) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining.Swap(true) {
		return
	}
	if c.h2 != nil {
		c.h2.drain()
		return
	}
	switch c.state.Load() {
	case unused, fresh:
		_ = c.wire.SetReadDeadline(time.Now().Add(exchange.FreshGrace))
	}
}

// abort closes the connection, and what is in flight on it. It is called by other
// goroutines.
func (c *connection) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted.Store(true)
	defer c.wire.Close() // once the flights know why
	if c.h1 != nil {
		c.h1.flight.cancel(exchange.CauseDrained)
	}
	if c.h2 != nil {
		c.h2.cancel(exchange.CauseDrained)
	}
}

// gone reports whether the client has closed its side, without reading from it.
func (c *connection) gone() bool {
	return c.aborted.Load() || hungUp(c.wire)
}

// readHead reads until the request's head is complete.
func (c *connection) readHead(r *h1.Request) error {
	limits := c.server.settings.Limits
	for first := true; ; first = false {
		n, err := r.Parse(c.in.unread(), limits)
		if err != nil {
			return err
		}
		if n > 0 {
			c.in.r += n
			return nil
		}
		if first {
			c.readBy.exactly(time.Now().Add(c.server.settings.ReadHeaderTimeout))
		}
		read, err := c.conn.Read(c.in.room())
		c.in.w += read
		if read == 0 {
			return err
		}
	}
}

// closeWriter is what TCP and TLS connections can do.
type closeWriter interface{ CloseWrite() error }

// finish tells the peer that nothing follows, if the side that was read ended
// in order.
func finish(conn net.Conn, readErr error) bool {
	half, ok := conn.(closeWriter)
	return ok && readErr == io.EOF && half.CloseWrite() == nil
}

// linger ends a connection on which the client may still be sending: closing at
// once would reset it, and the client would never see the response (RFC 9112
// §9.6).
func (c *connection) linger() {
	if !finish(c.conn, io.EOF) {
		return
	}
	c.readBy.exactly(time.Now().Add(exchange.LingerTimeout))
	for total := 0; total < maxSettle*4; {
		n, err := c.conn.Read(*c.head)
		if err != nil {
			return
		}
		total += n
	}
}

// reset closes the connection so that the client sees an error.
func (c *connection) reset() {
	if tcp, ok := c.wire.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.wire.Close()
}
