package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// Large bodies of known length take a way of their own (splice.go): their faults
// end like those of small ones.
func TestLargeResponseFaults(t *testing.T) {
	runAtOnce(t, allModes, Settings{BodyTimeout: 400 * time.Millisecond}, func(t *testing.T, g *gateway) {
		const size, sent = 4 << 20, 1 << 20
		stop := make(chan struct{})
		large := func(then func(net.Conn)) func(net.Conn, *bufio.Reader) {
			return func(conn net.Conn, in *bufio.Reader) {
				_, _ = http.ReadRequest(in)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(size)+"\r\n\r\n")
				_, _ = io.CopyN(conn, &pattern{}, sent)
				then(conn)
			}
		}
		g.route("/closes", rawBackend(t, large(func(net.Conn) {})))
		g.route("/stalls", rawBackend(t, large(func(net.Conn) { <-stop })))
		g.route("/timeout", rawBackend(t, large(func(net.Conn) { <-stop }))).Action.RequestTimeout = 200 * time.Millisecond
		g.apply()
		defer close(stop)
		for _, test := range []struct {
			path  string
			cause exchange.Cause
		}{{"/closes", exchange.CauseUpstreamReset}, {"/stalls", exchange.CauseTimeout}, {"/timeout", exchange.CauseTimeout}} {
			n := g.count()
			c := g.dial()
			c.send("GET " + test.path + " HTTP/1.1\r\nHost: a\r\n\r\n")
			var got pattern
			read, err := io.Copy(&got, c.responseHead("GET").Body)
			if read != sent || err == nil || got.wrong {
				t.Errorf("%s: %d bytes, wrong %v, error %v", test.path, read, got.wrong, err)
			}
			if x := g.observed(n + 1); x.Cause != test.cause || x.Sent != sent {
				t.Errorf("%s: observed %q after %d bytes", test.path, x.Cause, x.Sent)
			}
		}
	})
}

// A client that does not read holds its upstream back, and is given up after the
// BodyTimeout; one that reads slowly but steadily gets everything.
func TestSlowReader(t *testing.T) {
	runAtOnce(t, allModes, Settings{BodyTimeout: time.Second}, func(t *testing.T, g *gateway) {
		const size = 64 << 20
		held := make(chan int64, 1)
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(size)+"\r\n\r\n")
			n, _ := io.CopyN(conn, &pattern{}, size)
			held <- n
		}))
		g.apply()
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if n := <-held; n == size {
			t.Errorf("the upstream could send all %d bytes", n)
		}
		if x := g.observed(1); x.Cause != exchange.CauseClientStalled {
			t.Errorf("cause %q", x.Cause)
		}
		c.conn.Close()

		c = g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		res := c.responseHead("GET")
		var got pattern
		for range 8 {
			time.Sleep(100 * time.Millisecond) // the slow reader itself
			if _, err := io.CopyN(&got, res.Body, size/8); err != nil {
				t.Fatal(err)
			}
		}
		if n := <-held; n != size || got.wrong {
			t.Errorf("%d bytes, wrong %v", n, got.wrong)
		}
		c.conn.Close()
	})
}

// What an upstream sends without being asked is never taken for the answer to
// the next request.
func TestUnaskedResponse(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		poisoned := make(chan struct{})
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")
				if req.URL.Path == "/poison" {
					eventually(t, "the connection is idle", func() bool { return g.server.Stats().UpstreamIdle.Load() == 1 })
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
					poisoned <- struct{}{}
				}
			}
		}))
		g.apply()
		c := g.dial()
		for _, path := range []string{"/poison", "/"} {
			c.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
			if _, body := c.response("GET"); body != "mine" {
				t.Errorf("%s: %q", path, body)
			}
			if path == "/poison" {
				<-poisoned
			}
		}
	})
}

func TestInterimFlood(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, answering(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 10_000))))
		g.apply()
		if res, _ := g.get("/"); res.StatusCode != 502 {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}
