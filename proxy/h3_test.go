package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// roundTripper is what clients of the gateway's mode send requests by.
func (g *gateway) roundTripper(transport *http.Transport) http.RoundTripper {
	if !g.mode.h3 {
		return transport
	}
	return g.h3Transport()
}

// h3Transport sends requests over HTTP/3 to the gateway, whatever host they are for.
func (g *gateway) h3Transport() *http3.Transport {
	transport := &http3.Transport{
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true, ServerName: "app.test"},
		DisableCompression: true,
		Dial: func(ctx context.Context, _ string, config *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, g.address(), config, quicConfig)
		},
	}
	g.t.Cleanup(func() { transport.Close() })
	return transport
}

func TestHTTP3(t *testing.T) {
	run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Seen", r.Method+" "+r.Host+" "+r.RequestURI+" "+r.Header.Get("X-Forwarded-Proto"))
			w.Header().Set("X-Trailer", r.Trailer.Get("X-After"))
			_, _ = w.Write(body)
		}))
		g.apply()
		res, _ := g.get("/a?b")
		if res.Proto != "HTTP/3.0" || res.StatusCode != 200 || res.Header.Get("X-Seen") != "GET app.test /a?b https" {
			t.Fatalf("%v %v", res.Status, res.Header)
		}
		text := strings.Repeat("x", 100_000)
		req, _ := http.NewRequest(http.MethodPost, g.url("/"), strings.NewReader(text))
		req.Trailer = http.Header{"X-After": nil}
		req.Body = &trailing{Reader: strings.NewReader(text), after: func() { req.Trailer.Set("X-After", "yes") }}
		req.ContentLength = -1
		res, body := g.do(req)
		if body != text || res.Header.Get("X-Trailer") != "yes" {
			t.Fatalf("%v %v: %d bytes", res.Status, res.Header, len(body))
		}
		if x := g.observed(1); x.Protocol != "HTTP/3.0" || x.Scheme != "https" || x.Client.String() != "127.0.0.1" {
			t.Errorf("%+v", x)
		}
	})
}

// trailing is a body that calls after at its end.
type trailing struct {
	io.Reader
	after func()
}

func (b *trailing) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.after()
	}
	return n, err
}

func (b *trailing) Close() error { return nil }
