package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// upstreamMode is what is spoken to the endpoints of a test.
type upstreamMode struct {
	name     string
	protocol router.Protocol
	http1    bool // the endpoint has no HTTP/2
}

// toH2C is an endpoint that speaks HTTP/2 in the clear.
var toH2C = upstreamMode{name: "to h2c", protocol: router.H2C}

var upstreamModes = []upstreamMode{
	{name: "to h1", protocol: router.HTTP1, http1: true},
	toH2C,
	{name: "to https", protocol: router.HTTPS},
	{name: "to https without h2", protocol: router.HTTPS, http1: true},
}

// runUpstreams runs a test in every combination of what is spoken on both sides.
func runUpstreams(t *testing.T, settings Settings, test func(*testing.T, *gateway, upstreamMode)) {
	t.Helper()
	for _, up := range upstreamModes {
		t.Run(up.name, func(t *testing.T) {
			run(t, clientModes, settings, func(t *testing.T, g *gateway) { test(t, g, up) })
		})
	}
}

// serve serves a handler with net/http.
func (m upstreamMode) serve(t testing.TB, handler http.HandlerFunc) *router.Backend {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(m.http1)
	server.Config.Protocols.SetHTTP2(m.protocol == router.HTTPS && !m.http1)
	server.Config.Protocols.SetUnencryptedHTTP2(m.protocol == router.H2C)
	server.Config.ErrorLog = nil
	var settings router.BackendSettings
	settings.Protocol = m.protocol
	if m.protocol == router.HTTPS {
		server.EnableHTTP2 = !m.http1
		server.StartTLS()
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		settings.TLS = &router.BackendTLS{ServerName: "example.com", Roots: roots}
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	b := router.NewBackendWith("default/app:80", settings)
	b.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(server.Listener.Addr().String())})
	return b
}

// What an upstream is told, and what it answers, is the same over all protocols.
func TestEveryProtocolToEveryOther(t *testing.T) {
	runUpstreams(t, Settings{}, func(t *testing.T, g *gateway, up upstreamMode) {
		g.route("/", up.serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Errorf("read request: %v", err)
			}
			if (r.ProtoMajor == 2) == up.http1 {
				t.Errorf("upstream speaks %s", r.Proto)
			}
			w.Header().Set("X-Seen", fmt.Sprint(r.Method, " ", r.Host, " ", r.RequestURI, " ", r.Header["X-Many"], r.ContentLength, " ", r.Trailer))
			w.Header().Add("Set-Cookie", "a=1")
			w.Header().Add("Set-Cookie", "b=2")
			w.Header().Set("Trailer", "X-Sum")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write(body)
			w.Header().Set("X-Sum", "7")
		}))
		g.apply()
		for range 3 {
			req, _ := http.NewRequest(http.MethodPost, g.url("/a/b?c=d&e"), strings.NewReader("hello"))
			req.Header["X-Many"] = []string{"1", "2"}
			res, body := g.do(req)
			if res.StatusCode != http.StatusCreated || body != "hello" || res.Trailer.Get("X-Sum") != "7" || len(res.Cookies()) != 2 {
				t.Errorf("%d %q trailers %v cookies %v", res.StatusCode, body, res.Trailer, res.Cookies())
			}
			if seen := res.Header.Get("X-Seen"); seen != "POST app.test /a/b?c=d&e [1 2] 5 map[]" {
				t.Errorf("upstream has seen %q", seen)
			}
		}
		req, _ := http.NewRequest(http.MethodPost, g.url("/"), io.MultiReader(strings.NewReader("abc"), strings.NewReader("def")))
		req.Trailer = http.Header{"X-Check": {"7"}}
		res, body := g.do(req)
		if want := "POST app.test / [] -1 map[X-Check:[7]]"; body != "abcdef" || res.Header.Get("X-Seen") != want {
			t.Errorf("%q, upstream has seen %q", body, res.Header.Get("X-Seen"))
		}
	})
}

// Responses without a body, and what they say of one.
func TestBodilessOverEveryProtocol(t *testing.T) {
	runUpstreams(t, Settings{}, func(t *testing.T, g *gateway, up upstreamMode) {
		g.route("/", up.serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/head":
				w.Header().Set("Content-Length", "42")
			case "/204":
				w.WriteHeader(http.StatusNoContent)
			case "/304":
				w.Header().Set("Etag", `"a"`)
				w.WriteHeader(http.StatusNotModified)
			}
		}))
		g.apply()
		for range 2 {
			head, _ := http.NewRequest(http.MethodHead, g.url("/head"), nil)
			if res, _ := g.do(head); res.StatusCode != 200 || res.ContentLength != 42 {
				t.Errorf("HEAD: %d, length %d", res.StatusCode, res.ContentLength)
			}
			for path, status := range map[string]int{"/204": 204, "/304": 304, "/empty": 200} {
				if res, body := g.get(path); res.StatusCode != status || body != "" {
					t.Errorf("%s: %d %q", path, res.StatusCode, body)
				}
			}
		}
	})
}

// Both bodies go on at once, piece by piece, at the pace of whoever reads.
func TestStreamingBothWaysOverEveryProtocol(t *testing.T) {
	runUpstreams(t, Settings{}, func(t *testing.T, g *gateway, up upstreamMode) {
		if up.http1 || !g.mode.h2 {
			t.Skip("net/http does not do so over HTTP/1.1")
		}
		g.route("/", up.serve(t, func(w http.ResponseWriter, r *http.Request) {
			flush := http.NewResponseController(w)
			_ = flush.Flush()
			buf := make([]byte, 1<<10)
			for {
				n, err := r.Body.Read(buf)
				_, _ = w.Write(buf[:n])
				_ = flush.Flush()
				if err != nil {
					return
				}
			}
		}))
		g.apply()
		pr, pw := io.Pipe()
		req, _ := http.NewRequest(http.MethodPost, g.url("/"), pr)
		res, err := g.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			word := fmt.Sprintf("word %2d", i)
			_, _ = io.WriteString(pw, word)
			got := make([]byte, len(word))
			if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != word {
				t.Fatalf("%q, %v", got, err)
			}
		}
		pw.Close()
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
		res.Body.Close()
	})
}

