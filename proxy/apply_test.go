package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// The table is swapped under load without a failing request, and each request is
// routed by one table from its beginning to its end.
func TestTableSwapUnderLoad(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		var backends []*router.Backend
		for i := range 2 {
			backends = append(backends, httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Backend", fmt.Sprint(i))
				_, _ = io.WriteString(w, fmt.Sprint(i))
			}))
		}
		var tables [2]*router.Table
		for i, b := range backends {
			g.rules = nil
			g.route("/", b).Action.ResponseHeaders = &router.HeaderFilter{Set: []router.Field{{Name: "X-Rule", Value: fmt.Sprint(i)}}}
			tables[i] = g.table()
		}
		g.apply()
		listener := Listener{Name: socketName}
		if g.mode.tls {
			listener.GetCertificate = certificateFor("app.test")
		}
		var done atomic.Bool
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for !done.Load() {
					req, _ := http.NewRequest("GET", g.url("/"), nil)
					res, err := g.client.Do(req)
					if err != nil {
						t.Errorf("get: %v", err)
						return
					}
					body, err := io.ReadAll(res.Body)
					res.Body.Close()
					if rule := res.Header.Get("X-Rule"); err != nil || res.StatusCode != 200 || rule != string(body) {
						t.Errorf("%d, rule %q answered by %q, %v", res.StatusCode, rule, body, err)
					}
				}
			})
		}
		for i := range 100 {
			if err := g.server.Apply(tables[i%2], []Listener{listener})[socketName]; err != nil {
				t.Errorf("Apply: %v", err)
			}
			g.observed(g.count() + 1) // some exchange ends between two swaps
		}
		done.Store(true)
		clients.Wait()
	})
}

func TestApplyReportsSockets(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, plainMode, Settings{})
	name := taken.Addr().String()
	wanted := []Listener{{Name: name}, {Name: socketName}}
	result := g.server.Apply(g.table(), wanted)
	if result[name] == nil || result[socketName] != nil || len(result) != 2 {
		t.Fatalf("%v", result)
	}
	taken.Close()
	result = g.server.Apply(g.table(), wanted)
	if result[name] != nil || result[socketName] != nil {
		t.Fatalf("tried again: %v", result)
	}
	if again := g.server.Apply(g.table(), wanted); again[name] != nil {
		t.Fatalf("unchanged: %v", again)
	}
	g.stop()
	<-g.ended
	if err := g.server.Apply(g.table(), wanted)[name]; !errors.Is(err, ErrStopped) {
		t.Fatalf("after Run: %v", err)
	}
}

// A socket that is removed finishes its exchanges with Connection: close, closes
// its idle connections, and can be opened again at once.
func TestSocketRemovedAndAdded(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		arrived, answer := make(chan struct{}), make(chan struct{})
		g.route("/slow", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-answer
			_, _ = io.WriteString(w, "slow")
		}))
		g.route("/", httpBackend(t, echo))
		g.apply()
		address := g.address()

		idle, busy := g.dial(), g.dial()
		idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := idle.response("GET"); res.Close {
			t.Errorf("closed too early")
		}
		busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
		<-arrived

		g.server.Apply(g.table(), nil)
		idle.expectEnd()
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("the removed socket still listens")
		}
		for range 20 {
			if err := g.server.Apply(g.table(), []Listener{{Name: address}})[address]; err != nil {
				t.Fatalf("open again: %v", err)
			}
			g.server.Apply(g.table(), nil)
		}
		close(answer)
		if res, body := busy.response("GET"); res.StatusCode != 200 || body != "slow" || !res.Close {
			t.Errorf("%d %q, close %v", res.StatusCode, body, res.Close)
		}
		busy.expectEnd()
	})
}

