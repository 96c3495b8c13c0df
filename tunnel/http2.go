package tunnel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/internal/edgewire"
)

// The name that the edge's certificate has for HTTP/2. No ALPN is spoken.
const http2ServerName = "h2.cftunnel.com"

const (
	// controlTimeout is how long the edge has to open the control stream.
	controlTimeout = 10 * time.Second
	// maxConfiguration bounds a configuration that the edge sends, in bytes.
	maxConfiguration = 4 << 20
)

// http2Connection is a connection on which the edge is the client of HTTP/2.
type http2Connection struct {
	link *link
	conn net.Conn
	stop context.CancelFunc // no more requests are wanted

	begun      atomic.Bool // the control stream is there
	controlled chan error  // how it ended
	ended      chan struct{}
}

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
	return &http2Connection{link: l, conn: conn, controlled: make(chan error, 1), ended: make(chan struct{})}, nil
}

// serve serves the connection until the edge ends it, or the session stops.
func (c *http2Connection) serve() error {
	serving, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.link.session.draining.Go(func() {
		defer close(c.ended)
		c.link.session.config.Handler.ServeHTTP2(serving, c.conn, c.call)
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
	if err != nil && !worked(err) {
		grace = 0 // nothing of worth is under way
	}
	c.stop()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
	}
	c.conn.Close()
	<-c.ended
}

// call serves a stream of the edge's that is meant for us.
func (c *http2Connection) call(kind string, stream io.ReadWriteCloser) {
	switch kind {
	case edgewire.Control:
		if !c.begun.Swap(true) {
			c.serveControl(stream)
		}
	case edgewire.Configuration:
		c.serveConfiguration(stream)
	}
}

// serveControl registers the connection.
func (c *http2Connection) serveControl(s io.ReadWriteCloser) {
	stream := &fenced{read: messages{from: s, accept: acceptAnswer}, write: s.Write, over: make(chan struct{}), end: func() { s.Close() }}
	err := c.link.control(context.Background(), stream)
	_ = stream.Close() // it has no error to tell
	c.controlled <- err
}

// serveConfiguration acknowledges a configuration.
func (c *http2Connection) serveConfiguration(s io.ReadWriter) {
	var update configurationUpdate
	var answer configurationAnswer
	if err := json.NewDecoder(io.LimitReader(s, maxConfiguration)).Decode(&update); err != nil {
		reason := "configuration is malformed"
		answer = configurationAnswer{LastAppliedVersion: c.link.session.version.Load(), Err: &reason}
	} else {
		answer.LastAppliedVersion = c.link.session.configure(update.Version).LastAppliedVersion
	}
	_ = json.NewEncoder(s).Encode(answer) // the edge sends it again if it is lost
}
