package proxy

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/proxyprotocol"
	"github.com/lintel-dev/lintel/router"
)

// streamUpstream is the connection of a stream to its endpoint.
type streamUpstream struct {
	pool     *pool
	endpoint *router.Endpoint
	conn     net.Conn
}

// connect opens a connection to an endpoint of the Backend. Nothing was sent before, so
// every endpoint may be tried, but only some of them may be waited for in vain.
func (t *stream) connect(backend *router.Backend) (*streamUpstream, exchange.Cause) {
	cause := exchange.CauseNoEndpoint
	var tried []*router.Endpoint
	for {
		endpoint := backend.Pick(tried...)
		if endpoint == nil {
			return nil, cause
		}
		t.report.Upstream = endpoint.Addr
		t.report.Attempts++
		endpoint.Acquire()
		conn, err := t.dial(endpoint, backend)
		if err == nil {
			endpoint.OK()
			t.report.UpstreamLatency = time.Since(t.report.Start)
			return &streamUpstream{t.server.pool, endpoint, conn}, exchange.CauseNone
		}
		endpoint.Release()
		if t.isAborted() {
			return nil, exchange.CauseDrained
		}
		if cause = dialCause(err); cause != exchange.CauseCircuit {
			endpoint.Fail(time.Now())
		}
		if cause == exchange.CauseConnectTimeout && t.report.Attempts >= maxAttempts {
			return nil, cause
		}
		tried = append(tried, endpoint)
	}
}

// dial opens a connection, with TLS and with the PROXY protocol if the Backend has them.
func (t *stream) dial(endpoint *router.Endpoint, backend *router.Backend) (net.Conn, error) {
	p := t.server.pool
	ctx, cancel := context.WithTimeout(p.dialing, t.server.settings.ConnectTimeout)
	defer cancel()
	if !t.hold(closer(cancel)) {
		return nil, context.Canceled
	}
	wire, err := p.connect(ctx, endpoint, t.introduction(backend))
	if err != nil {
		return nil, err
	}
	conn := wire
	if t.hold(wire) && backend.Protocol() == router.HTTPS {
		config := p.listOf(endpoint, backend).tls.Clone()
		config.NextProtos = backend.TLS().ALPN
		if conn, err = handshakeWith(ctx, wire, config); err != nil {
			p.closed(endpoint)
			return nil, err
		}
	}
	return conn, nil
}

// introduction is the PROXY protocol header for the endpoint, or nil.
func (t *stream) introduction(backend *router.Backend) []byte {
	header := proxyprotocol.Header{Source: t.arrival.source(), Destination: t.arrival.destination()}
	switch backend.Settings().ProxyProtocol {
	case router.ProxyProtocolV1:
		return proxyprotocol.AppendV1(nil, header)
	case router.ProxyProtocolV2:
		return proxyprotocol.AppendV2(nil, header)
	default:
		return nil
	}
}

// dialCause says why a connection to an endpoint could not be opened.
func dialCause(err error) exchange.Cause {
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errCircuit):
		return exchange.CauseCircuit
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		return exchange.CauseConnectTimeout
	case isHandshakeError(err):
		return exchange.CauseUpstreamTLS
	default:
		return exchange.CauseConnectRefused
	}
}

// conclude tells the Backend how the stream went: one that broke before the client got
// anything counts as a failure.
func (u *streamUpstream) conclude(cause exchange.Cause, sent int64) {
	switch {
	case cause == exchange.CauseNone:
		u.endpoint.Report(router.Success, time.Now())
	case cause == exchange.CauseUpstreamReset && sent == 0:
		u.endpoint.Report(router.GatewayError, time.Now())
	}
}

func (u *streamUpstream) close() {
	u.conn.Close()
	u.endpoint.Release()
	u.pool.closed(u.endpoint)
}
