package proxy

import (
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/proxyprotocol"
	"github.com/lintel-dev/lintel/router"
)

// introduce opens a connection to an endpoint that is told by the PROXY protocol whose
// connection is forwarded. What it is told holds for the connection, which therefore
// serves one exchange. It is spoken to in HTTP/1.1, over TLS too.
func (f *flight) introduce(endpoint *router.Endpoint) (upstream, exchange.Cause) {
	backend := f.Chosen.Backend
	if !backend.AcquirePending() {
		return nil, exchange.CauseCircuit
	}
	defer backend.ReleasePending()
	p, header := f.server.pool, f.introduction()
	limit := min(f.Settings.ConnectTimeout, time.Until(f.attemptBy))
	var up *h1Upstream
	var err error
	if backend.Protocol() == router.HTTPS {
		list := h2List{tls: p.listOf(endpoint, backend).tls, preface: header}
		up, err = p.dialH1(&list, endpoint, time.Now().Add(limit))
	} else {
		up, err = p.dial(endpoint, limit, header)
	}
	if err != nil {
		return nil, f.dialFailure(endpoint, err)
	}
	up.single = true
	endpoint.OK()
	return up, exchange.CauseNone
}

// introduction is the header for the client's connection. As with HAProxy's send-proxy,
// the client is who holds that connection, or whom a load balancer in front has named by
// the PROXY protocol: not whom a field of the request names, which the endpoint gets
// anyway.
func (f *flight) introduction() []byte {
	header := proxyprotocol.Header{Source: f.Client.Source, Destination: f.Client.Destination}
	if f.Chosen.Backend.Settings().ProxyProtocol == router.ProxyProtocolV1 {
		return proxyprotocol.AppendV1(nil, header)
	}
	return proxyprotocol.AppendV2(nil, header)
}
