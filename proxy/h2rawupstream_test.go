package proxy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// rawH2Endpoint is a connection of an endpoint that sends frames of the test's choice.
type rawH2Endpoint struct {
	conn   net.Conn
	frames *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
	nth    int // connection, from 1
}

// rawH2Backend is a Backend whose one endpoint serves each connection by serve, after the
// prefaces of both sides.
func rawH2Backend(t testing.TB, serve func(*rawH2Endpoint), settings ...http2.Setting) *router.Backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	var conns sync.Map
	served.Go(func() {
		for nth := 1; ; nth++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, nil)
			served.Go(func() {
				defer conn.Close()
				e := &rawH2Endpoint{conn: conn, frames: http2.NewFramer(conn, conn), nth: nth}
				e.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				e.hpack = hpack.NewEncoder(&e.block)
				if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err == nil && e.frames.WriteSettings(settings...) == nil {
					serve(e)
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		conns.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
		served.Wait()
	})
	return h2cBackendAt(listener.Addr())
}

// next returns the next frame that is about a stream; nil when the connection has ended.
func (e *rawH2Endpoint) next() http2.Frame {
	for {
		frame, err := e.frames.ReadFrame()
		if err != nil {
			return nil
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = e.frames.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = e.frames.WritePing(true, f.Data)
			}
		case *http2.WindowUpdateFrame, *http2.GoAwayFrame:
		default:
			return frame
		}
	}
}

// request reads to the end of the next request, and returns its stream; 0 when the
// connection has ended.
func (e *rawH2Endpoint) request() uint32 {
	for {
		switch f := e.next().(type) {
		case nil:
			return 0
		case *http2.MetaHeadersFrame:
			if f.StreamEnded() {
				return f.StreamID
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return f.StreamID
			}
		}
	}
}

// head sends a head of names and values.
func (e *rawH2Endpoint) head(stream uint32, ends http2.Flags, pairs ...string) {
	e.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = e.hpack.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	_ = e.frames.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: e.block.Bytes(), EndHeaders: true, EndStream: ends.Has(endStream),
	})
}

// post makes a request that is not idempotent.
func (g *gateway) post(body string) (*http.Response, string) {
	req, _ := http.NewRequest(http.MethodPost, g.url("/"), strings.NewReader(body))
	return g.do(req)
}

// What an endpoint has surely not acted on goes there again, whatever the method: a stream
// that it refuses, and those that its GOAWAY leaves out.
func TestRefusedStreamsAreRepeated(t *testing.T) {
	for name, refuse := range map[string]func(*rawH2Endpoint, uint32){
		"REFUSED_STREAM": func(e *rawH2Endpoint, stream uint32) {
			_ = e.frames.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		},
		"GOAWAY": func(e *rawH2Endpoint, stream uint32) {
			_ = e.frames.WriteGoAway(stream-2, http2.ErrCodeNo, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
				var refused atomic.Int64
				g.route("/", rawH2Backend(t, func(e *rawH2Endpoint) {
					for n := 0; ; n++ {
						stream := e.request()
						if stream == 0 {
							return
						}
						if n == 1 && e.nth == 1 {
							refused.Add(1)
							refuse(e, stream)
							continue
						}
						e.head(stream, endStream, ":status", "200")
					}
				}))
				g.apply()
				for range 3 {
					if res, _ := g.post(""); res.StatusCode != http.StatusOK {
						t.Errorf("%d", res.StatusCode)
					}
				}
				if refused.Load() != 1 {
					t.Errorf("refused %d times", refused.Load())
				}
			})
		})
	}
}

// An endpoint that refuses everything is not asked for ever.
func TestEndpointThatRefusesAll(t *testing.T) {
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawH2Backend(t, func(e *rawH2Endpoint) {
			for stream := e.request(); stream != 0; stream = e.request() {
				_ = e.frames.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
			}
		}))
		g.apply()
		if res, _ := g.post(""); res.StatusCode != http.StatusBadGateway {
			t.Errorf("%d", res.StatusCode)
		}
		if x := g.observed(1); x.Cause != exchange.CauseUpstreamReset || x.Attempts != maxUnsent {
			t.Errorf("cause %q after %d attempts", x.Cause, x.Attempts)
		}
	})
}

// A stream that was reset may have had an effect: only an idempotent request is repeated,
// and only on a connection that had served before or at another endpoint.
func TestResetStreams(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawH2Backend(t, func(e *rawH2Endpoint) {
			for n := 0; ; n++ {
				stream := e.request()
				switch {
				case stream == 0:
					return
				case n%2 == 1:
					_ = e.frames.WriteRSTStream(stream, http2.ErrCodeInternal)
				default:
					e.head(stream, endStream, ":status", "200")
				}
			}
		}))
		g.apply()
		if res, _ := g.get("/"); res.StatusCode != http.StatusOK {
			t.Errorf("first: %d", res.StatusCode)
		}
		if res, _ := g.get("/"); res.StatusCode != http.StatusOK {
			t.Errorf("idempotent: %d", res.StatusCode)
		}
		if res, _ := g.post(""); res.StatusCode != http.StatusBadGateway {
			t.Errorf("not idempotent: %d", res.StatusCode)
		}
		if x := g.observed(3); x.Cause != exchange.CauseUpstreamReset || x.Attempts != 1 {
			t.Errorf("cause %q after %d attempts", x.Cause, x.Attempts)
		}
	})
}

