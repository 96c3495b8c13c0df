package proxy

import (
	"bufio"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/router"
)

// seeing answers 200 and hands each request over as it came.
func seeing(t testing.TB) (*router.Backend, <-chan *http.Request) {
	seen := make(chan *http.Request, 10)
	return rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			seen <- req
			if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")); err != nil {
				return
			}
		}
	}), seen
}

func TestForwardedFields(t *testing.T) {
	for _, test := range []struct {
		name    string
		trusted bool
		sent    string
		want    map[string][]string // nil means absent
	}{
		{"nothing sent", false, "", map[string][]string{
			"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"app.test:81"}, "X-Real-Ip": {"127.0.0.1"}, "Forwarded": nil, "Via": nil,
		}},
		{"untrusted", false, "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: gopher\r\nx-forwarded-host: evil\r\nX-Forwarded-Port: 1\r\n" +
			"X_Forwarded_For: 192.0.2.2\r\nX-Forwarded-User: root\r\nX-Real-IP: 192.0.2.3\r\nForwarded: for=192.0.2.4\r\n", map[string][]string{
			"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"app.test:81"}, "X_forwarded_for": nil, "X-Forwarded-User": nil, "X-Real-Ip": {"127.0.0.1"}, "Forwarded": nil,
		}},
		{"trusted", true, "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-For: 192.0.2.2, 192.0.2.3\r\nX-Forwarded-Host: before\r\n" +
			"X-Forwarded-Port: 1\r\nX-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.4\r\n", map[string][]string{
			"X-Forwarded-For": {"192.0.2.1, 192.0.2.2, 192.0.2.3, 127.0.0.1"}, "X-Forwarded-Proto": {"gopher"}, "X-Forwarded-Host": {"before"},
			"X-Forwarded-Port": {"1"}, "X-Real-Ip": {"192.0.2.1"}, "Forwarded": {"for=192.0.2.4"},
		}},
		{"hop by hop", false, "Connection: keep-alive, X-Hop ,close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: a\r\nTE: gzip\r\nUpgrade: a\r\nX-Stays: 1\r\nX-Stays: 2\r\n", map[string][]string{
			"Connection": nil, "X-Hop": nil, "Keep-Alive": nil, "Proxy-Connection": nil, "Te": nil, "Upgrade": nil, "X-Stays": {"1", "2"},
		}},
		{"nominating ours", false, "Connection: X-Forwarded-For, Host, X-Request-Id\r\n", map[string][]string{
			"X-Forwarded-For": {"127.0.0.1"}, "Connection": nil,
		}},
		{"te trailers", false, "TE: trailers\r\nConnection: TE\r\n", map[string][]string{"Te": {"trailers"}, "Connection": {"TE"}}},
		{"request id", false, "X-Request-ID: abc\r\n", map[string][]string{"X-Request-Id": {"abc"}}},
		{"h2c", false, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", map[string][]string{
			"Upgrade": nil, "Connection": nil, "Http2-Settings": nil,
		}},
	} {
		settings := Settings{}
		if test.trusted {
			settings.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		}
		t.Run(test.name, func(t *testing.T) {
			run(t, allModes, settings, func(t *testing.T, g *gateway) {
				backend, seen := seeing(t)
				g.route("/", backend)
				g.apply()
				c := g.dial()
				c.send("GET / HTTP/1.1\r\nHost: app.test:81\r\n" + test.sent + "\r\n")
				if res, _ := c.response("GET"); res.StatusCode != 200 {
					t.Fatalf("status %d", res.StatusCode)
				}
				req := <-seen
				if req.Host != "app.test:81" {
					t.Errorf("Host: %q", req.Host)
				}
				for name, want := range test.want {
					if got := req.Header[name]; !slices.Equal(got, want) {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				if id := req.Header.Get("X-Request-Id"); test.name != "request id" && (len(id) != 32 || g.observed(1).RequestID != id) {
					t.Errorf("X-Request-Id: %q", id)
				}
				if test.trusted {
					return
				}
				proto := "http"
				if g.mode.tls {
					proto = "https"
				}
				_, port, _ := net.SplitHostPort(g.address())
				if got := req.Header.Get("X-Forwarded-Proto") + " " + req.Header.Get("X-Forwarded-Port"); got != proto+" "+port {
					t.Errorf("X-Forwarded-Proto, -Port: %q", got)
				}
			})
		})
	}
}

// The client is the first address, from the end of the chain, that is not a trusted
// proxy's; what stands before it may be forged.
func TestClientBehindTrustedProxies(t *testing.T) {
	settings := Settings{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}}
	for sent, want := range map[string]string{
		"":                               "127.0.0.1",
		"X-Forwarded-For: 192.0.2.1\r\n": "192.0.2.1",
		"X-Forwarded-For: 198.51.100.9, 192.0.2.1, 127.0.0.3\r\n":      "192.0.2.1",
		"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 127.0.0.2\r\n": "192.0.2.1",
		"X-Forwarded-For: [2001:db9::1]:4711\r\n":                      "2001:db9::1",
		"X-Forwarded-For: ::ffff:192.0.2.1, 2001:db8::1\r\n":           "192.0.2.1",
		"X-Forwarded-For: 192.0.2.1, unknown, 127.0.0.4\r\n":           "127.0.0.4",
		"X-Forwarded-For: 127.0.0.5, 127.0.0.6\r\n":                    "127.0.0.5",
		"X-Forwarded-For: \r\n":                                        "127.0.0.1",
	} {
		t.Run(sent, func(t *testing.T) {
			run(t, allModes, settings, func(t *testing.T, g *gateway) {
				backend, seen := seeing(t)
				g.route("/", backend)
				g.apply()
				c := g.dial()
				c.send("GET / HTTP/1.1\r\nHost: app.test\r\n" + sent + "\r\n")
				if res, _ := c.response("GET"); res.StatusCode != 200 {
					t.Fatalf("status %d", res.StatusCode)
				}
				if got := (<-seen).Header.Get("X-Real-Ip"); got != want {
					t.Errorf("X-Real-Ip: %q, want %q", got, want)
				}
				if got := g.observed(1).Client.String(); got != want {
					t.Errorf("observed %s, want %s", got, want)
				}
			})
		})
	}
}

