package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/proxyprotocol"
)

var loopback = netip.MustParsePrefix("127.0.0.0/8")

// A load balancer tells whose connection it forwards, before TLS if there is any.
func TestProxyProtocolNamesTheClient(t *testing.T) {
	client := proxyprotocol.Header{
		Source:      netip.MustParseAddrPort("192.0.2.7:4711"),
		Destination: netip.MustParseAddrPort("198.51.100.1:8443"),
	}
	headers := map[string][]byte{"v1": proxyprotocol.AppendV1(nil, client), "v2": proxyprotocol.AppendV2(nil, client)}
	run(t, allModes, Settings{ProxyProtocolFrom: []netip.Prefix{loopback}}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Header["X-Forwarded-For"], r.Header["X-Real-Ip"], r.Header["X-Forwarded-Port"])
		}))
		g.apply()
		done := 0
		for name, header := range headers {
			r := g.dialAfter(header)
			r.send("GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
			if _, body := r.response(http.MethodGet); body != "[192.0.2.7] [192.0.2.7] [8443]" {
				t.Errorf("%s: upstream was told %s", name, body)
			}
			if x := g.observed(done + 1); x.Client != client.Source.Addr() {
				t.Errorf("%s: observed client %v", name, x.Client)
			}
			done++
		}
	})
}

// Bytes that come together with the header are not lost.
func TestProxyProtocolHeaderAndRequestTogether(t *testing.T) {
	run(t, []mode{plainMode}, Settings{ProxyProtocolFrom: []netip.Prefix{loopback}}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
		g.apply()
		r := g.dial()
		r.send("PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		if res, body := r.response(http.MethodGet); res.StatusCode != http.StatusOK || body != "ok" {
			t.Errorf("got %d %q", res.StatusCode, body)
		}
	})
}

func TestProxyProtocolIsRequired(t *testing.T) {
	run(t, []mode{plainMode}, Settings{ProxyProtocolFrom: []netip.Prefix{loopback}}, func(t *testing.T, g *gateway) {
		r := g.dial()
		r.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		r.expectEnd()
	})
}

// A header from anyone else is no request.
func TestProxyProtocolIsNotGuessed(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		r := g.dial()
		r.send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		if res, _ := r.response(http.MethodGet); res.StatusCode != http.StatusBadRequest {
			t.Errorf("got %d", res.StatusCode)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	limits := map[string]Settings{
		"socket":  {MaxConnections: 2},
		"address": {MaxConnectionsPerAddress: 2},
	}
	for name, settings := range limits {
		t.Run(name, func(t *testing.T) {
			run(t, allModes, settings, func(t *testing.T, g *gateway) {
				g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
				g.apply()
				first, second := g.dial(), g.dial()
				serves := func(r *raw) bool {
					_, err := io.WriteString(r.conn, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
					if err != nil {
						return false
					}
					res, err := http.ReadResponse(r.in, nil)
					if err != nil {
						return false
					}
					_, _ = io.Copy(io.Discard, res.Body)
					return true
				}
				if !serves(first) || !serves(second) {
					t.Fatal("connections within the limit are not served")
				}
				if serves(g.dial()) {
					t.Error("one too many is served")
				}
				if n := g.server.Stats().Refused.Load(); n != 1 {
					t.Errorf("%d were refused, want 1", n)
				}
				first.conn.Close()
				eventually(t, "there is room again", func() bool { return serves(g.dial()) })
			})
		})
	}
}

func TestTrustedProxiesMayHaveManyConnections(t *testing.T) {
	a := admission{limit: 1, free: loopback.Contains, open: map[netip.Addr]int{}}
	for range 3 {
		if !a.enter(netip.MustParseAddr("127.0.0.1")) {
			t.Error("a trusted proxy is bounded")
		}
	}
	if !a.enter(netip.MustParseAddr("2001:db8::1")) || a.enter(netip.MustParseAddr("2001:db8::2")) {
		t.Error("a /64 does not count as one")
	}
	if !a.enter(netip.MustParseAddr("2001:db8:0:1::1")) {
		t.Error("another /64 counts too")
	}
	a.leave(netip.MustParseAddr("2001:db8::1"))
	if !a.enter(netip.MustParseAddr("2001:db8::2")) {
		t.Error("there is no room after the first has left")
	}
}

// Under memory pressure new requests are told to come again, on connections that
// go on.
func TestMemoryPressureRefusesNewRequests(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		arrived, release := make(chan struct{}), make(chan struct{})
		g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			arrived <- struct{}{}
			<-release
		}))
		g.apply()
		under := g.dial()
		under.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		<-arrived
		g.server.pressure.Store(true)
		res, body := g.get("/")
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") != "1" || !strings.HasPrefix(body, "503") {
			t.Errorf("got %d, Retry-After %q, %q", res.StatusCode, res.Header.Get("Retry-After"), body)
		}
		if x := g.observed(1); x.Cause != exchange.CauseOverload {
			t.Errorf("cause %q", x.Cause)
		}
		close(release)
		if res, _ := under.response(http.MethodGet); res.StatusCode != http.StatusOK {
			t.Errorf("what was under way got %d", res.StatusCode)
		}
		g.server.pressure.Store(false)
		go func() { <-arrived }()
		if res, _ := g.get("/"); res.StatusCode != http.StatusOK {
			t.Errorf("after the pressure: %d", res.StatusCode)
		}
	})
}