// An upstream that echoes what it reads before it reads on gets all of a large body.
func TestLargeEchoOverEveryProtocol(t *testing.T) {
	const size = 3 << 19 // four of them are more than all windows
	runUpstreams(t, Settings{}, func(t *testing.T, g *gateway, up upstreamMode) {
		g.route("/", up.serve(t, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.Copy(w, r.Body)
		}))
		g.apply()
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				req, _ := http.NewRequest(http.MethodPost, g.url("/"), io.LimitReader(zeros{}, size))
				res, err := g.client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
			})
		}
		group.Wait()
	})
}

// zeros is a reader without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// An upstream that breaks its response off makes the client see that.
func TestBrokenResponseOverEveryProtocol(t *testing.T) {
	runUpstreams(t, Settings{}, func(t *testing.T, g *gateway, up upstreamMode) {
		g.route("/", up.serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "a part")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}))
		g.apply()
		if res, err := g.client.Get(g.url("/")); err == nil { // a reset may overtake the head in HTTP/3
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil {
				t.Errorf("%q looks complete", body)
			}
		}
		if x := g.observed(1); x.Cause != exchange.CauseUpstreamReset {
			t.Errorf("cause %q", x.Cause)
		}
	})
}

// A client that goes away takes its request at the upstream along, soon.
func TestCancelReachesTheUpstream(t *testing.T) {
	each := func(t *testing.T, g *gateway, up upstreamMode) {
		arrived, gone := make(chan struct{}), make(chan struct{})
		g.route("/", up.serve(t, func(_ http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-r.Context().Done()
			gone <- struct{}{}
		}))
		g.apply()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, g.url("/"), nil)
		if _, err := g.client.Do(req); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		<-gone
		if x := g.observed(1); x.Cause != exchange.CauseClientGone || x.Status != 0 {
			t.Errorf("cause %q, status %d", x.Cause, x.Status)
		}
	}
	for _, up := range upstreamModes {
		t.Run(up.name, func(t *testing.T) { // they wait for most of their time
			runAtOnce(t, clientModes, Settings{}, func(t *testing.T, g *gateway) { each(t, g, up) })
		})
	}
}

// Exchanges share one connection, and none is lost when there are more than it carries.
func TestManyStreamsAtOnce(t *testing.T) {
	const requests = 300
	for _, up := range upstreamModes[1:3] {
		t.Run(up.name, func(t *testing.T) {
			run(t, []mode{h2cMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
				var open sync.Map
				backend := up.serve(t, func(w http.ResponseWriter, r *http.Request) {
					open.Store(r.RemoteAddr, true)
					time.Sleep(time.Millisecond)
					_, _ = io.WriteString(w, r.URL.Path)
				})
				g.route("/", backend)
				g.apply()
				var group sync.WaitGroup
				for i := range requests {
					group.Go(func() {
						path := fmt.Sprint("/", i)
						res, err := g.client.Get(g.url(path))
						if err != nil {
							t.Error(err)
							return
						}
						defer res.Body.Close()
						if body, _ := io.ReadAll(res.Body); string(body) != path {
							t.Errorf("%s: %d %q", path, res.StatusCode, body)
						}
					})
				}
				group.Wait()
				connections := 0
				open.Range(func(_, _ any) bool { connections++; return true })
				if connections > 6 {
					t.Errorf("%d connections for %d requests", connections, requests)
				}
			})
		})
	}
}

// An endpoint whose certificate is not what was asked for gets no request.
func TestUpstreamCertificate(t *testing.T) {
	for _, up := range upstreamModes[2:] {
		t.Run(up.name, func(t *testing.T) {
			run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
				good := up.serve(t, func(http.ResponseWriter, *http.Request) { t.Error("request arrives") })
				wrong := *good.TLS()
				wrong.ServerName = "other.test"
				bad := router.NewBackendWith("default/bad:443", router.BackendSettings{Protocol: router.HTTPS, TLS: &wrong})
				bad.SetEndpoints([]netip.AddrPort{good.Endpoints()[0].Addr})
				g.route("/", bad)
				g.apply()
				if res, _ := g.get("/"); res.StatusCode != http.StatusBadGateway {
					t.Errorf("%d", res.StatusCode)
				}
				if x := g.observed(1); x.Cause != exchange.CauseUpstreamTLS {
					t.Errorf("cause %q", x.Cause)
				}
			})
		})
	}
}

// An endpoint that wants to end its connection loses no request.
func TestGoAwayLosesNothing(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		var served atomic.Int64
		g.route("/", toH2C.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if served.Add(1)%10 == 0 {
				w.Header().Set("Connection", "close") // GOAWAY in HTTP/2
			}
			_, _ = io.Copy(w, r.Body)
		}))
		g.apply()
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 20 {
					body := "hello" // which has to come with the head, to be there for another attempt
					if g.mode.name != plainMode.name && g.mode.name != tlsMode.name {
						body = ""
					}
					res, err := g.client.Post(g.url("/"), "text/plain", strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					if got, err := io.ReadAll(res.Body); err != nil || string(got) != body {
						t.Errorf("%d %q %v", res.StatusCode, got, err)
					}
					res.Body.Close()
				}
			})
		}
		group.Wait()
	})
}
