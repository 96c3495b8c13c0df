package proxy

import (
	"net/http"
	"testing"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// Clients use a connection for all names that its certificate has (RFC 9113 §9.1.1). What
// belongs to another Listener has to come by another connection. The client of these tests
// always names app.test in its handshake.
func TestMisdirectedRequests(t *testing.T) {
	run(t, []mode{tlsMode, h2Mode, h3Mode}, Settings{Explain: true}, func(t *testing.T, g *gateway) {
		rule := g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
		var hosts []router.HostRules
		for _, listener := range []string{"app.test", "*.wild.test", "one.wild.test"} {
			hosts = append(hosts, router.HostRules{Socket: socketName, ListenerHost: listener, Rules: []*router.Rule{rule}})
		}
		expect := func(host string, want int) {
			t.Helper()
			req, _ := http.NewRequest("GET", g.url("/"), nil)
			req.Host = host
			if res, _ := g.do(req); res.StatusCode != want {
				t.Errorf("%s: %d, want %d", host, res.StatusCode, want)
			}
		}
		l := []Listener{{Name: socketName, GetCertificate: certificateFor("app.test")}}
		g.server.Apply(router.Compile(hosts, nil), l)
		expect("app.test", 200)
		expect("APP.test:443", 200)
		expect("one.wild.test", 421)
		expect("two.wild.test", 421)
		expect("unknown.test", 404)
		if cause := g.observed(3).Cause; cause != exchange.CauseMisdirected {
			t.Errorf("cause %q", cause)
		}
		// Another table decides anew about the same connections.
		hosts = append(hosts, router.HostRules{Socket: socketName, ListenerHost: "unknown.test", Rules: []*router.Rule{rule}})
		g.server.Apply(router.Compile(hosts, nil), l)
		expect("unknown.test", 421)
		g.server.Apply(router.Compile([]router.HostRules{{Socket: socketName, Rules: []*router.Rule{rule}}}, nil), l)
		expect("unknown.test", 200)
	})
}

// In the clear a client names no server but in its requests.
func TestNothingMisdirectedInTheClear(t *testing.T) {
	run(t, []mode{plainMode, h2cMode}, Settings{}, func(t *testing.T, g *gateway) {
		rule := g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
		g.server.Apply(router.Compile([]router.HostRules{
			{Socket: socketName, ListenerHost: "app.test", Rules: []*router.Rule{rule}},
			{Socket: socketName, ListenerHost: "", Rules: []*router.Rule{rule}},
		}, nil), []Listener{{Name: socketName}})
		for _, host := range []string{"app.test", "other.test"} {
			req, _ := http.NewRequest("GET", g.url("/"), nil)
			req.Host = host
			if res, _ := g.do(req); res.StatusCode != 200 {
				t.Errorf("%s: %d", host, res.StatusCode)
			}
		}
	})
}