// With a MemoryLimit there are no more exchanges at once than it has room for, however
// little each of them takes at first.
func TestMemoryLimitBoundsExchanges(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		// MemoryLimit itself would be exceeded by the test. One exchange fits beside the
		// connections in every lane, and two do in none.
		g.server.pressure.Limit(120 << 10)
		arrived, release := make(chan struct{}), make(chan struct{})
		g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) {
			arrived <- struct{}{}
			<-release
		}))
		g.apply()
		first := g.dial()
		first.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		<-arrived
		for range 2 {
			if res, _ := g.get("/"); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
				t.Errorf("one too many got %d", res.StatusCode)
			}
		}
		close(release)
		if res, _ := first.response(http.MethodGet); res.StatusCode != http.StatusOK {
			t.Errorf("the first got %d", res.StatusCode)
		}
		g.observed(3)
		go func() { <-arrived }()
		if res, _ := g.get("/"); res.StatusCode != http.StatusOK {
			t.Errorf("after it: %d", res.StatusCode)
		}
	})
}

// A connection with a goroutine of its own takes memory without an exchange, too.
func TestMemoryLimitCountsConnections(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		if g.server.loops != nil {
			t.Skip("the loops have no goroutine for each")
		}
		g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) {}))
		g.server.Apply(g.table(), nil) // the limit is there before anybody can come
		g.server.pressure.Limit(connectionMemory + connectionMemory/2 + exchangeMemory)
		g.apply()
		first, second := g.dial(), g.dial()
		serves := func(r *raw) bool {
			r.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
			res, _ := r.response(http.MethodGet)
			return res.StatusCode == http.StatusOK
		}
		eventually(t, "both are known", func() bool { return g.server.stats.Downstream.Load() == 2 })
		if serves(first) {
			t.Error("there is room for an exchange beside two connections")
		}
		second.conn.Close()
		eventually(t, "there is room again", func() bool { return serves(first) })
	})
}

// The rest of a body may come after the refusal, and the next request with it.
func TestRequestBehindARefusedBody(t *testing.T) {
	const half = 40 << 10
	piece := strings.Repeat("x", half)
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
		g.apply()
		for name, c := range map[string]struct{ field, first, rest string }{
			"length":  {fmt.Sprintf("Content-Length: %d", 2*half), piece, piece},
			"chunked": {"Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s", 2*half, piece), piece + "\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n"},
		} {
			r := g.dial()
			g.server.pressure.Store(true)
			r.send("POST / HTTP/1.1\r\nHost: app.test\r\n" + c.field + "\r\n\r\n" + c.first)
			if res, _ := r.response(http.MethodPost); res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s: the body got %d", name, res.StatusCode)
			}
			g.server.pressure.Store(false)
			r.send(c.rest + "GET /next HTTP/1.1\r\nHost: app.test\r\n\r\n")
			if res, body := r.response(http.MethodGet); res.StatusCode != http.StatusOK || body != "/next" {
				t.Errorf("%s: the request behind it got %d, %q", name, res.StatusCode, body)
			}
		}
	})
}

func TestMemoryIsWatched(t *testing.T) {
	for limit, want := range map[int64]bool{1: true, 1 << 40: false} {
		var pressure exchange.Pressure
		pressure.Store(!want)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			watchMemory(ctx, limit*100, &pressure)
		}()
		eventually(t, "the pressure is known", func() bool { return pressure.Load() == want })
		stop()
		<-ended
	}
}

// Pressure ends with its cause, even if nothing more happens that would make the garbage
// collector look.
func TestPressureDoesNotOutlastItsCause(t *testing.T) {
	const much = 256 << 20
	var pressure exchange.Pressure
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	ballast := make([]byte, much)
	runtime.GC()
	go func() {
		defer close(ended)
		watchMemory(ctx, much, &pressure)
	}()
	eventually(t, "there is pressure", pressure.Load)
	runtime.KeepAlive(ballast) // until here
	eventually(t, "the pressure is over", func() bool { return !pressure.Load() })
	stop()
	<-ended
}

// dialAfter dials and sends bytes before anything else.
func (g *gateway) dialAfter(first []byte) *raw {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := conn.Write(first); err != nil {
		g.t.Fatal(err)
	}
	return g.over(conn)
}
