//go:build linux

package loop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// collect turns until something gathers that the caller waits for, without the end of that turn.
func (c *clocked) collect(gathers func() bool) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); !gathers(); {
		if time.Now().After(end) {
			c.t.Fatal("nothing gathers")
		}
		c.l.flush()
		c.l.dispatch(c.l.poller.wait(10))
	}
}

// of returns the users of one kind.
func of[U user](l *loop) []U { return slices.Collect(usersOf[U](l)) }

// answerGathers reports whether a response does.
func (c *clocked) answerGathers() bool {
	for d := range usersOf[*downstream](c.l) {
		if d.untried {
			return true
		}
	}
	return false
}

// A client that takes a response only in part gets the rest, and those to what it has asked
// behind it, although it is idle for long by the server's clock.
func TestGatheredAnswersTakenInPart(t *testing.T) {
	const requests = 300
	c := newClocked(t, exchange.Settings{IdleTimeout: 10 * time.Second}, backendOf(t, echoing(4000)))
	d := of[*downstream](c.l)[0]
	_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096)
	_ = c.client.(*net.TCPConn).SetReadBuffer(4096)
	var all strings.Builder
	for i := range requests {
		fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
	}
	c.send("%s", all.String())
	c.turn("the client is full", func() bool { return d.pending() > 0 })
	c.pass(20 * time.Second)
	_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	_ = c.client.(*net.TCPConn).SetReadBuffer(1 << 20)
	read := make(chan error, 1)
	go func() {
		_ = c.client.SetReadDeadline(time.Now().Add(10 * time.Second))
		for i := range requests {
			res, err := http.ReadResponse(c.in, nil)
			if err != nil {
				read <- err
				return
			}
			if body, err := io.ReadAll(res.Body); err != nil || strings.TrimRight(string(body), ".") != fmt.Sprintf("/%d", i) {
				read <- fmt.Errorf("response %d is %.10q, %w", i, body, err)
				return
			}
		}
		read <- nil
	}()
	c.turn("all responses have come", func() bool {
		select {
		case err := <-read:
			if err != nil {
				t.Fatal(err)
			}
			return true
		default:
			return false
		}
	})
	c.pass(90 * time.Second)
	if d.fd >= 0 {
		t.Error("an idle connection stays")
	}
}

// One that takes nothing is closed, however long it may be idle.
func TestGatheredAnswersTakenByNobody(t *testing.T) {
	c := newClocked(t, exchange.Settings{IdleTimeout: time.Hour}, backendOf(t, echoing(4000)))
	d := of[*downstream](c.l)[0]
	_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096)
	_ = c.client.(*net.TCPConn).SetReadBuffer(4096)
	c.send("%s", strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 300))
	c.turn("the client is full", func() bool { return d.pending() > 0 })
	c.pass(3 * time.Minute)
	if d.fd >= 0 {
		t.Error("the connection stays")
	}
}

// What gathers when its connection is ended by us still goes out.
func TestGatheredAnswerIsNotLost(t *testing.T) {
	for name, end := range map[string]func(*loop){
		"abort":                func(l *loop) { l.abort(nil) },
		"drain":                func(l *loop) { l.drain(nil) },
		"next request is none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			c := newClocked(t, exchange.Settings{}, backendOf(t, echoing(100)))
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			c.collect(c.answerGathers)
			if end == nil {
				c.send("what is this\r\n\r\n")
				c.turn("the connection ends", func() bool { return of[*downstream](c.l)[0].state == lingering })
			} else {
				end(c.l)
				c.pass(10 * time.Second)
			}
			if status := c.answered(); status != 200 {
				t.Errorf("status %d", status)
			}
			if end == nil {
				if status := c.answered(); status != 400 {
					t.Errorf("status %d", status)
				}
			}
			if _, err := c.in.ReadByte(); err != io.EOF {
				t.Errorf("and then %v", err)
			}
		})
	}
}

