package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// A connection that is refused moves on to the next endpoint, for any method.
func TestConnectRefusedTriesNext(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		live := httpBackend(t, echo)
		for range 4 {
			dead, _ := netip.ParseAddrPort(deadAddress(t).String())
			b := router.NewBackend("default/app:80")
			b.SetEndpoints([]netip.AddrPort{dead, live.Endpoints()[0].Addr})
			g.rules = nil
			g.route("/", b)
			g.apply()
			for _, method := range []string{"GET", "POST"} {
				req, _ := http.NewRequest(method, g.url("/"), strings.NewReader("abc"))
				if res, body := g.do(req); res.StatusCode != 200 || body != "abc" {
					t.Errorf("%s: %d %q", method, res.StatusCode, body)
				}
			}
		}
	})
}

// All endpoints may refuse before one accepts.
func TestConnectRefusedTriesAll(t *testing.T) {
	const refusing = 8
	live := netip.MustParseAddrPort("192.0.2.99:80")
	dial := func(_ context.Context, addr netip.AddrPort) (net.Conn, error) {
		if addr != live {
			return nil, errors.New("refused")
		}
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")(far, bufio.NewReader(far))
		}()
		return near, nil
	}
	run(t, clientModes, Settings{Dial: dial}, func(t *testing.T, g *gateway) {
		b := router.NewBackend("default/app:80")
		b.SetEndpoints(numbered(refusing))
		g.route("/none", b)
		some := router.NewBackend("default/app:80")
		some.SetEndpoints(append(numbered(refusing), live))
		g.route("/some", some)
		g.apply()
		if res, _ := g.get("/none"); res.StatusCode != 502 || g.observed(1).Attempts != refusing {
			t.Errorf("%d after %d attempts", res.StatusCode, g.observed(1).Attempts)
		}
		for range 8 {
			if res, body := g.get("/some"); res.StatusCode != 200 || body != "ok" {
				t.Errorf("%d %q", res.StatusCode, body)
			}
		}
	})
}

// numbered returns n addresses.
func numbered(n int) []netip.AddrPort {
	var all []netip.AddrPort
	for i := range n {
		all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 80))
	}
	return all
}

// No endpoint is asked for a client that has left.
func TestClientLeavesBetweenAttempts(t *testing.T) {
	dialled, refuse := make(chan struct{}, 10), make(chan struct{})
	dial := func(context.Context, netip.AddrPort) (net.Conn, error) {
		dialled <- struct{}{}
		<-refuse
		return nil, errors.New("refused")
	}
	run(t, []mode{plainMode}, Settings{Dial: dial}, func(t *testing.T, g *gateway) {
		b := router.NewBackend("default/app:80")
		b.SetEndpoints(numbered(4))
		g.route("/", b)
		g.apply()
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-dialled
		sock := g.server.sockets[socketName]
		c.conn.Close()
		eventually(t, "the client has left", func() bool {
			sock.mu.Lock()
			defer sock.mu.Unlock()
			for c := range sock.connections {
				return c.gone()
			}
			return false
		})
		close(refuse)
		if x := g.observed(1); x.Cause != exchange.CauseClientGone || x.Attempts != 1 {
			t.Errorf("cause %q after %d attempts", x.Cause, x.Attempts)
		}
	})
}

// shortWriter takes only a part of what is written first, and is late with it.
type shortWriter struct {
	net.Conn
	takes int
}

func (w *shortWriter) Write(p []byte) (int, error) {
	if w.takes == 0 {
		return w.Conn.Write(p)
	}
	n, err := w.Conn.Write(p[:w.takes])
	if w.takes = 0; err == nil {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// An upstream that got a part of a request and answers early gets no other
// request: it would take that for the rest of the first.
func TestPartOfRequestEndsConnection(t *testing.T) {
	const part = "POST /first HTTP/1.1\r\n"
	var connections atomic.Int32
	dial := func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		conn, err := exchange.DialTCP(ctx, addr)
		if connections.Add(1) == 1 && err == nil {
			conn = &shortWriter{Conn: conn, takes: len(part)}
		}
		return conn, err
	}
	run(t, []mode{plainMode}, Settings{Dial: dial}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			for line, _ := in.ReadString('\n'); line != ""; line, _ = in.ReadString('\n') {
				if strings.HasSuffix(line, " HTTP/1.1\r\n") {
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}
		}))
		g.apply()
		for i, request := range []string{"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "GET /second HTTP/1.1\r\nHost: a\r\n\r\n"} {
			c := g.dial()
			c.send(request)
			if res, body := c.response("GET"); res.StatusCode != 200 || body != "ok" {
				t.Errorf("%d %q", res.StatusCode, body)
			}
			g.observed(i + 1)
		}
		if n := connections.Load(); n != 2 {
			t.Errorf("%d connections for a request that was cut and another", n)
		}
	})
}

