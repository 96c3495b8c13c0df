package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// pipes is a listener and an upstream made of net.Pipes, for tests in a synctest
// bubble: minutes pass there in no time.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once
	serve    func(net.Conn, *bufio.Reader)
	served   sync.WaitGroup
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return new(net.TCPAddr) }

func (p *pipes) dialUpstream(context.Context, netip.AddrPort) (net.Conn, error) {
	near, far := net.Pipe()
	p.served.Go(func() {
		defer far.Close()
		p.serve(far, bufio.NewReader(far))
	})
	return near, nil
}

// bubble runs test with a Server whose clock is fake and whose settings are the
// defaults.
func bubble(t *testing.T, serve func(net.Conn, *bufio.Reader), test func(*testing.T, *gateway, func() *raw)) {
	bubbleWith(t, Settings{}, serve, test)
}

func bubbleWith(t *testing.T, settings Settings, serve func(net.Conn, *bufio.Reader), test func(*testing.T, *gateway, func() *raw)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{accepted: make(chan net.Conn), closed: make(chan struct{}), serve: serve}
		g := &gateway{t: t, ended: make(chan struct{})}
		if settings.Dial == nil {
			settings.Dial = p.dialUpstream
		}
		settings.Observe = g.note
		g.server = New(settings)
		sock := g.server.newSocket(Listener{Name: socketName}, p)
		g.server.sockets[socketName] = sock
		backend := router.NewBackend("default/app:80")
		backend.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80")})
		g.route("/", backend)
		g.server.table.Store(g.table())

		ctx, stop := context.WithCancel(t.Context())
		g.stop = stop
		go func() {
			defer close(g.ended)
			if err := g.server.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		test(t, g, func() *raw {
			near, far := net.Pipe()
			p.accepted <- far
			return &raw{t: t, conn: near, in: bufio.NewReader(near)}
		})
		stop()
		<-g.ended
		p.served.Wait()
	})
}

// between checks how much time passed since start.
func between(t *testing.T, what string, start time.Time, least, most time.Duration) {
	t.Helper()
	if took := time.Since(start); took < least || took > most {
		t.Errorf("%s after %v, want %v to %v", what, took, least, most)
	}
}

func TestDefaultClientTimeouts(t *testing.T) {
	bubble(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), func(t *testing.T, g *gateway, dial func() *raw) {
		start := time.Now()
		c := dial()
		c.expectEnd()
		between(t, "a connection without a request is closed", start, 10*time.Second, 10*time.Second)

		c = dial()
		c.send("GET / HTTP/1.1\r\n")
		start = time.Now()
		if res, _ := c.response("GET"); res.StatusCode != 408 {
			t.Errorf("status %d", res.StatusCode)
		}
		between(t, "a slow head is refused", start, 10*time.Second, 10*time.Second)
		c.conn.Close()

		c = dial()
		for range 5 {
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if res, _ := c.response("GET"); res.StatusCode != 200 {
				t.Fatalf("status %d", res.StatusCode)
			}
			time.Sleep(70 * time.Second)
		}
		start = time.Now().Add(-70 * time.Second)
		c.expectEnd()
		between(t, "an idle connection is closed", start, 75*time.Second, 94*time.Second)
	})
}

func TestDefaultUpstreamTimeouts(t *testing.T) {
	serve := func(conn net.Conn, in *bufio.Reader) {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		switch req.URL.Path {
		case "/silent":
		case "/stalls":
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		case "/events": // a quiet stream that lives
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n")
			for i := range 10 {
				time.Sleep(55 * time.Second)
				_, _ = fmt.Fprint(conn, i)
			}
		}
		_, _ = io.Copy(io.Discard, in)
	}
	bubble(t, serve, func(t *testing.T, g *gateway, dial func() *raw) {
		c := dial()
		start := time.Now()
		c.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.response("GET"); res.StatusCode != 504 {
			t.Errorf("status %d", res.StatusCode)
		}
		between(t, "a silent upstream is given up", start, 60*time.Second, 61*time.Second)

		c.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, body := c.response("GET"); res.StatusCode != 200 || body != "0123456789" {
			t.Errorf("%d %q", res.StatusCode, body)
		}

		start = time.Now()
		c.send("GET /stalls HTTP/1.1\r\nHost: a\r\n\r\n")
		if body, err := io.ReadAll(c.responseHead("GET").Body); err == nil || string(body) != "hello" {
			t.Errorf("%q, %v", body, err)
		}
		between(t, "a stalled response is given up", start, 60*time.Second, 61*time.Second)
	})
}