// What is left to the other lane leaves after the response to what came before, however the
// bytes come.
func TestHandsOverBehindAnAnswer(t *testing.T) {
	const upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
	r := newRig(t, echoing(100))
	for _, size := range []int{100, headSize} { // the second fills what a head is read to
		before := "GET /first HTTP/1.1\r\nHost: a\r\nPadding: "
		conn := r.dial()
		if _, err := io.WriteString(conn, before+strings.Repeat("x", size-len(before)-4)+"\r\n\r\n"+upgrade); err != nil {
			t.Fatal(err)
		}
		out := <-r.handed
		if string(out.Unread) != upgrade {
			t.Errorf("handed over %q", out.Unread)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || !strings.HasPrefix(string(body), "/first") {
			t.Errorf("size %d: %q, %v", size, body, err)
		}
		unix.Close(out.FD)
	}
}

// An endpoint may reset its idle connection while a request for it gathers, or right after it
// was sent. What it took nothing of is sent anew.
func TestResetWhileRequestGathers(t *testing.T) {
	for _, test := range []struct {
		name, method string
		sent         bool // before the reset
		status       int
	}{
		{"POST gathers", "POST", false, 200},
		{"GET gathers", "GET", false, 200},
		{"POST is sent", "POST", true, 502},
		{"GET is sent", "GET", true, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			conns := make(chan net.Conn, 4)
			reset := make(chan struct{})
			var served atomic.Int64
			c := newClocked(t, exchange.Settings{}, backendOf(t, func(conn net.Conn, in *bufio.Reader) {
				conns <- conn
				for {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					if served.Add(1); test.sent && served.Load() == 2 {
						<-reset
						return
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			}))
			const request = "%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
			c.send(request, "GET")
			c.turn("the connection is idle", func() bool { return c.stats.UpstreamIdle.Load() == 1 })
			if status := c.answered(); status != 200 {
				t.Fatalf("status %d", status)
			}
			up := of[*upstream](c.l)[0]
			c.send(request, test.method)
			c.collect(func() bool { return up.untried })
			if test.sent {
				c.l.flush()
				c.turn("the request has come", func() bool { return served.Load() == 2 })
			}
			old := (<-conns).(*net.TCPConn)
			_ = old.SetLinger(0)
			old.Close()
			close(reset)
			events := []unix.PollFd{{Fd: int32(up.fd)}}
			if n, err := unix.Poll(events, 10_000); n != 1 || err != nil {
				t.Fatalf("no reset: %d, %v", n, err)
			}
			c.l.flush()
			d := of[*downstream](c.l)[0]
			c.turn("the exchange ends", func() bool { return d.fd < 0 || d.state == unused })
			if status := c.answered(); status != test.status {
				t.Errorf("status %d", status)
			}
		})
	}
}

// Many connections in one turn get each what is theirs.
func TestManyGather(t *testing.T) {
	const clients = 5 * gatherMost
	c := newClocked(t, exchange.Settings{}, backendOf(t, echoing(2000)))
	var conns []net.Conn
	for i := range clients {
		c.dial()
		conns = append(conns, c.client)
		c.send("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
	}
	c.turn("all are served", func() bool {
		served := 0
		for _, d := range of[*downstream](c.l) {
			if d.state == unused {
				served++
			}
		}
		return served == clients
	})
	for i, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || strings.TrimRight(string(body), ".") != fmt.Sprintf("/%d", i) {
			t.Errorf("client %d got %.10q, %v", i, body, err)
		}
		conn.Close()
	}
}

// The pieces of a body stay behind the head that gathers, also those that are too large to
// gather, and the exchange goes on after them.
func TestLargePiecesBehindHead(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const size = 300_000
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		if r.URL.Path == "/flushed" {
			_ = http.NewResponseController(w).Flush()
		}
		for i := range size / 10 {
			fmt.Fprintf(w, "%010d", i)
		}
	})}
	server.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	backend := router.NewBackendWith("default/app:80", router.BackendSettings{Protocol: router.H2C})
	backend.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(listener.Addr().String())})
	r := newRig(t, echoing(0), func(a *router.Action) { a.Backends[0].Backend = backend })
	conn := r.dial()
	in := bufio.NewReader(conn)
	for i := range 20 {
		path := "/flushed"
		if i%2 == 0 {
			path = "/"
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || len(body) != size {
			t.Fatalf("%d bytes, %v", len(body), err)
		}
		for i := range size / 10 {
			if want := fmt.Sprintf("%010d", i); string(body[10*i:10*i+10]) != want {
				t.Fatalf("%q in place of %q", body[10*i:10*i+10], want)
			}
		}
	}
}
