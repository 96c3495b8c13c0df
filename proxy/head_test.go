package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
)

func TestRefusesHead(t *testing.T) {
	limits := &h1.Limits{Line: 100, Head: 400, Fields: 10}
	run(t, allModes, Settings{Limits: limits}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, echo))
		g.apply()
		for _, test := range []struct {
			name, head string
			status     int
		}{
			{"long target", "GET /" + strings.Repeat("a", 100) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
			{"long head", "GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("a", 400) + "\r\n\r\n", 431},
			{"many fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 10) + "\r\n", 431},
			{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
			{"bad host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
			{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400},
			{"length and chunked", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
			{"unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
			{"folded field", "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400},
			{"bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400},
			{"version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
			{"malformed escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
			{"connect", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405},
			{"trace", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405},
		} {
			c := g.dial()
			c.send(test.head)
			res, _ := c.response("GET")
			if res.StatusCode != test.status {
				t.Errorf("%s: status %d, want %d", test.name, res.StatusCode, test.status)
			}
			if test.status == 405 {
				continue
			}
			if !res.Close {
				t.Errorf("%s: connection is not closed", test.name)
			}
			c.expectEnd()
		}
	})
}

func TestPathReachesUpstreamNormalised(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, echo))
		g.apply()
		c := g.dial()
		for target, want := range map[string]string{
			"/a/../b?x=../y":           "/b?x=../y",
			"/a/%2e%2e/b":              "/b",
			"/%61?%61":                 "/a?%61",
			"/a%2fb":                   "/a%2Fb",
			"http://app.test/abs?q":    "/abs?q",
			"http://app.test":          "/",
			"/a//b":                    "/a//b",
			"/empty?":                  "/empty?",
			"http://app.test/abs/../?": "/?",
		} {
			c.send("GET " + target + " HTTP/1.1\r\nHost: app.test\r\n\r\n")
			res, _ := c.response("GET")
			if got := res.Header.Get("X-Seen-Path"); res.StatusCode != 200 || got != want {
				t.Errorf("%s: %d, upstream sees %q, want %q", target, res.StatusCode, got, want)
			}
		}
		c.send("OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n")
		if res, _ := c.response("OPTIONS"); res.StatusCode != 200 {
			t.Errorf("OPTIONS *: %d", res.StatusCode)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, echo))
		g.apply()
		for _, test := range []struct {
			name, head string
			keep       bool
			says       string
		}{
			{"1.1", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, ""},
			{"1.1 close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false, "close"},
			{"1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", false, "close"},
			{"1.0 keep-alive", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true, "keep-alive"},
			{"1.0 without host", "GET / HTTP/1.0\r\n\r\n", false, "close"},
		} {
			c := g.dial()
			c.send(test.head)
			res, _ := c.response("GET")
			if got := res.Header.Get("Connection"); res.StatusCode != 200 || !res.Close && got != test.says {
				t.Errorf("%s: %d, Connection: %q", test.name, res.StatusCode, got)
			}
			if !test.keep {
				c.expectEnd()
				continue
			}
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if res, _ := c.response("GET"); res.StatusCode != 200 {
				t.Errorf("%s: second response is %d", test.name, res.StatusCode)
			}
		}
	})
}

func TestPipelining(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, echo))
		g.apply()
		c := g.dial()
		c.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" +
			"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
			"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n" +
			"GET /nothing/../4 HTTP/1.1\r\nHost: a\r\n\r\n" +
			"GET /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		for i, want := range []string{"", "abc", "de", "", ""} {
			res, body := c.response("GET")
			if path := res.Header.Get("X-Seen-Path"); path != "/"+string(rune('1'+i)) || body != want {
				t.Errorf("response %d is for %s with %q", i+1, path, body)
			}
		}
		c.expectEnd()
	})
}

// A request that is refused without an upstream leaves its body behind.
func TestUnwantedBody(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/status").Action.Status = http.StatusForbidden
		g.apply()
		for _, test := range []struct {
			name, request string
			keep          bool
		}{
			{"none", "GET /status HTTP/1.1\r\nHost: a\r\n\r\n", true},
			{"short", "POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", true},
			{"chunked", "POST /status HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", true},
			{"over several reads", "POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("a", 100_000), true},
			{"long", "POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", false},
			{"expected", "POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", false},
		} {
			c := g.dial()
			c.send(test.request)
			res, _ := c.response("POST")
			if res.StatusCode != 403 || res.Close == test.keep {
				t.Errorf("%s: %d, close %v", test.name, res.StatusCode, res.Close)
			}
			if !test.keep {
				c.conn.(interface{ CloseWrite() error }).CloseWrite()
				c.expectEnd()
				continue
			}
			c.send("GET /status HTTP/1.1\r\nHost: a\r\n\r\n")
			if res, _ := c.response("GET"); res.StatusCode != 403 {
				t.Errorf("%s: second response is %d", test.name, res.StatusCode)
			}
		}
	})
}

func TestHeadTimeout(t *testing.T) {
	runAtOnce(t, allModes, Settings{ReadHeaderTimeout: 300 * time.Millisecond, IdleTimeout: 300 * time.Millisecond}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, echo))
		g.apply()
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.response("GET"); res.StatusCode != 200 {
			t.Fatalf("status %d", res.StatusCode)
		}
		c.expectEnd() // idle

		c = g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n")
		if res, _ := c.response("GET"); res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("status %d", res.StatusCode)
		}
		c.expectEnd()
	})
}
