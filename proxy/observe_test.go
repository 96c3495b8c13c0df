package proxy

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestObserve(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		backend := httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			time.Sleep(20 * time.Millisecond) // a latency to be seen
			w.WriteHeader(201)
			_, _ = io.WriteString(w, "created")
		})
		g.route("/things", backend)
		g.apply()
		c := g.dial()
		c.send("POST /things/../things/%61?q HTTP/1.1\r\nHost: APP.test:80\r\nUser-Agent: curl/8\r\nX-Request-Id: id-1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
		c.response("POST")
		x := g.observed(1)
		if x.Duration < x.UpstreamLatency || x.UpstreamLatency < 20*time.Millisecond || time.Since(x.Start) > time.Minute {
			t.Errorf("start %v, latency %v, duration %v", x.Start, x.UpstreamLatency, x.Duration)
		}
		x.Start, x.Duration, x.UpstreamLatency = time.Time{}, 0, 0
		want := Report{
			Socket: socketName, Listener: "Gateway default/web/http", Route: "HTTPRoute default/test", Backend: "default/app:80",
			Client: x.Client, Protocol: "HTTP/1.1", Scheme: "http", Method: "POST", Host: "app.test", Path: "/things/a",
			UserAgent: "curl/8", RequestID: "id-1", Status: 201, Received: 3, Sent: 7, Upstream: backend.Endpoints()[0].Addr, Attempts: 1,
		}
		if g.mode.tls {
			want.Scheme = "https"
		}
		if x != want || x.Client.String() != "127.0.0.1" {
			t.Errorf("\n got %+v\nwant %+v", x, want)
		}
	})
}

// No more idle connections are kept than MaxIdlePerEndpoint says.
func TestMaxIdlePerEndpoint(t *testing.T) {
	run(t, clientModes, Settings{MaxIdlePerEndpoint: 2}, func(t *testing.T, g *gateway) {
		var together sync.WaitGroup
		together.Add(5)
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			together.Done()
			together.Wait()
			_, _ = io.WriteString(w, "ok")
		}))
		g.apply()
		var clients sync.WaitGroup
		for range 5 {
			clients.Go(func() {
				req, _ := http.NewRequest("GET", g.url("/"), nil)
				res, err := g.client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			})
		}
		clients.Wait()
		stats := g.server.Stats()
		eventually(t, "two connections are left", func() bool { return stats.Upstream.Load() == 2 && stats.UpstreamIdle.Load() == 2 })
	})
}

// Endpoints change under load: the exchanges in flight end where they began, the
// next ones go to the new endpoints, and none fails.
func TestEndpointsChangeUnderLoad(t *testing.T) {
	runAtOnce(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		first, second := httpBackend(t, echo), httpBackend(t, echo)
		a, b := first.Endpoints()[0].Addr, second.Endpoints()[0].Addr
		g.route("/", first)
		g.apply()
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					req, _ := http.NewRequest("POST", g.url("/"), strings.NewReader("abc"))
					res, err := g.client.Do(req)
					if err != nil {
						t.Error(err)
						return
					}
					body, _ := io.ReadAll(res.Body)
					res.Body.Close()
					if res.StatusCode != 200 || string(body) != "abc" {
						t.Errorf("%d %q", res.StatusCode, body)
					}
				}
			})
		}
		sets := [][]netip.AddrPort{{a}, {b}, {a, b}}
		for i := range 100 {
			first.SetEndpoints(sets[i%len(sets)])
			g.observed(g.count() + 1)
		}
		close(stop)
		clients.Wait()
	})
}
