package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// maxH2Connections bounds the HTTP/2 connections to one endpoint; each carries up to 128
// streams, or what the endpoint allows.
const maxH2Connections = 64

// h2List is the HTTP/2 connections to one endpoint.
type h2List struct {
	tls *tls.Config // nil for h2c

	// preface is what connections of HTTP/1.1 begin with, if anything. Such a list is for
	// one of them, and for no stream.
	preface []byte

	mu      sync.Mutex // guards what follows
	open    []*h2Upstream
	dialing chan struct{} // closed when the dial under way has ended; nil without one
	dials   int           // under way
	h1      bool          // the endpoint has chosen HTTP/1.1
	gone    bool          // taken out of the pool's lists: nothing may be added
}

func (l *h2List) secure() bool { return l.tls != nil }

// listOf returns the connections to an endpoint of a Backend.
func (p *pool) listOf(endpoint *router.Endpoint, backend *router.Backend) *h2List {
	if l, ok := p.h2.Load(endpoint); ok {
		return l.(*h2List)
	}
	l, _ := p.h2.LoadOrStore(endpoint, &h2List{tls: upstreamTLS(backend.TLS())})
	return l.(*h2List)
}

// upstreamTLS is how endpoints are spoken to over TLS; nil without TLS.
func upstreamTLS(t *router.BackendTLS) *tls.Config {
	if t == nil {
		return nil
	}
	protocols := t.ALPN
	if protocols == nil {
		protocols = []string{"h2", "http/1.1"}
	}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.ServerName,
		NextProtos:         protocols,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
		InsecureSkipVerify: true, // VerifyConnection does it, resumed or not
		VerifyConnection: func(state tls.ConnectionState) error {
			return t.Verify(state.PeerCertificates, time.Now())
		},
	}
	if t.Certificate != nil {
		// Whatever authorities the endpoint names: it says better than we why one will not do.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return t.Certificate, nil
		}
	}
	return config
}

// promise returns a stream of a connection that is open, or nil: then dialed has to be
// called, or there is something to wait for, as somebody else is about to open one.
func (l *h2List) promise() (*h2Attempt, chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return nil, closedChannel()
	}
	for _, u := range l.open {
		if a := u.promise(); a != nil {
			return a, nil
		}
	}
	if l.dialing != nil && !l.h1 {
		return nil, l.dialing
	}
	l.dials++
	if l.h1 { // which needs a connection for each
		return nil, nil
	}
	l.dialing = make(chan struct{})
	return nil, nil
}

func closedChannel() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// retire reports whether nobody uses the list, and then marks it as gone.
func (l *h2List) retire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = len(l.open) == 0 && l.dials == 0
	return l.gone
}

// dialed ends the wait of those who could use a connection that was to be opened.
func (l *h2List) dialed(u *h2Upstream, h1 bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u != nil {
		l.open = append(l.open, u)
	}
	l.h1 = h1
	l.dials--
	if l.dialing != nil {
		close(l.dialing)
		l.dialing = nil
	}
}

func (l *h2List) remove(u *h2Upstream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = slices.DeleteFunc(l.open, func(other *h2Upstream) bool { return other == u })
}

// full reports whether there are as many connections as there may be.
func (l *h2List) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open) >= maxH2Connections
}

// upstreamOf gets a stream or a connection to an endpoint that speaks HTTP/2, or may do
// so.
func (f *flight) upstreamOf(endpoint *router.Endpoint) (upstream, exchange.Cause) {
	until := earlier(f.attemptBy, time.Now().Add(f.Settings.ConnectTimeout))
	up, cause := f.streamOf(endpoint, until)
	if a, ok := up.(*h2Attempt); ok && f.Request.Upgrade != "" {
		return f.upgradeOver(a, until)
	}
	return up, cause
}

// streamOf gets a stream of a connection that is open, or opens one.
func (f *flight) streamOf(endpoint *router.Endpoint, until time.Time) (upstream, exchange.Cause) {
	p := f.server.pool
	var list *h2List
	for {
		list = p.listOf(endpoint, f.Chosen.Backend)
		a, dialing := list.promise()
		if a != nil {
			return a, exchange.CauseNone
		}
		if dialing == nil {
			break
		}
		if cause := f.awaitDial(endpoint, dialing, until); cause != exchange.CauseNone {
			return nil, cause
		}
	}
	if list.secure() {
		if up := f.pooled(endpoint); up != nil {
			list.dialed(nil, true)
			return up, exchange.CauseNone
		}
	}
	if list.full() || !f.Chosen.Backend.AcquirePending() {
		list.dialed(nil, false)
		return nil, exchange.CauseCircuit
	}
	defer f.Chosen.Backend.ReleasePending()
	up, err := p.dialSecure(list, endpoint, until)
	if err != nil {
		return nil, f.dialFailure(endpoint, err)
	}
	endpoint.OK()
	return up, exchange.CauseNone
}