func TestFilters(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		backend, seen := seeing(t)
		rule := g.route("/old", backend)
		rule.Action.RequestHeaders = &router.HeaderFilter{
			Set: []router.Field{
				{Name: "X-Set", Value: "new"}, {Name: "X-Forwarded-Proto", Value: "https"},
				// What a filter cannot do: frame, steer or split the message.
				{Name: "Content-Length", Value: "7"}, {Name: "Transfer-Encoding", Value: "chunked"}, {Name: "Connection", Value: "close"},
				{Name: "X-Split", Value: "a\r\nX-Injected: 1"},
			},
			Add:    []router.Field{{Name: "X-Add", Value: "second"}},
			Remove: []string{"x-remove"},
		}
		rule.Action.Backends[0].RequestHeaders = &router.HeaderFilter{Set: []router.Field{{Name: "X-Backend", Value: "1"}}}
		rule.Action.ResponseHeaders = &router.HeaderFilter{Set: []router.Field{{Name: "X-Response", Value: "1"}, {Name: "Content-Length", Value: "7"}}}
		rule.Action.Rewrite = &router.Rewrite{Hostname: "inner.test", Path: router.PathModifier{Kind: router.ReplacePrefix, Value: "/new"}}
		g.apply()
		c := g.dial()
		c.send("GET /old/page?q HTTP/1.1\r\nHost: app.test\r\nX-Set: old\r\nX-Add: first\r\nX-Remove: 1\r\n\r\n")
		res, _ := c.response("GET")
		if res.StatusCode != 200 || res.Header.Get("X-Response") != "1" || res.ContentLength != 0 {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
		req := <-seen
		if req.Host != "inner.test" || req.RequestURI != "/new/page?q" || req.ContentLength != 0 || len(req.TransferEncoding) != 0 {
			t.Errorf("%s %s, %d", req.Host, req.RequestURI, req.ContentLength)
		}
		for name, want := range map[string]string{
			"X-Set": "new", "X-Add": "first,second", "X-Remove": "", "X-Backend": "1", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": "app.test", "Connection": "", "X-Split": "", "X-Injected": "",
		} {
			if got := strings.Join(req.Header[name], " | "); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
}

func TestHostFilter(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		backend, seen := seeing(t)
		g.route("/set", backend).Action.RequestHeaders = &router.HeaderFilter{Set: []router.Field{{Name: "host", Value: "set.test"}}}
		g.route("/add", backend).Action.RequestHeaders = &router.HeaderFilter{Add: []router.Field{{Name: "Host", Value: "add.test"}}}
		g.route("/remove", backend).Action.RequestHeaders = &router.HeaderFilter{Remove: []string{"Host"}}
		g.apply()
		for path, want := range map[string]string{"/set": "set.test", "/add": "app.test", "/remove": "app.test"} {
			g.get(path)
			if req := <-seen; req.Host != want {
				t.Errorf("%s: Host %q, want %q", path, req.Host, want)
			}
		}
	})
}

// A filter that removes Host, which cannot be done, removes nothing else.
func TestRemoveHost(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		backend, seen := seeing(t)
		g.route("/", backend).Action.RequestHeaders = &router.HeaderFilter{Remove: []string{"Host"}}
		g.apply()
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: x\r\nX-Other: y\r\n\r\n")
		c.response("GET")
		if req := <-seen; req.Host != "app.test" || req.Header.Get("Authorization") != "x" || req.Header.Get("X-Other") != "y" {
			t.Errorf("%q %v", req.Host, req.Header)
		}
	})
}

// A Rule matches what is known about the client, not what the client says.
func TestMatchesNoForgedFields(t *testing.T) {
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-User", "X-Real-Ip", "Forwarded"} {
		for _, trusted := range []bool{false, true} {
			settings, want := Settings{}, "public"
			if trusted {
				settings.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				want = "internal"
			}
			run(t, []mode{plainMode}, settings, func(t *testing.T, g *gateway) {
				g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npublic")))
				internal := g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ninternal")))
				internal.Match.Headers = []router.ValueMatch{{Name: name, Value: "10.0.0.1"}}
				other := g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")))
				other.Match.Headers = []router.ValueMatch{{Name: "X-Other", Value: "1"}}
				g.apply()
				c := g.dial()
				c.send("GET / HTTP/1.1\r\nHost: a\r\n" + name + ": 10.0.0.1\r\n\r\n")
				if _, body := c.response("GET"); body != want {
					t.Errorf("%s, trusted %v: %q", name, trusted, body)
				}
				c.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: b\r\nX-Other: 1\r\n\r\n")
				if _, body := c.response("GET"); body != "other" {
					t.Errorf("an ordinary field beside it: %q", body)
				}
			})
		}
	}
}