// What is malformed reaches no client, before its head is there and behind it.
func TestMalformedResponsesOverH2(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawH2Backend(t, func(e *rawH2Endpoint) {
			for n := 0; ; n++ {
				stream := e.request()
				if stream == 0 {
					return
				}
				switch n {
				case 0:
					e.head(stream, 0, ":status", "200", "connection", "close")
				case 1:
					e.head(stream, 0, ":status", "200", "content-length", "3")
					_ = e.frames.WriteData(stream, true, []byte("four"))
				default:
					e.head(stream, endStream, ":status", "204")
				}
			}
		}))
		g.apply()
		if res, _ := g.get("/"); res.StatusCode != http.StatusBadGateway {
			t.Errorf("%d", res.StatusCode)
		}
		if x := g.observed(1); x.Cause != exchange.CauseUpstreamInvalid {
			t.Errorf("cause %q", x.Cause)
		}
		if res, err := g.client.Get(g.url("/")); err == nil {
			if body, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("%d %q looks complete", res.StatusCode, body)
			}
			res.Body.Close()
		}
		if res, _ := g.get("/"); res.StatusCode != http.StatusNoContent {
			t.Errorf("the connection does not go on: %d", res.StatusCode)
		}
	})
}

// A connection has served before if all that it brought was malformed, or a reset: an idempotent
// request that meets its end goes over a new one.
func TestEndOfConnectionThatServedIll(t *testing.T) {
	for name, answer := range map[string]func(*rawH2Endpoint, uint32){
		"malformed": func(e *rawH2Endpoint, stream uint32) { e.head(stream, 0, ":status", "200", "connection", "close") },
		"reset":     func(e *rawH2Endpoint, stream uint32) { _ = e.frames.WriteRSTStream(stream, http2.ErrCodeInternal) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
				g.route("/", rawH2Backend(t, func(e *rawH2Endpoint) {
					if e.nth == 1 {
						answer(e, e.request())
						e.request()
						return
					}
					for stream := e.request(); stream != 0; stream = e.request() {
						e.head(stream, endStream, ":status", "204")
					}
				}))
				g.apply()
				for _, want := range []int{http.StatusBadGateway, http.StatusNoContent} {
					if res, _ := g.get("/"); res.StatusCode != want {
						t.Errorf("%d, want %d", res.StatusCode, want)
					}
				}
			})
		})
	}
}

// Exchanges keep to the number of streams that an endpoint allows: the others go over more
// connections, and none is lost.
func TestEndpointWithFewStreams(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		var conns sync.Map
		server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			conns.Store(r.RemoteAddr, nil)
			time.Sleep(time.Millisecond)
		}), Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 2}}
		server.Protocols.SetUnencryptedHTTP2(true)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { server.Close() })
		g.route("/", h2cBackendAt(listener.Addr()))
		g.apply()
		g.get("/") // the endpoint's settings are known from then on
		var group sync.WaitGroup
		for range 12 {
			group.Go(func() {
				for range 4 {
					if res, _ := g.post(""); res.StatusCode != http.StatusOK {
						t.Errorf("%d", res.StatusCode)
					}
				}
			})
		}
		group.Wait()
		connections := 0
		conns.Range(func(_, _ any) bool { connections++; return true })
		if connections < 2 || connections > 12 {
			t.Errorf("%d connections", connections)
		}
	})
}

// A body waits at an endpoint's window, and what the client has not taken keeps an endpoint
// from sending more: memory is bounded both ways.
func TestWindowsOfEndpoints(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		const size = 100 << 10
		held, room := make(chan int), make(chan struct{})
		sent := make(chan int, 1)
		g.route("/", rawH2Backend(t, func(e *rawH2Endpoint) {
			got, stream := 0, e.request() // after which the settings are known
			e.head(stream, endStream, ":status", "204")
			for ended := false; !ended; {
				switch f := e.next().(type) {
				case nil:
					return
				case *http2.MetaHeadersFrame:
					stream = f.StreamID
				case *http2.DataFrame:
					got += len(f.Data())
					ended = f.StreamEnded()
					if got == 10 && !ended {
						held <- got
						<-room
						_ = e.frames.WriteWindowUpdate(stream, size)
						_ = e.frames.WriteWindowUpdate(0, size)
					}
				}
			}
			e.head(stream, 0, ":status", "200")
			n := 0
			window := 64 << 10
			for range window / (16 << 10) { // as much as the gateway may have to hold
				_ = e.frames.WriteData(stream, false, make([]byte, 16<<10))
				n += 16 << 10
			}
			sent <- n
			e.next()
		}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}))
		g.apply()
		g.get("/")
		r := g.dialH2(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
		r.head(1, 0, ":method", "POST", ":scheme", "http", ":authority", "app.test", ":path", "/")
		const piece = 10 << 10
		for range size / piece {
			r.must(r.frames.WriteData(1, false, make([]byte, piece)))
		}
		r.must(r.frames.WriteData(1, true, nil))
		if got := <-held; got != 10 {
			t.Errorf("%d bytes in a window of 10", got)
		}
		close(room)
		if n := <-sent; n != 64<<10 {
			t.Errorf("the endpoint sent %d bytes", n)
		}
		if status := r.status(1); status != "200" {
			t.Errorf("%s", status)
		}
		if got := r.payload(1, 100); len(got) != 100 {
			t.Errorf("%d bytes in a window of 100", len(got))
		}
		r.must(r.frames.WriteWindowUpdate(1, 50))
		if got := r.payload(1, 50); len(got) != 50 {
			t.Errorf("%d more bytes in a window of 50", len(got))
		}
		r.must(r.frames.WriteRSTStream(1, http2.ErrCodeCancel))
	})
}
