package proxy

import (
	"io"
	"testing"

	"golang.org/x/net/http2"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// A client may go as soon as it has all of a response. Nothing has failed then, and what is kept
// for the next exchange is a connection that is open.
func TestClientThatGoesWithItsResponse(t *testing.T) {
	const exchanges, pings = 40, 1000 // a response comes amid those, of which each may end the connection
	runAtOnce(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")))
		g.apply()
		for n := 1; n <= exchanges; n++ {
			r := g.dialH2()
			r.get(1, "/")
			r.must(r.frames.WriteGoAway(0, http2.ErrCodeNo, nil))
			pinged := make(chan struct{})
			go func() {
				defer close(pinged)
				for range pings {
					if _, err := io.WriteString(r.conn, rawFrame(http2.FramePing, 0, 0, "12345678")); err != nil {
						return
					}
				}
			}()
			if s, body := r.status(1), r.body(1); s != "200" || body != "hello" {
				t.Errorf("%s %q", s, body)
			}
			r.conn.Close()
			<-pinged
			if x := g.observed(n); x.Cause != exchange.CauseNone || x.Sent != 5 {
				t.Errorf("cause %q, %d bytes", x.Cause, x.Sent)
			}
			eventually(t, "the client is gone", func() bool { return g.server.Stats().Downstream.Load() == 0 })
			if up := g.server.pool.get(g.rules[0].Action.Backends[0].Backend.Endpoints()[0]); up != nil {
				if !up.quiet() {
					t.Error("a connection is kept that is closed")
				}
				g.server.pool.put(up, up.since)
			}
		}
	})
}

// A client that has got all of a response may leave at once: nothing is wrong with the exchange.
func TestLeavingBehindResponseOverH2(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
		g.apply()
		for n := range 60 {
			r := g.dialH2()
			r.get(1, "/")
			if status, body := r.status(1), r.body(1); status != "200" || body != "ok" {
				t.Fatalf("%s %q", status, body)
			}
			r.conn.Close()
			if x := g.observed(n + 1); x.Status != 200 || x.Cause != exchange.CauseNone {
				t.Errorf("%d, %q", x.Status, x.Cause)
			}
		}
	})
}
