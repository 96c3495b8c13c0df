package proxy

import (
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// with is a Backend with the endpoints of another and settings of its own.
func with(settings router.BackendSettings, backends ...*router.Backend) *router.Backend {
	b := router.NewBackendWith(backends[0].Name, settings)
	var all []*router.Endpoint
	for _, other := range backends {
		all = append(all, other.Endpoints()...)
	}
	b.SetEndpoints(addressesOf(all))
	return b
}

// A Backend that has enough to do is not given more, and the answer says why when
// asked to.
func TestCircuitBoundsRequests(t *testing.T) {
	for _, explain := range []bool{false, true} {
		run(t, clientModes, Settings{Explain: explain}, func(t *testing.T, g *gateway) {
			arrived, release := make(chan struct{}), make(chan struct{})
			backend := httpBackend(t, func(http.ResponseWriter, *http.Request) {
				arrived <- struct{}{}
				<-release
			})
			g.route("/", with(router.BackendSettings{Circuit: router.Circuit{MaxRequests: 1}}, backend))
			g.apply()
			first := make(chan int)
			go func() {
				res, err := g.client.Get(g.url("/"))
				if err != nil {
					first <- 0
					return
				}
				res.Body.Close()
				first <- res.StatusCode
			}()
			<-arrived
			res, _ := g.get("/")
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
				t.Errorf("one too many got %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
			}
			if got := res.Header.Get("X-Lintel-Cause"); (got == "circuit open") != explain {
				t.Errorf("cause %q", got)
			}
			if x := g.observed(1); x.Cause != exchange.CauseCircuit {
				t.Errorf("observed %q", x.Cause)
			}
			close(release)
			if status := <-first; status != http.StatusOK {
				t.Errorf("the first got %d", status)
			}
			g.observed(2)
			go func() { <-arrived }()
			if res, _ := g.get("/"); res.StatusCode != http.StatusOK {
				t.Errorf("after the first: %d", res.StatusCode)
			}
		})
	}
}

// An endpoint that answers 5xx again and again gets nothing for a while.
func TestOutlierGetsNoRequests(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		var failed atomic.Int64
		bad := httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			failed.Add(1)
			w.WriteHeader(http.StatusInternalServerError)
		})
		good := httpBackend(t, func(http.ResponseWriter, *http.Request) {})
		const errors = 3
		g.route("/", with(router.BackendSettings{Outlier: router.Outlier{Errors: errors}}, bad, good))
		g.apply()
		for range 100 {
			g.get("/")
		}
		if n := failed.Load(); n != errors {
			t.Errorf("the endpoint failed %d times, want %d", n, errors)
		}
	})
}

func TestBrokenResponsesMakeAnOutlier(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		bad := rawBackend(t, answering("garbage\r\n\r\n"))
		good := httpBackend(t, func(http.ResponseWriter, *http.Request) {})
		g.route("/", with(router.BackendSettings{Outlier: router.Outlier{GatewayErrors: 2}}, bad, good))
		g.apply()
		failed := 0
		for range 100 {
			if res, _ := g.get("/"); res.StatusCode == http.StatusBadGateway {
				failed++
			}
		}
		if failed != 2 {
			t.Errorf("%d requests failed, want 2", failed)
		}
	})
}

func addressesOf(endpoints []*router.Endpoint) []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, e := range endpoints {
		addrs = append(addrs, e.Addr)
	}
	return addrs
}
