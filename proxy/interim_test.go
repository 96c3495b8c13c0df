package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

const expecting = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"

func TestContinue(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		expected := make(chan string, 1)
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				expected <- req.Header.Get("Expect")
				_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
				body, _ := io.ReadAll(req.Body)
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}
		}))
		g.apply()
		c := g.dial()
		for range 2 {
			c.send(expecting)
			if got := <-expected; got != "100-continue" {
				t.Errorf("Expect upstream: %q", got)
			}
			if res := c.responseHead("POST"); res.StatusCode != 100 {
				t.Fatalf("interim status %d", res.StatusCode)
			}
			c.send("abc")
			if res, body := c.response("POST"); res.StatusCode != 200 || body != "abc" {
				t.Fatalf("%d %q", res.StatusCode, body)
			}
		}
	})
}

// A client that waits for 100 (Continue) gets it even if the upstream does not
// know it.
func TestContinueWithoutUpstream(t *testing.T) {
	runAtOnce(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
		g.apply()
		c := g.dial()
		c.send(expecting)
		if res := c.responseHead("POST"); res.StatusCode != 100 {
			t.Fatalf("interim status %d", res.StatusCode)
		}
		c.send("abc")
		if res, body := c.response("POST"); res.StatusCode != 200 || body != "ok" {
			t.Fatalf("%d %q", res.StatusCode, body)
		}
	})
}

// An upstream may refuse a body before it is sent.
func TestContinueRefused(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, in)
		}))
		g.apply()
		c := g.dial()
		c.send(expecting)
		if res, body := c.response("POST"); res.StatusCode != 401 || body != "no" || !res.Close {
			t.Fatalf("%d %q, close %v", res.StatusCode, body, res.Close)
		}
		c.expectEnd()
	})
}

func TestInterimResponses(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, answering("HTTP/1.1 100 Continue\r\n\r\n"+
			"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
		g.apply()
		c := g.dial()
		for range 2 {
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			res := c.responseHead("GET") // not 100, which nobody expected
			if res.StatusCode != 103 || res.Header.Get("Link") != "</a.css>" || res.Header.Get("X-Hop") != "" {
				t.Fatalf("interim %d %v", res.StatusCode, res.Header)
			}
			if res, body := c.response("GET"); res.StatusCode != 200 || body != "ok" {
				t.Fatalf("%d %q", res.StatusCode, body)
			}
		}
		old := g.dial()
		old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
		if res, body := old.response("GET"); res.StatusCode != 200 || body != "ok" {
			t.Errorf("HTTP/1.0: %d %q", res.StatusCode, body)
		}
	})
}

// A response that comes before the end of the request reaches the client, and
// the client is not reset while it still sends.
func TestEarlyResponse(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
		}))
		g.apply()
		c := g.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n")
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(c.conn, strings.Repeat("a", 600_000))
			sent <- err
		}()
		if res, body := c.response("POST"); res.StatusCode != 413 || body != "no" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
		if err := <-sent; err != nil {
			t.Errorf("send body: %v", err)
		}
	})
}
