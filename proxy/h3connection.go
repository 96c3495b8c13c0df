package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// fieldOverhead is what HTTP/3 adds to the size of each field (RFC 9114 §4.2.2).
const fieldOverhead = 32

// maxPseudo is how many pseudo-header fields a request can have.
const maxPseudo = 5

// h3Connection is a QUIC connection that speaks HTTP/3. It has a [http3.Server] of its
// own, since one of those drains all of its connections at once.
type h3Connection struct {
	server *Server
	socket *socket
	conn   *quic.Conn
	name   string // that of the server, by SNI
	http   http3.Server

	draining atomic.Bool
	aborted  atomic.Bool

	mu     sync.Mutex // guards what follows
	active int        // exchanges under way
	idle   *time.Timer
}

func newH3Connection(s *socket, conn *quic.Conn) *h3Connection {
	state := conn.ConnectionState().TLS
	c := &h3Connection{server: s.server, socket: s, conn: conn, name: serverName(&state)}
	limits := s.server.settings.Limits
	c.http.Handler = c
	c.http.Logger = s.server.settings.Log
	// A head of this size may still be too large: see [servedDownstream.readHead].
	c.http.MaxHeaderBytes = limits.Head + (limits.Fields+maxPseudo)*fieldOverhead
	c.idle = time.AfterFunc(s.server.settings.ReadHeaderTimeout, c.expire)
	return c
}

// run serves the connection until it ends, and closes it.
func (c *h3Connection) run() {
	c.server.stats.Downstream.Add(1)
	defer c.server.stats.Downstream.Add(-1)
	defer c.idle.Stop()
	_ = c.http.ServeQUICConn(c.conn) // how a client ends its connection is its own business
	closeQUIC(c.conn, http3.ErrCodeNoError)
}

// ServeHTTP serves one request. It panics with [http.ErrAbortHandler] to reset the
// stream, as http3 wants it.
func (c *h3Connection) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		// It opens and resets streams faster than we get rid of them.
		closeQUIC(c.conn, http3.ErrCodeExcessiveLoad)
		panic(http.ErrAbortHandler)
	}
	defer c.leave()
	d := newServedDownstream(c, w, r)
	if r.Method == http.MethodConnect && r.Proto != protocolHTTP3 { // RFC 9220
		d.offer = r.Proto
		r.Header.Del(keyField)
	}
	if !d.serve() {
		panic(http.ErrAbortHandler)
	}
}

// protocolHTTP3 is the Proto of a request that is no extended CONNECT.
const protocolHTTP3 = "HTTP/3.0"

// bodyFault says why a body could not be read: an *h1.Error if it is malformed.
func (c *h3Connection) bodyFault(err error) error {
	if _, ok := errors.AsType[*http3.Error](err); ok {
		return err
	}
	if errors.Is(err, net.ErrClosed) { // so says QUIC of every end of a connection
		return err
	}
	return &h1.Error{Status: http.StatusBadRequest, Reason: "body is malformed"}
}

// agree accepts an extended CONNECT (RFC 9220), and returns the stream that carries it from
// then on.
func (c *h3Connection) agree(d *servedDownstream, res *h1.Response) (net.Conn, error) {
	if !strings.EqualFold(res.Upgrade, d.offer) || d.socket.Key != "" && d.socket.Agreed(res) != nil {
		return nil, exchange.ErrNotAgreed
	}
	for _, field := range d.flight.SwitchFields(res) {
		if !strings.EqualFold(field.Name, "Sec-WebSocket-Accept") { // which is about our key
			d.add(&field)
		}
	}
	d.w.WriteHeader(http.StatusOK)
	streamer, ok := d.w.(http3.HTTPStreamer)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	stream, err := streamer.HTTPStream()
	if err != nil {
		return nil, err
	}
	return &h3Tunnel{Stream: stream, conn: c.conn}, nil
}

// maxActive bounds the exchanges of one connection that are under way. A client may open
// a new stream as soon as it has reset another, while that one's exchange is still being
// ended.
func (c *h3Connection) maxActive() int { return 2 * c.server.settings.MaxConcurrentStreams }

// enter notes that an exchange begins, and reports whether there may be one more.
func (c *h3Connection) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active >= c.maxActive() {
		return false
	}
	c.active++
	c.idle.Stop()
	return true
}

// leave notes that an exchange has ended.
func (c *h3Connection) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active--; c.active > 0 {
		return
	}
	if c.draining.Load() {
		c.idle.Reset(exchange.LingerTimeout)
	} else {
		c.idle.Reset(c.server.settings.IdleTimeout)
	}
}

// expire closes the connection if nothing is under way on it.
func (c *h3Connection) expire() {
	c.mu.Lock()
	active := c.active
	c.mu.Unlock()
	if active == 0 {
		closeQUIC(c.conn, http3.ErrCodeNoError)
	}
}

// drain tells the client to send no more requests (GOAWAY), and closes the connection
// after those that are under way. Then the end of a response may still have to be sent
// again, which nobody tells us: it gets exchange.LingerTimeout. The caller holds the
// socket's mu.
func (c *h3Connection) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining.Swap(true) {
		return
	}
	if c.active == 0 {
		c.idle.Reset(exchange.LingerTimeout)
	}
	c.socket.served.Go(func() { _ = c.http.Shutdown(context.Background()) }) // ends with the connection
}

// abort closes the connection, and what is under way on it.
func (c *h3Connection) abort() {
	c.aborted.Store(true)
	closeQUIC(c.conn, http3.ErrCodeNoError)
}

// endedBy says why an exchange is over that has not come to its end.
func (c *h3Connection) endedBy() exchange.Cause {
	if c.aborted.Load() {
		return exchange.CauseDrained
	}
	return exchange.CauseClientGone
}

// client is what is known of the client now: it may move to another address (RFC 9000
// §9), which QUIC has validated then.
func (c *h3Connection) client() exchange.Client {
	peer, local := udpAddrPort(c.conn.RemoteAddr()), udpAddrPort(c.conn.LocalAddr())
	return exchange.Client{
		Socket:   c.socket.name,
		Addr:     peer.Addr(),
		Address:  peer.Addr().String(),
		Port:     strconv.Itoa(int(local.Port())),
		Scheme:   "https",
		Trusted:  c.server.settings.Trusts(peer.Addr()),
		Protocol: "HTTP/3.0",

		ServerName: c.name,
		Source:     peer, Destination: local,
	}
}
