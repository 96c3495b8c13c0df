package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// silent reads and never answers.
func silent(t testing.TB) *router.Backend {
	return rawBackend(t, func(_ net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) })
}

func TestTimeouts(t *testing.T) {
	for _, test := range []struct {
		name     string
		settings Settings
		action   router.Action
	}{
		{"request", Settings{}, router.Action{RequestTimeout: 200 * time.Millisecond}},
		{"backend", Settings{}, router.Action{BackendTimeout: 200 * time.Millisecond}},
		{"response header", Settings{ResponseHeaderTimeout: 200 * time.Millisecond}, router.Action{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			runAtOnce(t, clientModes, test.settings, func(t *testing.T, g *gateway) {
				rule := g.route("/", silent(t))
				rule.Action.RequestTimeout, rule.Action.BackendTimeout = test.action.RequestTimeout, test.action.BackendTimeout
				g.apply()
				for i, body := range []string{"", "abc"} {
					start := time.Now()
					req, _ := http.NewRequest("POST", g.url("/"), strings.NewReader(body))
					res, text := g.do(req)
					if res.StatusCode != 504 || text != "504 Gateway Timeout\n" {
						t.Errorf("%d %q", res.StatusCode, text)
					}
					if took := time.Since(start); took < 200*time.Millisecond || took > 5*time.Second {
						t.Errorf("took %v", took)
					}
					if x := g.observed(i + 1); x.Cause != exchange.CauseTimeout {
						t.Errorf("cause %q", x.Cause)
					}
				}
			})
		})
	}
}

// A request timeout also ends a response that is under way, and a request body.
func TestRequestTimeoutInBodies(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		rule := g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			_, _ = io.Copy(io.Discard, in)
		}))
		rule.Action.RequestTimeout = 200 * time.Millisecond
		upload := g.route("/upload", silent(t))
		upload.Action.RequestTimeout = 200 * time.Millisecond
		g.apply()

		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		res := c.responseHead("GET")
		if body, err := io.ReadAll(res.Body); err == nil || string(body) != "hello" {
			t.Errorf("%q, %v", body, err)
		}
		c = g.dial()
		c.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
		if res, _ := c.response("POST"); res.StatusCode != 504 || !res.Close {
			t.Errorf("%d, close %v", res.StatusCode, res.Close)
		}
	})
}

func TestConnectTimeout(t *testing.T) {
	settings := Settings{
		ConnectTimeout: 50 * time.Millisecond,
		Dial: func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
	run(t, clientModes, settings, func(t *testing.T, g *gateway) {
		g.route("/", silent(t))
		g.apply()
		if res, _ := g.get("/"); res.StatusCode != 504 || g.observed(1).Cause != exchange.CauseConnectTimeout {
			t.Errorf("%d, cause %q", res.StatusCode, g.observed(1).Cause)
		}
	})
}
