package proxy

import (
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// TestRetryBudget: a Backend that only fails gets no more retries than its budget has, and
// then the client 503.
func TestRetryBudget(t *testing.T) {
	run(t, clientModes, Settings{Explain: true}, func(t *testing.T, g *gateway) {
		var reached atomic.Int32
		failing := httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			reached.Add(1)
			w.WriteHeader(500)
		})
		budget := router.RetryBudget{Interval: time.Hour, Percent: 20, MinCount: 2, MinInterval: time.Hour}
		app := router.NewBackendWith("default/app:80", router.BackendSettings{RetryBudget: budget})
		app.SetEndpoints([]netip.AddrPort{failing.Endpoints()[0].Addr})
		dead := router.NewBackendWith("default/dead:80", router.BackendSettings{RetryBudget: router.RetryBudget{Interval: time.Hour, MinInterval: time.Hour}})
		dead.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(deadAddress(t).String())})
		for path, backend := range map[string]*router.Backend{"/": app, "/dead": dead} {
			g.route(path, backend).Action.Retry = &router.Retry{Codes: []int{500}, Attempts: 1, Backoff: quick}
		}
		g.apply()
		const requests = 20
		statuses := map[int]int{}
		for range requests {
			res, _ := g.get("/")
			statuses[res.StatusCode]++
		}
		// 5 of 25 are retries: the answers of those who were retried are 500, of the others 503.
		if retries := reached.Load() - requests; retries != 5 || statuses[500] != 5 || statuses[503] != requests-5 {
			t.Errorf("%d retries, answers %v", retries, statuses)
		}
		if res, _ := g.get("/dead"); res.StatusCode != 503 || res.Header.Get("X-Lintel-Cause") != "retry budget" {
			t.Errorf("without a connection: %d, for %q", res.StatusCode, res.Header.Get("X-Lintel-Cause"))
		}
	})
}

// TestSessionOfBackend: a Backend has a session where the Rule has none.
func TestSessionOfBackend(t *testing.T) {
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		servers := namedServers(t, 2)
		app := router.NewBackendWith("default/app:80", router.BackendSettings{Session: &router.Session{Name: "backend"}})
		var addrs []netip.AddrPort
		for _, s := range servers {
			addrs = append(addrs, netip.MustParseAddrPort(s.Listener.Addr().String()))
		}
		app.SetEndpoints(addrs)
		g.route("/", app)
		g.route("/own", app).Action.Session = &router.Session{Name: "rule"}
		g.apply()
		for path, want := range map[string]string{"/": "backend", "/own": "rule"} {
			if res, _ := g.get(path); len(res.Cookies()) != 1 || res.Cookies()[0].Name != want {
				t.Errorf("%s: %v", path, res.Header["Set-Cookie"])
			}
		}
	})
}