// A failure after sending is repeated for idempotent methods alone.
func TestRepeatsIdempotentOnly(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		var requests atomic.Int32
		bad := rawBackend(t, func(_ net.Conn, in *bufio.Reader) {
			if _, err := http.ReadRequest(in); err == nil {
				requests.Add(1)
			}
		})
		var all []netip.AddrPort
		for range 6 {
			other := rawBackend(t, func(_ net.Conn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err == nil {
					requests.Add(1)
				}
			})
			all = append(all, other.Endpoints()[0].Addr)
		}
		bad.SetEndpoints(all)
		g.route("/", bad)
		g.apply()
		for _, test := range []struct {
			method, body string
			want         int32
		}{{"GET", "", maxAttempts}, {"PUT", "abc", maxAttempts}, {"DELETE", "", maxAttempts}, {"POST", "", 1}, {"POST", "abc", 1}, {"PATCH", "", 1}} {
			requests.Store(0)
			req, _ := http.NewRequest(test.method, g.url("/"), strings.NewReader(test.body))
			if res, _ := g.do(req); res.StatusCode != 502 || requests.Load() != test.want {
				t.Errorf("%s %q: %d after %d attempts, want %d", test.method, test.body, res.StatusCode, requests.Load(), test.want)
			}
		}
	})
}

// A request whose endpoint leaves before any of the body has come is repeated with the body.
func TestRepeatsBeforeBody(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		if transport, ok := g.client.Transport.(*http.Transport); ok {
			transport.WriteBufferSize = 1 // the head must not wait for the body
		}
		repeatsBeforeBody(t, g)
	})
	t.Run("tunnel", func(t *testing.T) {
		g := newGateway(t, plainMode, Settings{})
		var entry *Entry
		entry, g.client = entrance(t, g)
		entry.Lead(Ways{Secure: socketName})
		repeatsBeforeBody(t, g)
	})
}

func repeatsBeforeBody(t *testing.T, g *gateway) {
	var requests atomic.Int32
	again := make(chan struct{})
	serve := func(conn net.Conn, in *bufio.Reader) {
		req, err := http.ReadRequest(in)
		if err != nil || requests.Add(1) == 1 {
			return
		}
		close(again)
		body, _ := io.ReadAll(req.Body)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	backend, other := rawBackend(t, serve), rawBackend(t, serve)
	backend.SetEndpoints([]netip.AddrPort{backend.Endpoints()[0].Addr, other.Endpoints()[0].Addr})
	g.route("/", backend)
	g.apply()
	reader, writer := io.Pipe()
	go func() {
		select {
		case <-again:
		case <-t.Context().Done():
		}
		_, _ = io.WriteString(writer, "abc")
		writer.Close()
	}()
	req, _ := http.NewRequest("PUT", g.url("/"), reader)
	req.ContentLength = 3
	if res, body := g.do(req); res.StatusCode != 200 || body != "abc" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

// An upstream that closes its connections as soon as they are idle costs no
// request, whether we notice before or after sending.
func TestStaleConnections(t *testing.T) {
	runAtOnce(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}))
		g.apply()
		var clients sync.WaitGroup
		var failed atomic.Int32
		for range 8 {
			clients.Go(func() {
				c := g.dial()
				for range 250 {
					c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
					if res, body := c.response("GET"); res.StatusCode != 200 || body != "ok" {
						failed.Add(1)
					}
				}
			})
		}
		clients.Wait()
		if n := failed.Load(); n != 0 {
			t.Errorf("%d of 2,000 requests failed", n)
		}
	})
}

// A POST does not get a pooled connection that is known to be closed.
func TestStaleConnectionForPost(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		closed := make(chan struct{}, 100)
		backend := rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			conn.Close()
			closed <- struct{}{}
		})
		g.route("/", backend)
		g.apply()
		c := g.dial()
		for range 100 {
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
			if res, body := c.response("POST"); res.StatusCode != 200 || body != "ok" {
				t.Fatalf("%d %q", res.StatusCode, body)
			}
			<-closed
		}
	})
}

func TestReusesUpstreamConnections(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		var connections atomic.Int32
		serve := answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			connections.Add(1)
			serve(conn, in)
		}))
		g.apply()
		for range 20 {
			g.client.CloseIdleConnections() // another downstream connection each
			if res, _ := g.get("/"); res.StatusCode != 200 {
				t.Fatalf("status %d", res.StatusCode)
			}
			eventually(t, "the connection is idle", func() bool {
				stats := g.server.Stats()
				return stats.UpstreamIdle.Load() > 0 && stats.UpstreamIdle.Load() == stats.Upstream.Load()
			})
		}
		if n := connections.Load(); n > 1 {
			t.Errorf("%d upstream connections for 20 requests", n)
		}
	})
}