func TestCertificates(t *testing.T) {
	g := newGateway(t, tlsMode, Settings{})
	g.route("/", httpBackend(t, echo))
	g.apply()
	handshake := func(name string) error {
		conn, err := tls.Dial("tcp", g.address(), &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err == nil {
			if v := conn.ConnectionState().Version; v < tls.VersionTLS12 {
				t.Errorf("TLS version %x", v)
			}
			conn.Close()
		}
		return err
	}
	unrecognised := func(err error) bool { return err != nil && strings.Contains(err.Error(), "unrecognized name") }
	if err := handshake("app.test"); err != nil {
		t.Errorf("known name: %v", err)
	}
	if err := handshake("other.test"); !unrecognised(err) {
		t.Errorf("unknown name: %v", err)
	}
	kept := g.dial()
	g.server.Apply(g.table(), []Listener{{Name: socketName, GetCertificate: certificateFor("other.test")}})
	if err := handshake("other.test"); err != nil {
		t.Errorf("new name: %v", err)
	}
	if err := handshake("app.test"); !unrecognised(err) {
		t.Errorf("old name: %v", err)
	}
	kept.conn.Close()

	old, err := tls.Dial("tcp", g.address(), &tls.Config{InsecureSkipVerify: true, ServerName: "other.test", MaxVersion: tls.VersionTLS11})
	if err == nil {
		old.Close()
		t.Errorf("TLS 1.1 is accepted")
	}
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	plain := &raw{t: t, conn: conn, in: bufio.NewReader(conn)}
	plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if res, _ := plain.response("GET"); res.StatusCode != 400 {
		t.Errorf("HTTP on an HTTPS socket: %d", res.StatusCode)
	}
}

// A socket that turns from plain to TLS stays open; its plain connections end.
func TestSocketChangesKind(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	g.route("/", httpBackend(t, echo))
	g.apply()
	address := g.address()
	c := g.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.response("GET")

	g.mode = tlsMode
	g.apply()
	if g.address() != address {
		t.Errorf("the socket was opened anew")
	}
	c.expectEnd()
	if res, _ := g.get("/"); res.StatusCode != 200 {
		t.Errorf("over TLS: %d", res.StatusCode)
	}
	g.mode = plainMode
	g.apply()
	if res, _ := g.get("/"); res.StatusCode != 200 {
		t.Errorf("plain again: %d", res.StatusCode)
	}
}

func TestDrain(t *testing.T) {
	runAtOnce(t, allModes, Settings{DrainTimeout: 10 * time.Second}, func(t *testing.T, g *gateway) {
		arrived, answer := make(chan struct{}), make(chan struct{})
		g.route("/slow", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-answer
			_, _ = io.WriteString(w, "slow")
		}))
		g.route("/chat", rawBackend(t, chat))
		g.route("/", httpBackend(t, echo))
		g.apply()

		idle, busy, chatting := g.dial(), g.dial(), g.dial()
		idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		idle.response("GET")
		busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
		<-arrived
		chatting.send(upgrading)
		chatting.upgraded()
		chatting.expect("hello")

		sock := g.server.sockets[socketName]
		start := time.Now()
		g.stop()
		idle.expectEnd()
		eventually(t, "every connection drains", func() bool {
			sock.mu.Lock()
			defer sock.mu.Unlock()
			for c := range sock.connections {
				if !c.draining.Load() {
					return false
				}
			}
			return true
		})
		chatting.send("still")
		chatting.expect("still")
		close(answer)
		if res, body := busy.response("GET"); res.StatusCode != 200 || body != "slow" || !res.Close {
			t.Errorf("%d %q, close %v", res.StatusCode, body, res.Close)
		}
		chatting.conn.Close()
		<-g.ended
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("draining took %v although nothing was left", took)
		}
	})
}

// What does not end by itself is closed after the DrainTimeout.
func TestDrainTimeout(t *testing.T) {
	runAtOnce(t, allModes, Settings{DrainTimeout: 300 * time.Millisecond}, func(t *testing.T, g *gateway) {
		g.route("/chat", rawBackend(t, chat))
		g.route("/silent", silent(t))
		g.apply()
		chatting, waiting, fresh := g.dial(), g.dial(), g.dial()
		chatting.send(upgrading)
		chatting.upgraded()
		chatting.expect("hello")
		waiting.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
		eventually(t, "both are upstream", func() bool { return g.server.Stats().Upstream.Load() == 2 })
		if !g.mode.tls {
			fresh.send("G")
		}

		start := time.Now()
		g.stop()
		<-g.ended
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("draining took %v", took)
		}
		chatting.expectEnd()
		waiting.expectEnd()
		causes := map[int]exchange.Cause{}
		for n := range 2 {
			x := g.observed(n + 1)
			causes[x.Status] = x.Cause
		}
		if causes[101] != exchange.CauseDrained || causes[0] == exchange.CauseNone {
			t.Errorf("causes %v", causes)
		}
	})
}

// A connection that was opened just before the drain gets its first exchange, and one
// that is kept gets another: the client does not know better, and what it sends may be
// on the way.
func TestDrainServesFreshConnection(t *testing.T) { drainServes(t, 0) }
func TestDrainServesKeptConnection(t *testing.T)  { drainServes(t, 1) }

// drainServes has one more exchange after those before the drain.
func drainServes(t *testing.T, before int) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, echo))
		g.apply()
		c := g.dial()
		eventually(t, "the connection is accepted", func() bool { return g.server.Stats().Downstream.Load() == 1 })
		for range before {
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if res, _ := c.response("GET"); res.StatusCode != 200 || res.Close {
				t.Errorf("before: %d, close %v", res.StatusCode, res.Close)
			}
		}
		g.stop()
		eventually(t, "the socket is closed", func() bool {
			conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", c.conn.RemoteAddr().String())
			if err == nil {
				conn.Close()
			}
			return err != nil
		})
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.response("GET"); res.StatusCode != 200 || !res.Close {
			t.Errorf("%d, close %v", res.StatusCode, res.Close)
		}
	})
}

// A client that has pipelined gets its response whole when the connection ends
// after it, and no reset.
func TestDrainWithPipelinedRequest(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		arrived, answer := make(chan struct{}), make(chan struct{})
		g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			arrived <- struct{}{}
			<-answer
			_, _ = io.WriteString(w, "last")
		}))
		g.apply()
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-arrived
		c.send("GET /more HTTP/1.1\r\nHost: a\r\n\r\n")
		g.server.Apply(g.table(), nil)
		close(answer)
		if res, body := c.response("GET"); res.StatusCode != 200 || body != "last" || !res.Close {
			t.Errorf("%d %q, close %v", res.StatusCode, body, res.Close)
		}
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Errorf("after the response: %v", err)
		}
		c.conn.Close()
	})
}

// A request that is on its way to a socket while that is removed is answered by
// the table that knew the socket.
func TestSocketRemovedBeforeRequest(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, echo))
		g.apply()
		c := g.dial()
		eventually(t, "the connection is accepted", func() bool { return g.server.Stats().Downstream.Load() == 1 })
		for range 2 {
			g.server.Apply(router.Compile(nil, nil), nil)
		}
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.response("GET"); res.StatusCode != 200 || !res.Close {
			t.Errorf("%d, close %v", res.StatusCode, res.Close)
		}
		c.expectEnd()
	})
}
