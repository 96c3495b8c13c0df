package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

const upgrading = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"

// chat switches protocols, says hello at once, and then echoes until the client
// has finished, and says bye.
func chat(conn net.Conn, in *bufio.Reader) {
	req, err := http.ReadRequest(in)
	if err != nil || req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Connection") != "Upgrade" {
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\nhello")
	_, _ = io.Copy(conn, in)
	_, _ = io.WriteString(conn, "bye")
}

func (r *raw) expect(want string) {
	r.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r.in, got); err != nil || string(got) != want {
		r.t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func (r *raw) upgraded() {
	r.t.Helper()
	res := r.responseHead("GET")
	if res.StatusCode != 101 || res.Header.Get("Upgrade") != "websocket" || res.Header.Get("Connection") != "Upgrade" || res.Header.Get("Sec-Websocket-Accept") != "y" {
		r.t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
}

func TestUpgrade(t *testing.T) {
	// The request's timeout is over with the 101.
	runAtOnce(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		rule := g.route("/", rawBackend(t, chat))
		rule.Action.RequestTimeout = 500 * time.Millisecond
		g.apply()
		c := g.dial()
		c.send(upgrading + "early")
		c.upgraded()
		c.expect("helloearly")
		time.Sleep(600 * time.Millisecond) // past the request's timeout: it must not matter
		for _, word := range []string{"one", "two"} {
			c.send(word)
			c.expect(word)
		}
		if err := c.conn.(closeWriter).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c.expect("bye") // the other half was still open
		c.expectEnd()
		if x := g.observed(1); x.Status != 101 || x.Sent != int64(len("helloearlyonetwobye")) || x.Received != int64(len("earlyonetwo")) {
			t.Errorf("observed %d, %d out, %d in", x.Status, x.Sent, x.Received)
		}
	})
}

func TestUpgradeClosedByEitherSide(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		closed := make(chan struct{})
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n")
			if b, _ := in.ReadByte(); b == 'q' {
				return
			}
			_, _ = io.Copy(io.Discard, in)
			close(closed)
		}))
		g.apply()
		c := g.dial()
		c.send(upgrading)
		c.upgraded()
		c.send("q")
		c.expectEnd()
		c.conn.Close()

		c = g.dial()
		c.send(upgrading)
		c.upgraded()
		c.send("x")
		c.conn.Close()
		<-closed
		eventually(t, "nothing is relayed", func() bool { return g.server.Stats().Upgraded.Load() == 0 })
	})
}

func TestUpgradeRefused(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/no", rawBackend(t, answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")))
		g.route("/unasked", rawBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")))
		g.apply()
		c := g.dial()
		c.send("GET /no HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		if res, body := c.response("GET"); res.StatusCode != 403 || body != "no" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
		c.send("GET /unasked HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.response("GET"); res.StatusCode != 502 {
			t.Errorf("a 101 that nobody asked for: %d", res.StatusCode)
		}
	})
}
