package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lintel-dev/lintel/router"
)

// A connection that is refused moves on to the next endpoint, for any method.
func TestConnectRefusedTriesNext(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
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

// A failure after sending is repeated for idempotent methods alone.
func TestRepeatsIdempotentOnly(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
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

// An upstream that closes its connections as soon as they are idle costs no
// request, whether we notice before or after sending.
func TestStaleConnections(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
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
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
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
			eventually(t, "the connection is idle", func() bool { return g.server.Stats().UpstreamIdle.Load() == 1 })
		}
		if n := connections.Load(); n != 1 {
			t.Errorf("%d upstream connections for 20 requests", n)
		}
	})
}
