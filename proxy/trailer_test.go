package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/router"
)

// sentTrailers has one trailer of each kind that a head would not pass as it came,
// and X-Sum.
const sentTrailers = "0\r\nX-Forwarded-For: 192.0.2.1\r\nx_forwarded_for: 192.0.2.1\r\nX-Real-Ip: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n" +
	"X-Request-Id: mine\r\nContent_Length: 5\r\nX-Hop: 1\r\nx-set: 1\r\nx-removed: 1\r\nx-inner: 1\r\nX-Sum: 7\r\n\r\n"

func onlySum(t *testing.T, what string, trailer http.Header) {
	t.Helper()
	if len(trailer) != 1 || trailer.Get("X-Sum") != "7" {
		t.Errorf("%s: trailers %v", what, trailer)
	}
}

// Trailers say nothing that the head could not: they go past no filter, no
// Connection and no distrust, in either direction.
func TestTrailersFiltered(t *testing.T) {
	outer := &router.HeaderFilter{Set: []router.Field{{Name: "X-Set", Value: "ours"}}, Remove: []string{"X-Removed"}}
	inner := &router.HeaderFilter{Remove: []string{"X-Inner"}}
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		seen := make(chan http.Header, 1)
		rule := g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				seen <- req.Trailer
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"+sentTrailers)
			}
		}))
		rule.Action.RequestHeaders, rule.Action.ResponseHeaders = outer, outer
		rule.Action.Backends[0].RequestHeaders, rule.Action.Backends[0].ResponseHeaders = inner, inner
		g.apply()
		const head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
		c := g.dial()
		for _, pieces := range [][]string{{head + sentTrailers}, {head, sentTrailers}} {
			for _, piece := range pieces {
				c.send(piece)
			}
			res, body := c.response("POST")
			if res.StatusCode != 200 || body != "a" {
				t.Errorf("%d %q", res.StatusCode, body)
			}
			onlySum(t, "request", <-seen)
			onlySum(t, "response", res.Trailer)
		}
	})
}

// What Connection has nominated still holds when the buffer that the head came in
// has been used for the body.
func TestTrailersAfterLongBody(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		chunk := "4000\r\n" + strings.Repeat("x-other, ", 0x4000/9) + strings.Repeat(" ", 0x4000%9) + "\r\n"
		g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n"+
			strings.Repeat(chunk, 20)+"0\r\nX-Hop: 1\r\nX-Sum: 7\r\n\r\n")))
		g.apply()
		c := g.dial()
		for range 2 {
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			res, body := c.response("GET")
			if len(body) != 20*0x4000 {
				t.Errorf("%d bytes", len(body))
			}
			onlySum(t, "response", res.Trailer)
		}
	})
}

// A body whose trailers nobody wants is read over, and the connection goes on.
func TestTrailersOfUnwantedBody(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		c := g.dial()
		for range 2 {
			c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n" + sentTrailers)
			if res, _ := c.response("POST"); res.StatusCode != 404 || res.Close {
				t.Errorf("%d, close %v", res.StatusCode, res.Close)
			}
		}
	})
}
