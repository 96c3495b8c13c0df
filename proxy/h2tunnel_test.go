package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// socketBackend agrees to WebSockets, and then does what then does.
func socketBackend(t *testing.T, then func(net.Conn, *bufio.Reader)) *router.Backend {
	return rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		socket := exchange.WebSocket{Key: req.Header.Get("Sec-WebSocket-Key")}
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", socket.Accept())
		then(conn, in)
	})
}

// openSocket opens a WebSocket on a stream.
func (r *rawH2) openSocket(id uint32) {
	r.t.Helper()
	r.head(id, 0, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "app.test", ":path", "/socket",
		"sec-websocket-version", "13")
	if status := r.status(id); status != "200" {
		r.t.Fatalf("status %s", status)
	}
}

// A WebSocket opens while another stream of its connection goes on, and both go on then.
func TestWebSocketBesideAnotherStream(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		more := make(chan string)
		g.route("/events", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			for event := range more {
				_, _ = io.WriteString(w, event)
				_ = http.NewResponseController(w).Flush()
			}
		}))
		g.route("/socket", socketBackend(t, func(conn net.Conn, in *bufio.Reader) { _, _ = io.Copy(conn, in) }))
		g.apply()
		r := g.dialH2()
		r.get(1, "/events")
		more <- "first"
		if status, got := r.status(1), r.payload(1, 5); status != "200" || got != "first" {
			t.Fatalf("%s %q", status, got)
		}
		r.openSocket(3)
		for range 3 {
			r.must(r.frames.WriteData(3, false, []byte("hello")))
			if got := r.payload(3, 5); got != "hello" {
				t.Errorf("got %q", got)
			}
			more <- "again"
			if got := r.payload(1, 5); got != "again" {
				t.Errorf("got %q", got)
			}
		}
		if n := g.server.Stats().Upgraded.Load(); n != 1 {
			t.Errorf("%d are upgraded", n)
		}
		r.must(r.frames.WriteData(3, true, []byte("bye")))
		if got := r.body(3); got != "bye" {
			t.Errorf("got %q", got)
		}
		if x := g.observed(1); x.Status != 101 || x.Received != 18 || x.Sent != 18 || x.Cause != exchange.CauseNone {
			t.Errorf("%+v", x)
		}
		close(more)
		if got := r.body(1); got != "" {
			t.Errorf("got %q", got)
		}
	})
}

// The upstream may end first, and still gets what the client says.
func TestWebSocketHalfClosedByUpstreamOverH2(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		got := make(chan string, 1)
		g.route("/", socketBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = io.WriteString(conn, "bye")
			_ = conn.(closeWriter).CloseWrite()
			rest, _ := io.ReadAll(in)
			got <- string(rest)
		}))
		g.apply()
		r := g.dialH2()
		r.openSocket(1)
		if body := r.body(1); body != "bye" {
			t.Errorf("got %q", body)
		}
		r.must(r.frames.WriteData(1, false, []byte("one")))
		r.must(r.frames.WriteData(1, true, []byte("two")))
		if rest := <-got; rest != "onetwo" {
			t.Errorf("the upstream got %q", rest)
		}
		if x := g.observed(1); x.Received != 6 || x.Sent != 3 {
			t.Errorf("%d there, %d back", x.Received, x.Sent)
		}
	})
}

// What one side does not take the other cannot send for ever, and nothing is lost.
func TestWebSocketBackPressureOverH2(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		const size = 32 << 20
		read := make(chan struct{})
		g.route("/", socketBackend(t, func(conn net.Conn, _ *bufio.Reader) {
			_ = conn.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			source := &pattern{}
			n, err := io.CopyN(conn, source, size)
			if !isTimeout(err) {
				t.Errorf("%d bytes went to a client that does not read: %v", n, err)
			}
			close(read)
			_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.CopyN(conn, &pattern{at: int(n)}, 1<<20)
		}))
		g.apply()
		r := g.dialH2()
		r.openSocket(1)
		<-read
		var got pattern
		for ended := false; !ended; {
			frame, err := r.frames.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if data, ok := frame.(*http2.DataFrame); ok {
				_, _ = got.Write(data.Data())
				ended = data.StreamEnded()
				if n := uint32(len(data.Data())); n > 0 && !ended {
					r.must(r.frames.WriteWindowUpdate(0, n))
					r.must(r.frames.WriteWindowUpdate(1, n))
				}
			}
		}
		if got.wrong || got.at < 1<<20 {
			t.Errorf("wrong %v after %d bytes", got.wrong, got.at)
		}
	})
}