// One byte now and then keeps no connection; a slow link does.
func TestSlowUploads(t *testing.T) {
	for _, test := range []struct {
		name   string
		rate   int64
		pause  time.Duration
		piece  int
		status int
		least  time.Duration
		most   time.Duration
	}{
		{"trickle", 0, 10 * time.Second, 1, 408, 30 * time.Second, 30 * time.Second},
		{"trickle within the timeout", 0, 59 * time.Second, 1, 408, 59 * time.Second, 59 * time.Second},
		{"slow link", 0, time.Second, 100, 200, 100 * time.Second, 100 * time.Second},
		{"bursts", 0, 50 * time.Second, 5000, 200, 100 * time.Second, 100 * time.Second},
		{"no limit", -1, 55 * time.Second, 1000, 200, 550 * time.Second, 550 * time.Second},
		{"a limit of one's own", 200, time.Second, 100, 408, 30 * time.Second, 30 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			serve := answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			bubbleWith(t, Settings{MinBodyRate: test.rate}, serve, func(t *testing.T, g *gateway, dial func() *raw) {
				const size = 10_000
				c := dial()
				start := time.Now()
				c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size))
				var sending sync.WaitGroup
				sending.Go(func() {
					for sent := 0; sent < size; sent += test.piece {
						time.Sleep(test.pause)
						if _, err := io.WriteString(c.conn, strings.Repeat("x", min(test.piece, size-sent))); err != nil {
							return
						}
					}
				})
				if res, _ := c.response("POST"); res.StatusCode != test.status {
					t.Errorf("status %d", res.StatusCode)
				}
				between(t, "the answer comes", start, test.least, test.most)
				c.conn.Close()
				sending.Wait()
			})
		})
	}
}

// A client is not to blame for an upstream that takes its time.
func TestSlowUpstreamIsNoSlowUpload(t *testing.T) {
	serve := func(conn net.Conn, in *bufio.Reader) {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		for piece := make([]byte, 4096); err == nil; _, err = io.ReadFull(req.Body, piece) {
			time.Sleep(2 * time.Second)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, _ = io.Copy(io.Discard, in)
	}
	bubbleWith(t, Settings{MinBodyRate: 1 << 20}, serve, func(t *testing.T, g *gateway, dial func() *raw) {
		c := dial()
		start := time.Now()
		const size = 256 << 10
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size))
		c.send(strings.Repeat("x", size))
		if res, _ := c.response("POST"); res.StatusCode != 200 {
			t.Errorf("status %d", res.StatusCode)
		}
		between(t, "the answer comes", start, 2*time.Minute, 3*time.Minute)
		c.conn.Close()
	})
}

// A client that takes a response at a trickle is given up with the piece that does not
// get out in time: what is read from the upstream at once is many times what a second
// of the slowest link brings.
func TestSlowDownload(t *testing.T) {
	body := strings.Repeat("x", 1<<20)
	serve := answering(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	bubble(t, serve, func(t *testing.T, g *gateway, dial func() *raw) {
		c := dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		start := time.Now()
		for one := make([]byte, 1); ; time.Sleep(10 * time.Millisecond) {
			if _, err := c.conn.Read(one); err != nil {
				break
			}
		}
		between(t, "the connection ends", start, 60*time.Second, 76*time.Second)
		if x := g.observed(1); x.Cause != exchange.CauseClientStalled {
			t.Errorf("cause %q", x.Cause)
		}
	})
}

// A slow upload takes as long as it takes; one that stalls is answered.
func TestDefaultUploadTimeout(t *testing.T) {
	bubble(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), func(t *testing.T, g *gateway, dial func() *raw) {
		c := dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n")
		for range 10 {
			time.Sleep(55 * time.Second)
			c.send(strings.Repeat("x", 5000))
		}
		if res, _ := c.response("POST"); res.StatusCode != 200 {
			t.Errorf("status %d", res.StatusCode)
		}
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
		start := time.Now()
		if res, _ := c.response("POST"); res.StatusCode != 408 {
			t.Errorf("status %d", res.StatusCode)
		}
		between(t, "a stalled upload is given up", start, 60*time.Second, 75*time.Second)
		c.conn.Close()
	})
}

func TestIdleUpstreamConnectionsEnd(t *testing.T) {
	bubble(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), func(t *testing.T, g *gateway, dial func() *raw) {
		c := dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.response("GET")
		c.conn.Close()
		stats := g.server.Stats()
		time.Sleep(59 * time.Second)
		if stats.UpstreamIdle.Load() != 1 || stats.Upstream.Load() != 1 {
			t.Errorf("after 59 s: %d idle of %d", stats.UpstreamIdle.Load(), stats.Upstream.Load())
		}
		time.Sleep(10 * time.Second)
		if stats.UpstreamIdle.Load() != 0 || stats.Upstream.Load() != 0 {
			t.Errorf("after 69 s: %d idle of %d", stats.UpstreamIdle.Load(), stats.Upstream.Load())
		}
	})
}

// An upgraded connection may be silent for as long as both sides want.
func TestUpgradedConnectionStays(t *testing.T) {
	serve := func(conn net.Conn, in *bufio.Reader) {
		_, _ = http.ReadRequest(in)
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n")
		_, _ = io.Copy(conn, in)
	}
	bubble(t, serve, func(t *testing.T, g *gateway, dial func() *raw) {
		c := dial()
		c.send(upgrading)
		c.upgraded()
		time.Sleep(3 * time.Hour)
		c.send("still here")
		c.expect("still here")
		c.conn.Close()
	})
}

