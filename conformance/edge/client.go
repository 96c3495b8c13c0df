package edge

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/google/uuid"
)

// clientAddress is the end user's (RFC 5737).
const clientAddress = "203.0.113.7"

// errNoConnection is what end users get as error 1033.
var errNoConnection = errors.New("error 1033: no connection of the tunnel is registered")

// RoundTripper returns what sends requests of end users through a tunnel, whatever host
// they are for. The user has the address 203.0.113.7 and speaks https, unless the request
// has the fields that say otherwise. Upgrade: websocket gets a 101 whose Body is an
// io.ReadWriteCloser. A request that got no response is sent by another connection, if it
// can be repeated.
func (e *Edge) RoundTripper(tunnel uuid.UUID) http.RoundTripper { return visitor{e, tunnel} }

type visitor struct {
	edge   *Edge
	tunnel uuid.UUID
}

// RoundTrip implements http.RoundTripper.
func (v visitor) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	announce(r.Header)
	var tried []*connection
	err := errNoConnection
	for {
		c := v.edge.pick(v.tunnel, tried)
		if c == nil {
			return nil, err
		}
		var res *http.Response
		if res, err = c.roundTrip(r); err == nil {
			return res, nil
		}
		tried = append(tried, c)
		if r.Context().Err() != nil || r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
			return nil, err
		}
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// announce adds what Cloudflare tells of an end user.
func announce(h http.Header) {
	if h.Get("Cf-Connecting-Ip") == "" {
		h.Set("Cf-Connecting-Ip", clientAddress)
	}
	if h.Get("X-Forwarded-Proto") == "" {
		h.Set("X-Forwarded-Proto", "https")
	}
	chain := h.Get("Cf-Connecting-Ip")
	if before := h.Get("X-Forwarded-For"); before != "" {
		chain = before + "," + chain
	}
	h.Set("X-Forwarded-For", chain)
	h.Set("Cf-Ray", "0000000000000000-FAK")
	h.Set("Cf-Visitor", `{"scheme":"`+h.Get("X-Forwarded-Proto")+`"}`)
	h.Set("Cdn-Loop", "cloudflare; loops=1")
}

// Dial opens a TCP stream through a tunnel to a destination ("host:port").
func (e *Edge) Dial(ctx context.Context, tunnel uuid.UUID, destination string) (io.ReadWriteCloser, error) {
	c := e.pick(tunnel, nil)
	if c == nil {
		return nil, errNoConnection
	}
	return c.dial(ctx, destination)
}

// Configure sends a configuration (JSON) by one connection of a tunnel, and returns the
// version that its connector says it has applied.
func (e *Edge) Configure(ctx context.Context, tunnel uuid.UUID, version int32, config string) (int32, error) {
	c := e.pick(tunnel, nil)
	if c == nil {
		return 0, errNoConnection
	}
	return c.configure(ctx, version, []byte(config))
}