// A tunnel ends when either side breaks off, which the other side sees (RFC 8441 §5), and when the
// drain is over; the log says so then.
func TestWebSocketEndsOverH2(t *testing.T) {
	for name, test := range map[string]struct {
		end   func(g *gateway, r *rawH2, upstream net.Conn)
		cause exchange.Cause
	}{
		"the client resets the stream": {func(_ *gateway, r *rawH2, _ net.Conn) { _ = r.frames.WriteRSTStream(1, http2.ErrCodeCancel) }, exchange.CauseNone},
		"the client leaves":            {func(_ *gateway, r *rawH2, _ net.Conn) { r.conn.Close() }, exchange.CauseNone},
		"the upstream resets": {func(_ *gateway, _ *rawH2, upstream net.Conn) {
			_ = upstream.(*net.TCPConn).SetLinger(0)
			upstream.Close()
		}, exchange.CauseNone},
		"the drain is over": {func(g *gateway, _ *rawH2, _ net.Conn) { g.stop() }, exchange.CauseDrained},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			run(t, rawH2Modes, Settings{DrainTimeout: 100 * time.Millisecond}, func(t *testing.T, g *gateway) {
				opened, over := make(chan net.Conn, 1), make(chan error, 1)
				g.route("/", socketBackend(t, func(conn net.Conn, in *bufio.Reader) {
					opened <- conn
					_, err := io.Copy(io.Discard, in)
					over <- err
				}))
				g.apply()
				r := g.dialH2()
				r.openSocket(1)
				test.end(g, r, <-opened)
				if err := <-over; strings.HasPrefix(name, "the client") && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the upstream got %v", err)
				}
				if name == "the upstream resets" {
					if f, ok := r.next().(*http2.RSTStreamFrame); !ok || f.ErrCode != http2.ErrCodeCancel {
						t.Errorf("the client got %v", f)
					}
				}
				if x := g.observed(1); x.Status != 101 || x.Cause != test.cause {
					t.Errorf("%d, %q", x.Status, x.Cause)
				}
				eventually(t, "nothing is relayed", func() bool { return g.server.Stats().Upgraded.Load() == 0 })
			})
		})
	}
}

// A WebSocket goes through as extended CONNECT or as an upgrade, whatever each side
// speaks (RFC 8441).
func TestWebSocketOverH2(t *testing.T) {
	backend := func(t *testing.T) *router.Backend {
		return rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			socket := exchange.WebSocket{Key: req.Header.Get("Sec-WebSocket-Key")}
			if req.Header.Get("Upgrade") != "websocket" || req.Method != http.MethodGet || len(socket.Key) != 24 {
				t.Errorf("%s %v", req.Method, req.Header)
			}
			fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: chat\r\n\r\n", socket.Accept())
			_, _ = io.Copy(conn, in)
		})
	}
	// through another gateway, which speaks HTTP/2 with extended CONNECT
	another := func(t *testing.T) *router.Backend {
		inner := newGateway(t, h2cMode, Settings{Lane: exchange.LaneFull})
		inner.route("/", backend(t))
		inner.apply()
		return h2cBackendAt(inner.socket(socketName).listener.Addr())
	}
	for name, make := range map[string]func(*testing.T) *router.Backend{"to h1": backend, "to h2": another} {
		t.Run(name, func(t *testing.T) {
			run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
				g.route("/", make(t))
				g.apply()
				r := g.dialH2()
				r.head(1, 0, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "app.test", ":path", "/chat",
					"sec-websocket-version", "13", "sec-websocket-protocol", "chat")
				head, ok := r.next().(*http2.MetaHeadersFrame)
				if !ok || head.PseudoValue("status") != "200" {
					t.Fatalf("%v", head)
				}
				for _, f := range head.RegularFields() {
					if f.Name == "sec-websocket-accept" || f.Name == "upgrade" || f.Name == "connection" {
						t.Errorf("%v", f)
					}
				}
				for _, word := range []string{"hello", "world"} {
					r.must(r.frames.WriteData(1, false, []byte(word)))
					if got := r.payload(1, len(word)); got != word {
						t.Errorf("%q", got)
					}
				}
				r.must(r.frames.WriteData(1, true, nil))
				if rest := r.body(1); rest != "" {
					t.Errorf("%q", rest)
				}
				if x := g.observed(1); x.Status != http.StatusSwitchingProtocols || x.Received != 10 || x.Sent != 10 {
					t.Errorf("%d, %d bytes there, %d back", x.Status, x.Received, x.Sent)
				}
			})
			run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
				g.route("/", make(t))
				g.apply()
				socket := exchange.NewWebSocket()
				c := g.dial()
				c.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + socket.Key + "\r\n\r\n")
				res := c.responseHead(http.MethodGet)
				if res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Accept") != socket.Accept() {
					t.Fatalf("%d %v", res.StatusCode, res.Header)
				}
				c.send("hello")
				got := [5]byte{}
				if _, err := io.ReadFull(c.in, got[:]); err != nil || string(got[:]) != "hello" {
					t.Errorf("%q, %v", got, err)
				}
				c.conn.Close()
			})
		})
	}
}

// An upstream that does not switch, or to something else, is no WebSocket.
func TestWebSocketRefusedOverH2(t *testing.T) {
	for response, want := range map[string]string{
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n":                                                                 "403",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":                                                                        "502",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: none\r\n\r\n": "502",
	} {
		run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
			g.route("/", rawBackend(t, answering(response)))
			g.apply()
			r := g.dialH2()
			r.head(1, 0, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "app.test", ":path", "/")
			if f, ok := r.next().(*http2.MetaHeadersFrame); !ok || f.PseudoValue("status") != want {
				t.Errorf("%v, want %s", f, want)
			}
			if x := g.observed(1); strconv.Itoa(x.Status) != want || want == "502" && x.Cause != exchange.CauseUpstreamInvalid {
				t.Errorf("observed %d, %q; want %s", x.Status, x.Cause, want)
			}
		})
	}
}
