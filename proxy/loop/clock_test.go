//go:build linux

package loop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// clocked is a loop that the test turns by hand, with a clock that stands still
// between, and one client of it.
type clocked struct {
	t      *testing.T
	l      *loop
	client net.Conn
	in     *bufio.Reader
	stats  exchange.Stats
	table  *router.Table
	comes  Incoming // how the next connection does
}

// Methods of a Socket.
func (c *clocked) Name() string          { return "s" }
func (c *clocked) Table() *router.Table  { return c.table }
func (c *clocked) Drained() uint32       { return 0 }
func (c *clocked) HandOver(HandedOver)   { c.t.Error("the connection was handed over") }
func (c *clocked) TakeOver(TakenOver)    { c.t.Error("the connection was handed over") }
func (c *clocked) Shake(net.Conn) Shaken { return Shaken{} }
func (c *clocked) Closed(netip.AddrPort) {}

// newClocked returns a loop with a client, whose requests all go to backend.
func newClocked(t *testing.T, settings exchange.Settings, backend *router.Backend) *clocked {
	t.Helper()
	settings = settings.WithDefaults()
	c := &clocked{t: t}
	rule := &router.Rule{Match: router.Match{Path: router.PathMatch{Value: "/"}}}
	rule.Action.Backends = []router.WeightedBackend{{Backend: backend, Weight: 1}}
	c.table = router.Compile([]router.HostRules{{Socket: "s", Rules: []*router.Rule{rule}}}, nil)
	var err error
	c.l, err = newLoop(Config{Settings: &settings, Stats: &c.stats, Dates: new(exchange.Dates)}, 1, newCommons(&c.stats))
	if err != nil {
		t.Fatal(err)
	}
	c.l.clock = c.l.begin
	c.dial()
	t.Cleanup(func() {
		c.client.Close()
		c.l.end()
		c.l.commons.end()
		if n := c.stats.Upstream.Load(); n != 0 {
			t.Errorf("%d upstream connections left", n)
		}
	})
	return c
}

// dial makes the client a new connection.
func (c *clocked) dial() {
	c.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	defer listener.Close()
	if c.client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		c.t.Fatal(err)
	}
	c.in = bufio.NewReader(c.client)
	accepted, err := listener.Accept()
	if err != nil {
		c.t.Fatal(err)
	}
	defer accepted.Close()
	raw, err := accepted.(*net.TCPConn).SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		duplicate, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			c.t.Fatal(err)
		}
		in := c.comes
		in.FD, in.Socket = duplicate, c
		c.l.accept(&in)
	})
}

// pass lets time go by, and what was due happen.
func (c *clocked) pass(d time.Duration) {
	for range d / time.Second {
		c.l.clock = c.l.clock.Add(time.Second)
		c.l.now += int64(time.Second)
		c.l.wheel.advance(c.l.now)
		c.l.flush()
	}
}

// turn does what there is to do, until something holds.
func (c *clocked) turn(what string, holds func() bool) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); {
		if time.Now().After(end) {
			c.t.Fatalf("never: %s", what)
		}
		c.l.dispatch(c.l.poller.wait(10))
		c.l.goOn()
		c.l.flush()
		c.l.publish()
	}
}

func (c *clocked) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.client, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// flight is that of the one client connection, or nil.
func (c *clocked) flight() *flight {
	for d := range usersOf[*downstream](c.l) {
		return d.flight
	}
	return nil
}

// answered reads a response that is there, and returns its status.
func (c *clocked) answered() int {
	c.t.Helper()
	_ = c.client.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode
}

// serving is a Backend that answers every request with 200, after its body.
func serving(t *testing.T, settings router.BackendSettings) *router.Backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	backend := router.NewBackendWith("default/app:80", settings)
	backend.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(listener.Addr().String())})
	return backend
}

// One byte now and then keeps no connection; a slow link does.
func TestSlowUploads(t *testing.T) {
	for _, test := range []struct {
		name   string
		rate   int64
		pause  time.Duration
		piece  int
		status int
		after  int // pieces
	}{
		{"trickle", 0, 10 * time.Second, 1, 408, 3},
		{"trickle within the timeout", 0, 59 * time.Second, 1, 408, 1},
		{"slow link", 0, time.Second, 100, 200, 100},
		{"bursts", 0, 50 * time.Second, 5000, 200, 2},
		{"no limit", -1, 55 * time.Second, 1000, 200, 10},
		{"a limit of one's own", 200, time.Second, 100, 408, 30},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClocked(t, exchange.Settings{MinBodyRate: test.rate}, serving(t, router.BackendSettings{}))
			const size = 10_000
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
			c.turn("the body is waited for", func() bool { f := c.flight(); return f != nil && f.plain.waiting == c.l.now })
			pieces := 0
			for sent := 0; sent < size; sent += test.piece {
				c.pass(test.pause)
				c.send("%s", strings.Repeat("x", min(test.piece, size-sent)))
				pieces++
				c.turn("the piece is used", func() bool {
					f := c.flight()
					return f == nil || f.stage == over || f.body.progress == c.l.now
				})
				if f := c.flight(); f == nil || f.answered {
					break
				}
			}
			c.turn("the exchange ends", func() bool { f := c.flight(); return f == nil || f.stage == over })
			if status := c.answered(); status != test.status || pieces != test.after {
				t.Errorf("status %d after %d pieces, want %d after %d", status, pieces, test.status, test.after)
			}
		})
	}
}

// A connection that has got old is not used again.
func TestUpstreamMaxAge(t *testing.T) {
	for _, limit := range []int{0, 1} {
		settings := router.BackendSettings{Circuit: router.Circuit{MaxConnections: limit}}
		c := newClocked(t, exchange.Settings{UpstreamMaxAge: 100 * time.Second}, serving(t, settings))
		var last *router.Endpoint
		for i := range 13 { // at 0, 30, 60, 90, 120 s by one connection, and so on
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			c.turn("the request comes", func() bool { return c.flight() != nil })
			last = c.flight().Chosen.Backend.Endpoints()[0]
			c.turn("the exchange ends", func() bool { return c.flight() == nil })
			if status := c.answered(); status != 200 {
				t.Fatalf("status %d", status)
			}
			idle := c.stats.UpstreamIdle.Load()
			if open := c.stats.Upstream.Load(); open != idle || (idle == 0) != (i%5 == 4) {
				t.Errorf("%d of %d connections idle after %d requests", idle, open, i+1)
			}
			c.pass(30 * time.Second)
		}
		if limit > 0 && c.stats.Upstream.Load() == 1 && last.AcquireConnection() {
			t.Error("the idle connection does not count")
		}
	}
}
