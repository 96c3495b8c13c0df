package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// holding is a Backend whose requests wait until they are released, and that counts its
// connections.
type holding struct {
	*router.Backend
	arrived chan struct{}
	release chan struct{}
	open    atomic.Int64
	most    atomic.Int64
}

func newHolding(t *testing.T) *holding {
	return (&holding{arrived: make(chan struct{}, 16), release: make(chan struct{})}).another(t)
}

// another is one more Backend, whose requests arrive and are released with those of h.
func (h *holding) another(t *testing.T) *holding {
	h = &holding{arrived: h.arrived, release: h.release}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hold" {
				h.arrived <- struct{}{}
				<-h.release
			}
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				n := h.open.Add(1)
				for most := h.most.Load(); n > most && !h.most.CompareAndSwap(most, n); most = h.most.Load() {
				}
			case http.StateClosed, http.StateHijacked:
				h.open.Add(-1)
			}
		},
		Protocols: new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	h.Backend = backendAt(listener.Addr())
	return h
}

// hold sends a request that the Backend holds, and returns where its status comes.
func (h *holding) hold(g *gateway) <-chan int {
	status := make(chan int, 1)
	go func() {
		res, err := g.client.Get(g.url("/hold"))
		if err != nil {
			status <- 0
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		status <- res.StatusCode
	}()
	<-h.arrived
	return status
}

// refuses checks that a request gets what one too many gets.
func (g *gateway) refuses(path string) {
	g.t.Helper()
	n := g.count()
	res, _ := g.get(path)
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		g.t.Errorf("one too many got %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	if x := g.observed(n + 1); x.Cause != exchange.CauseCircuit {
		g.t.Errorf("cause %q", x.Cause)
	}
}

// As many connections as an endpoint may have are opened to it, others are tried, and
// then the answer is 503.
func TestCircuitBoundsConnections(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		one := newHolding(t)
		other := one.another(t)
		limits := router.BackendSettings{Circuit: router.Circuit{MaxConnections: 1}}
		g.route("/", with(limits, one.Backend, other.Backend))
		g.apply()
		held := []<-chan int{one.hold(g), one.hold(g)}
		g.refuses("/")
		close(one.release)
		for _, status := range held {
			if got := <-status; got != http.StatusOK {
				t.Errorf("held: %d", got)
			}
		}
		for range 10 {
			if res, _ := g.get("/"); res.StatusCode != http.StatusOK {
				t.Errorf("afterwards: %d", res.StatusCode)
			}
		}
		if one.most.Load() != 1 || other.most.Load() != 1 {
			t.Errorf("up to %d and %d connections", one.most.Load(), other.most.Load())
		}
	})
}

// Over HTTP/2 exchanges share the one connection that there may be.
func TestCircuitBoundsH2Connections(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		backend := newHolding(t)
		limits := router.BackendSettings{Protocol: router.H2C, Circuit: router.Circuit{MaxConnections: 1}}
		g.route("/", with(limits, backend.Backend))
		g.apply()
		held := []<-chan int{backend.hold(g), backend.hold(g)}
		close(backend.release)
		for _, status := range held {
			if got := <-status; got != http.StatusOK {
				t.Errorf("held: %d", got)
			}
		}
		if backend.most.Load() != 1 {
			t.Errorf("up to %d connections", backend.most.Load())
		}
	})
}

// An idle connection of one lane does not keep the other from an endpoint, however few
// it takes: upgrades go through the full lane.
func TestIdleConnectionsLeaveRoom(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		backend := newHolding(t)
		g.route("/", with(router.BackendSettings{Circuit: router.Circuit{MaxConnections: 1}}, backend.Backend))
		g.apply()
		for range 5 {
			for _, fields := range []string{"", "Expect: 100-continue\r\n", "Connection: upgrade\r\nUpgrade: x\r\n"} {
				c := g.dial()
				c.send("POST / HTTP/1.1\r\nHost: app.test\r\n" + fields + "Content-Length: 1\r\n\r\nx")
				for {
					res := c.responseHead("POST")
					if res.StatusCode == http.StatusContinue {
						continue
					}
					if res.StatusCode != http.StatusOK {
						t.Errorf("with %q: %d", fields, res.StatusCode)
					}
					break
				}
				c.conn.Close()
				// The connection may go back a moment after the response has come, and the
				// server hears of its end later still.
				eventually(t, "the upstream connection is idle or gone", func() bool {
					stats := g.server.Stats()
					return stats.UpstreamIdle.Load() == stats.Upstream.Load() && backend.open.Load() <= 1
				})
			}
		}
		if n := backend.most.Load(); n > 2 { // the server hears of an end a little late
			t.Errorf("up to %d connections", n)
		}
	})
}

// As many exchanges as may wait for a connection do so.
func TestCircuitBoundsPending(t *testing.T) {
	settings := Settings{ConnectTimeout: 500 * time.Millisecond}
	run(t, []mode{plainMode}, settings, func(t *testing.T, g *gateway) {
		for _, protocol := range []router.Protocol{router.HTTP1, router.H2C} {
			g.rules = nil
			limits := router.BackendSettings{Protocol: protocol, Circuit: router.Circuit{MaxPending: 1}}
			backend := router.NewBackendWith("default/app:80", limits)
			backend.SetEndpoints([]netip.AddrPort{unanswered(t)})
			g.route("/", backend)
			g.apply()
			first := make(chan int)
			n := g.count()
			go func() {
				res, err := g.client.Get(g.url("/"))
				if err != nil {
					first <- 0
					return
				}
				res.Body.Close()
				first <- res.StatusCode
			}()
			eventually(t, "an exchange waits", func() bool {
				if !backend.AcquirePending() {
					return true
				}
				backend.ReleasePending()
				return false
			})
			g.refuses("/")
			if status := <-first; status != http.StatusGatewayTimeout {
				t.Errorf("the first got %d", status)
			}
			g.observed(n + 2)
			if !backend.AcquirePending() {
				t.Error("the wait did not end")
			}
		}
	})
}

// unanswered is an address that takes no connection, and does not refuse one.
func unanswered(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*unix.SockaddrInet4).Port))
	for range 8 { // until the queue of those to be accepted is full
		conn, err := net.DialTimeout("tcp", address.String(), 50*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Skip("the system takes connections that nobody accepts")
	return address
}

// A connection that has got old is not used again.
func TestUpstreamMaxAge(t *testing.T) {
	var mu sync.Mutex
	dials := 0
	serve := func(conn net.Conn, in *bufio.Reader) {
		mu.Lock()
		dials++
		mu.Unlock()
		answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(conn, in)
	}
	bubbleWith(t, Settings{UpstreamMaxAge: 100 * time.Second}, serve, func(t *testing.T, g *gateway, dial func() *raw) {
		c := dial()
		for i := range 13 { // at 0, 30, 60, 90, 120 s by one connection, and so on
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if res, _ := c.response("GET"); res.StatusCode != 200 {
				t.Fatalf("status %d", res.StatusCode)
			}
			mu.Lock()
			if want := 1 + i/5; dials != want {
				t.Errorf("%d connections after %d requests, want %d", dials, i+1, want)
			}
			mu.Unlock()
			time.Sleep(30 * time.Second)
		}
		c.conn.Close()
	})
}