// awaitDial waits until somebody else has opened a connection, or failed.
func (f *flight) awaitDial(endpoint *router.Endpoint, dialing chan struct{}, until time.Time) exchange.Cause {
	backend := f.Chosen.Backend
	if !backend.AcquirePending() {
		return exchange.CauseCircuit
	}
	defer backend.ReleasePending()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-dialing:
		return exchange.CauseNone
	case <-timer.C:
		return f.dialFailure(endpoint, os.ErrDeadlineExceeded)
	}
}

// dialSecure opens a connection, with TLS if the list has it, and returns a stream of it,
// or all of it when it speaks HTTP/1.1.
func (p *pool) dialSecure(list *h2List, endpoint *router.Endpoint, until time.Time) (upstream, error) {
	ctx, cancel := context.WithDeadline(p.dialing, until)
	defer cancel()
	wire, err := p.connect(ctx, endpoint, nil)
	if err != nil {
		list.dialed(nil, false)
		return nil, err
	}
	conn := wire
	if list.secure() {
		secure, err := handshakeWith(ctx, wire, list.tls)
		if err != nil {
			p.closed(endpoint)
			list.dialed(nil, false)
			return nil, err
		}
		conn = secure
		if secure.ConnectionState().NegotiatedProtocol != "h2" {
			list.dialed(nil, true)
			return p.newH1Upstream(endpoint, conn, wire), nil
		}
	}
	u := p.newH2Upstream(list, endpoint, conn, wire)
	a := u.promise()
	list.dialed(u, false)
	p.readers.Go(u.run)
	return a, nil
}

// handshakeWith does the handshake of TLS on a connection, and closes it if that fails.
func handshakeWith(ctx context.Context, wire net.Conn, config *tls.Config) (*tls.Conn, error) {
	secure := tls.Client(wire, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		wire.Close()
		return nil, &handshakeError{err}
	}
	return secure, nil
}

// handshakeError is why an endpoint was not recognised, or TLS failed in another way.
type handshakeError struct{ error }

// Unwrap returns the cause.
func (e *handshakeError) Unwrap() error { return e.error }

// dialFailure says why there is no connection to an endpoint, and marks it.
func (f *flight) dialFailure(endpoint *router.Endpoint, err error) exchange.Cause {
	now := time.Now()
	switch {
	case !now.Before(f.attemptBy):
		return exchange.CauseTimeout
	case errors.Is(err, errCircuit):
		return exchange.CauseCircuit
	}
	endpoint.Fail(now)
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return exchange.CauseConnectTimeout
	case isHandshakeError(err):
		return exchange.CauseUpstreamTLS
	}
	return exchange.CauseConnectRefused
}

func isHandshakeError(err error) bool {
	_, ok := errors.AsType[*handshakeError](err)
	return ok
}

// tidyH2 forgets endpoints without connections.
func (p *pool) tidyH2() {
	p.h2.Range(func(endpoint, list any) bool {
		if list.(*h2List).retire() {
			p.h2.CompareAndDelete(endpoint, list)
		}
		return true
	})
}

// closeH2 ends all HTTP/2 connections, and waits for them.
func (p *pool) closeH2() {
	p.h2.Range(func(_, list any) bool {
		l := list.(*h2List)
		l.mu.Lock()
		open := slices.Clone(l.open)
		l.mu.Unlock()
		for _, u := range open {
			u.end()
		}
		return true
	})
	p.readers.Wait()
}

// dialH1 opens a connection that speaks HTTP/1.1 to an endpoint that prefers HTTP/2.
func (p *pool) dialH1(list *h2List, endpoint *router.Endpoint, until time.Time) (*h1Upstream, error) {
	ctx, cancel := context.WithDeadline(p.dialing, until)
	defer cancel()
	wire, err := p.connect(ctx, endpoint, list.preface)
	if err != nil {
		return nil, err
	}
	conn := wire
	if list.secure() {
		config := list.tls.Clone()
		config.NextProtos = []string{"http/1.1"}
		if conn, err = handshakeWith(ctx, wire, config); err != nil {
			p.closed(endpoint)
			return nil, err
		}
	}
	return p.newH1Upstream(endpoint, conn, wire), nil
}