// A client that expects 100 (Continue) waits a second, not longer.
func TestContinueAfterASecond(t *testing.T) {
	bubble(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), func(t *testing.T, g *gateway, dial func() *raw) {
		c := dial()
		start := time.Now()
		c.send(expecting)
		if res := c.responseHead("POST"); res.StatusCode != 100 {
			t.Fatalf("status %d", res.StatusCode)
		}
		between(t, "100 comes", start, time.Second, 2*time.Second)
		c.send("abc")
		if res, _ := c.response("POST"); res.StatusCode != 200 {
			t.Errorf("status %d", res.StatusCode)
		}
		c.conn.Close()
	})
}

// Once a response has begun, no 100 (Continue) gets into its body, however long
// the rest takes.
func TestNoContinueInsideResponse(t *testing.T) {
	for _, test := range []struct{ name, begin, rest string }{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc", "def"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			serve := func(conn net.Conn, in *bufio.Reader) {
				_, _ = http.ReadRequest(in)
				_, _ = io.WriteString(conn, test.begin)
				time.Sleep(10 * time.Second)
				_, _ = io.WriteString(conn, test.rest)
				_, _ = io.Copy(io.Discard, in)
			}
			bubble(t, serve, func(t *testing.T, g *gateway, dial func() *raw) {
				c := dial()
				c.send(expecting)
				if res, body := c.response("POST"); res.StatusCode != 200 || body != "abcdef" {
					t.Errorf("%d %q", res.StatusCode, body)
				}
				c.conn.Close()
			})
		})
	}
}

// deaf switches protocols and then reads no more.
func deaf(conn net.Conn, in *bufio.Reader) {
	_, _ = http.ReadRequest(in)
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n")
	time.Sleep(time.Hour)
}

// An upgraded connection whose upstream takes nothing any more ends.
func TestUpgradedConnectionStalls(t *testing.T) {
	for _, early := range []string{"", "early"} {
		bubble(t, deaf, func(t *testing.T, g *gateway, dial func() *raw) {
			c := dial()
			c.send(upgrading + early)
			c.upgraded()
			if early == "" {
				time.Sleep(3 * time.Hour / 4)
				c.send("x")
			}
			start := time.Now()
			c.expectEnd()
			between(t, "the stalled connection is closed", start, 60*time.Second, 75*time.Second)
		})
	}
}

// Neither does it hold up a drain.
func TestUpgradedConnectionStallsInDrain(t *testing.T) {
	bubbleWith(t, Settings{BodyTimeout: -1}, deaf, func(t *testing.T, g *gateway, dial func() *raw) {
		c := dial()
		c.send(upgrading)
		c.upgraded()
		c.send("x")
		start := time.Now()
		g.stop()
		<-g.ended
		between(t, "Run ends", start, exchange.DefaultDrainTimeout, exchange.DefaultDrainTimeout)
	})
}

// Endpoints that do not answer a dial are given up after a few, and a drain does
// not wait for all of them.
func TestConnectTimeouts(t *testing.T) {
	unreachable := func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	bubbleWith(t, Settings{Dial: unreachable}, nil, func(t *testing.T, g *gateway, dial func() *raw) {
		g.rules[0].Action.Backends[0].Backend.SetEndpoints(numbered(16))
		c := dial()
		start := time.Now()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.response("GET"); res.StatusCode != 504 {
			t.Errorf("status %d", res.StatusCode)
		}
		between(t, "the backend is given up", start, maxAttempts*exchange.DefaultConnectTimeout, maxAttempts*exchange.DefaultConnectTimeout)
		c.conn.Close()
	})
	// No route to a host takes some seconds to find out.
	slow := func(context.Context, netip.AddrPort) (net.Conn, error) {
		time.Sleep(3 * time.Second)
		return nil, errors.New("no route to host")
	}
	bubbleWith(t, Settings{Dial: slow}, nil, func(t *testing.T, g *gateway, dial func() *raw) {
		g.rules[0].Action.Backends[0].Backend.SetEndpoints(numbered(100))
		c := dial()
		start := time.Now()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		g.stop()
		<-g.ended
		between(t, "Run ends", start, exchange.DefaultDrainTimeout, exchange.DefaultDrainTimeout+3*time.Second)
		c.expectEnd()
	})
}

// A client that is slow with its head, and an upgraded connection, hold none of
// the large buffers.
func TestBuffersAreBorrowedLate(t *testing.T) {
	serve := func(conn net.Conn, in *bufio.Reader) {
		_, _ = http.ReadRequest(in)
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n")
		_, _ = io.Copy(conn, in)
	}
	bubble(t, serve, func(t *testing.T, g *gateway, dial func() *raw) {
		holds := func(what string) {
			t.Helper()
			synctest.Wait() // the connection waits for its client
			for c := range g.server.sockets[socketName].connections {
				d := c.h1
				up, _ := d.flight.up.(*h1Upstream)
				if d.outFrom != nil || d.moreFrom != nil || up != nil && (up.inFrom != nil || up.outFrom != nil) {
					t.Errorf("%s holds buffers", what)
				}
			}
		}
		c := dial()
		c.send("G")
		holds("a slow head")
		c.send(upgrading[1:])
		c.upgraded()
		c.send("x")
		c.expect("x")
		holds("an upgraded connection")
		c.conn.Close()
	})
}
