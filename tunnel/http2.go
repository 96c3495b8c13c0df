package tunnel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The name that the edge's certificate has for HTTP/2. No ALPN is spoken.
const http2ServerName = "h2.cftunnel.com"

const (
	// maxStreams is how many requests a connection may have under way: what MaxBody and
	// memory allow is the handler's business.
	maxStreams = 1 << 16
	// Windows: what the edge may send ahead of a handler that does not read.
	http2StreamWindow     = 1 << 20
	http2ConnectionWindow = 4<<20 - 1
	// A connection that is silent for probeAfter is asked whether it is alive, and given
	// up when no answer comes within probeTimeout.
	probeAfter   = 8 * time.Second
	probeTimeout = 5 * time.Second
	// controlTimeout is how long the edge has to open the control stream.
	controlTimeout = 10 * time.Second
	// maxConfiguration bounds a configuration that the edge sends, in bytes.
	maxConfiguration = 4 << 20
	// maxFields bounds the fields of a request, in bytes: more than the edge's own limit.
	maxFields = 256 << 10
)

// http2Connection is a connection on which the edge is the client of HTTP/2.
type http2Connection struct {
	link   *link
	conn   net.Conn
	server *http.Server

	begun      atomic.Bool // the control stream is there
	controlled chan error  // how it ended
	ended      chan struct{}
	end        sync.Once
}

// plainConn hides that a connection is TLS: net/http would look for an ALPN protocol.
type plainConn struct{ net.Conn }

func (l *link) dialHTTP2(ctx context.Context) (*http2Connection, error) {
	start := time.Now()
	wire, err := new(net.Dialer).DialContext(ctx, "tcp", l.address.String())
	if err != nil {
		return nil, err
	}
	l.rtt = time.Since(start)
	conn := tls.Client(wire, &tls.Config{ServerName: http2ServerName, RootCAs: l.session.edge.roots(), MinVersion: tls.VersionTLS12})
	if err := conn.HandshakeContext(ctx); err != nil {
		wire.Close()
		return nil, err
	}
	return &http2Connection{link: l, conn: plainConn{conn}, controlled: make(chan error, 1), ended: make(chan struct{})}, nil
}

// serve serves the connection until the edge ends it, or the session stops.
func (c *http2Connection) serve() error {
	c.server = c.newServer()
	c.link.session.draining.Go(func() {
		_ = c.server.Serve(&single{conn: c.conn, closed: make(chan struct{})}) // until Shutdown or Close
	})
	timer := time.NewTimer(controlTimeout)
	defer timer.Stop()
	var err error
	select {
	case err = <-c.controlled:
	case <-c.ended:
		err = c.verdict(errLost)
	case <-timer.C:
		err = c.verdict(errNoControl)
	}
	c.link.session.draining.Go(func() { c.finish(err) })
	return err
}

// verdict is how the control stream ended, or otherwise if it did not begin. The edge closes
// a connection that it has refused, which may show here before the refusal does: so the
// stream, which ends with its connection, is waited for.
func (c *http2Connection) verdict(otherwise error) error {
	if c.begun.Load() {
		return <-c.controlled
	}
	return otherwise
}

// finish ends the connection after what is under way.
func (c *http2Connection) finish(err error) {
	grace := c.link.session.settings.GracePeriod
	if err != nil && !errors.Is(err, errLost) {
		grace = 0 // nothing of worth is under way
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	go func() { _ = c.server.Shutdown(ctx) }() // GOAWAY; it ends with ctx
	select {
	case <-c.ended:
	case <-ctx.Done():
	}
	c.conn.Close()
	<-c.ended
	_ = c.server.Close()
	c.link.wait()
}

func (c *http2Connection) newServer() *http.Server {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:   c,
		Protocols: &protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: http2ConnectionWindow,
			MaxReceiveBufferPerStream:     http2StreamWindow,
			SendPingTimeout:               probeAfter,
			PingTimeout:                   probeTimeout,
		},
		MaxHeaderBytes: maxFields,
		ErrorLog:       log.New(io.Discard, "", 0), // what matters is told by errors
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				c.end.Do(func() { close(c.ended) })
			}
		},
	}
}

// ServeHTTP serves one request of the edge's.
func (c *http2Connection) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !c.link.enter() {
		panic(http.ErrAbortHandler)
	}
	defer c.link.leave()
	switch r.Header.Get(upgradeField) {
	case kindControl:
		c.serveControl(w, r)
	case kindConfiguration:
		c.serveConfiguration(w, r)
	case kindWebSocket:
		identify(r)
		offer(r)
		c.serveRequest(w, r)
	default:
		if source := r.Header.Get(streamField); source != "" {
			c.serveStream(w, r, source)
			return
		}
		identify(r)
		c.serveRequest(w, r)
	}
}

// serveControl registers the connection.
func (c *http2Connection) serveControl(w http.ResponseWriter, r *http.Request) {
	if c.begun.Swap(true) {
		w.WriteHeader(http.StatusConflict)
		return
	}
	w.Header()["Content-Type"] = nil // which would be guessed
	control := http.NewResponseController(w)
	stream := &fenced{
		read: r.Body.Read,
		write: func(p []byte) (int, error) {
			n, err := w.Write(p)
			if err == nil {
				err = control.Flush()
			}
			return n, err
		},
		end:  func() { r.Body.Close() },
		over: make(chan struct{}),
	}
	err := c.link.control(r.Context(), stream)
	_ = stream.Close() // it has no error to tell
	c.controlled <- err
}

// serveConfiguration acknowledges a configuration.
func (c *http2Connection) serveConfiguration(w http.ResponseWriter, r *http.Request) {
	var update configurationUpdate
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxConfiguration)).Decode(&update); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	answer := configurationAnswer{LastAppliedVersion: c.link.session.configure(update.Version).LastAppliedVersion}
	_ = json.NewEncoder(w).Encode(answer) // the edge sends it again if it is lost
}

// serveRequest gives a request to the handler.
func (c *http2Connection) serveRequest(w http.ResponseWriter, r *http.Request) {
	res := newHTTP2Response(w, r)
	defer res.finish()
	c.link.session.config.Handler.ServeHTTP(res, r)
}

// serveStream gives a TCP stream to the handler.
func (c *http2Connection) serveStream(w http.ResponseWriter, r *http.Request, source string) {
	destination := r.Host
	res := newHTTP2Response(w, r)
	defer res.finish()
	conn := res.stream(source)
	conn.accept = func() {
		h := res.Header()
		if key := r.Header.Get("Sec-Websocket-Key"); key != "" {
			h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
			h["Sec-Websocket-Accept"] = []string{acceptOf(key)}
		}
		res.WriteHeader(http.StatusSwitchingProtocols)
	}
	c.link.session.config.Handler.ServeStream(conn, destination)
	if res.status == 0 {
		res.refuse()
	}
}

// single is a listener of one connection.
type single struct {
	conn   net.Conn
	mu     sync.Mutex
	given  bool
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *single) Accept() (net.Conn, error) {
	l.mu.Lock()
	given := l.given
	l.given = true
	l.mu.Unlock()
	if !given {
		return l.conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l *single) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }
