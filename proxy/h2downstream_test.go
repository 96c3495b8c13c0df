package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// What HTTP/1.1 would read as something else than it is never gets there (RFC 9113
// §8.2.1, §8.2.2, §10.3).
func TestInjectionFromH2(t *testing.T) {
	get := []string{":method", "GET", ":scheme", "http", ":authority", "app.test", ":path", "/"}
	with := func(more ...string) []string { return append(append([]string(nil), get...), more...) }
	instead := func(name, value string) []string {
		pairs := append([]string(nil), get...)
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				pairs[i+1] = value
			}
		}
		return pairs
	}
	heads := map[string][]string{
		"CRLF in a value":            with("x", "a\r\nx-evil: 1"),
		"LF in a value":              with("x", "a\nx-evil: 1"),
		"CR in a value":              with("x", "a\rb"),
		"NUL in a value":             with("x", "a\x00b"),
		"space at the end":           with("x", "a "),
		"CRLF in a name":             with("x: 1\r\nx-evil", "1"),
		"colon in a name":            with("x:y", "1"),
		"colon before a name":        with(":x", "1"),
		"space in a name":            with("x y", "1"),
		"upper case in a name":       with("X", "1"),
		"empty name":                 with("", "1"),
		"transfer-encoding":          with("transfer-encoding", "chunked"),
		"connection":                 with("connection", "close"),
		"keep-alive":                 with("keep-alive", "timeout=5"),
		"proxy-connection":           with("proxy-connection", "close"),
		"upgrade":                    with("upgrade", "websocket"),
		"te":                         with("te", "chunked"),
		"te and more":                with("te", "trailers, chunked"),
		"CRLF in the method":         instead(":method", "GET / HTTP/1.1\r\nx-evil: 1\r\n\r\nGET"),
		"space in the method":        instead(":method", "GET /admin"),
		"CRLF in the path":           instead(":path", "/ HTTP/1.1\r\nx-evil: 1\r\n\r\n"),
		"space in the path":          instead(":path", "/ HTTP/1.1"),
		"fragment in the path":       instead(":path", "/#a"),
		"path without a slash":       instead(":path", "admin"),
		"absolute path":              instead(":path", "http://app.test/"),
		"empty path":                 instead(":path", ""),
		"CRLF in the authority":      instead(":authority", "app.test\r\nx-evil: 1"),
		"user in the authority":      instead(":authority", "user@app.test"),
		"path in the authority":      instead(":authority", "app.test/x"),
		"unlike host":                with("host", "other.test"),
		"two hosts":                  with("host", "app.test", "host", "app.test"),
		"two methods":                append([]string{":method", "POST"}, get...),
		"two paths":                  append([]string{":path", "/other"}, get...),
		"two authorities":            append([]string{":authority", "other.test"}, get...),
		"pseudo-header field behind": with("x", "1", ":path", "/other"),
		"status":                     append([]string{":status", "200"}, get...),
		"no authority":               {":method", "GET", ":scheme", "http", ":path", "/"},
		"no path":                    {":method", "GET", ":scheme", "http", ":authority", "app.test"},
		"no scheme":                  {":method", "GET", ":authority", "app.test", ":path", "/"},
		"length without a body":      with("content-length", "5"),
		"two lengths":                with("content-length", "0", "content-length", "0"),
		"list of lengths":            with("content-length", "0, 0"),
		"length with a sign":         with("content-length", "+0"),
		"CONNECT":                    {":method", "CONNECT", ":authority", "app.test:443"},
		"CONNECT for what is none":   append([]string{":protocol", "no such"}, instead(":method", "CONNECT")...),
		"protocol without CONNECT":   append([]string{":protocol", "websocket"}, get...),
		"long path":                  instead(":path", "/"+strings.Repeat("x", h1.DefaultLimits().Line)),
		"many fields":                with(strings.Split(strings.Repeat("x,y,", h1.DefaultLimits().Fields+1), ",")[:2*h1.DefaultLimits().Fields+2]...),
	}
	for name, head := range heads {
		t.Run(name, func(t *testing.T) {
			runAtOnce(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
				var arrived atomic.Int64
				g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) { arrived.Add(1) }))
				g.apply()
				r := g.dialH2()
				r.head(1, endStream, head...)
				switch f := r.next().(type) {
				case *http2.MetaHeadersFrame:
					if status := f.PseudoValue("status"); !strings.HasPrefix(status, "4") && status != "501" {
						t.Errorf("answered %s", status)
					}
				case *http2.RSTStreamFrame:
					if f.ErrCode != http2.ErrCodeProtocol {
						t.Errorf("reset: %v", f.ErrCode)
					}
				case *http2.GoAwayFrame, nil:
				default:
					t.Errorf("%v", f)
				}
				if n := arrived.Load(); n > 0 {
					t.Errorf("%d requests reach the upstream", n)
				}
			})
		})
	}
}

// Payload that is not as long as the head says breaks the exchange off.
func TestLengthMismatchFromH2(t *testing.T) {
	for name, body := range map[string]string{"too long": "123456", "too short": "1234"} {
		t.Run(name, func(t *testing.T) {
			run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
				var whole atomic.Int64
				g.route("/", httpBackend(t, func(_ http.ResponseWriter, r *http.Request) {
					if _, err := io.ReadAll(r.Body); err == nil {
						whole.Add(1)
					}
				}))
				g.apply()
				r := g.dialH2()
				r.head(1, 0, ":method", "POST", ":scheme", "http", ":authority", "app.test", ":path", "/", "content-length", "5")
				r.must(r.frames.WriteData(1, true, []byte(body)))
				if f, ok := r.next().(*http2.RSTStreamFrame); !ok || f.ErrCode != http2.ErrCodeProtocol {
					t.Errorf("%v", f)
				}
				g.observed(1)
				if n := whole.Load(); n > 0 {
					t.Error("the upstream has got a whole request")
				}
				r.get(3, "/")
				if s := r.status(3); s != "200" {
					t.Errorf("the next request: %s", s)
				}
			})
		})
	}
}

// A client that does not read holds up its own stream, and makes us hold no more than
// the windows; others go on.
func TestSlowReaderOverH2(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		var written atomic.Int64
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/small" {
				_, _ = io.WriteString(w, "ok")
				return
			}
			piece := make([]byte, 64<<10)
			for r.Context().Err() == nil {
				n, err := w.Write(piece)
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		}))
		g.apply()
		r := g.dialH2()
		r.get(1, "/large")
		if s := r.status(1); s != "200" {
			t.Fatal(s)
		}
		if n := len(r.payload(1, 65535)); n != 65535 {
			t.Fatalf("%d bytes in a window of 65535", n)
		}
		last := int64(-1)
		eventually(t, "the upstream has to wait", func() bool {
			before := last
			last = written.Load()
			time.Sleep(20 * time.Millisecond)
			return last == before
		})
		if last > 16<<20 { // socket buffers, mostly
			t.Errorf("%d bytes were taken from the upstream", last)
		}
		r.must(r.frames.WriteWindowUpdate(0, 1<<20))
		r.get(3, "/small")
		if s, body := r.status(3), r.body(3); s != "200" || body != "ok" {
			t.Errorf("%s %q", s, body)
		}
		r.must(r.frames.WriteRSTStream(1, http2.ErrCodeCancel))
		small := g.observed(2)
		if large := g.observed(1); large.Cause != exchange.CauseClientGone || small.Cause != exchange.CauseNone {
			t.Errorf("causes %q, %q", large.Cause, small.Cause)
		}
	})
}

// A client that asks on and on, and reads nothing, is not read from any more: answers
// without payload know no window that would stop them.
func TestDeafClientOverH2(t *testing.T) {
	const head, batch, enough = 8 << 10, 32, 4000 // 32 MiB of heads, more than sockets hold
	runAtOnce(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		var asked atomic.Int64
		g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.Header().Set("Large", strings.Repeat("x", head))
			w.WriteHeader(http.StatusNoContent)
		}))
		g.apply()
		r := g.dialH2()
		for id := uint32(1); ; {
			sent := asked.Load() + batch
			for range batch {
				r.get(id, "/")
				id += 2
			}
			for since := time.Now(); asked.Load() < sent; time.Sleep(time.Millisecond) {
				if time.Since(since) > 2*time.Second {
					return
				}
			}
			if sent > enough {
				t.Fatalf("%d answers of %d bytes wait for the client", sent, head)
			}
		}
	})
}

// A client that resets its request takes it away from the upstream at once.
func TestResetMidBodyOverH2(t *testing.T) {
	runAtOnce(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		arrived, gone := make(chan struct{}), make(chan error)
		g.route("/", httpBackend(t, func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadFull(r.Body, make([]byte, 5)); err != nil {
				t.Error(err)
			}
			close(arrived)
			_, err := io.ReadAll(r.Body)
			gone <- err
		}))
		g.apply()
		r := g.dialH2()
		r.head(1, 0, ":method", "POST", ":scheme", "http", ":authority", "app.test", ":path", "/")
		r.must(r.frames.WriteData(1, false, []byte("hello")))
		<-arrived
		r.must(r.frames.WriteRSTStream(1, http2.ErrCodeCancel))
		if err := <-gone; err == nil {
			t.Error("the upstream takes the body for complete")
		}
		if x := g.observed(1); x.Cause != exchange.CauseClientGone || x.Protocol != "HTTP/2.0" {
			t.Errorf("cause %q, %s", x.Cause, x.Protocol)
		}
	})
}

// Resetting streams as fast as they can be opened ends the connection, and leaves
// nothing behind.
func TestRapidResetOverH2(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		g.apply()
		r := g.dialH2()
		go func() {
			for id := uint32(1); id < 1<<14; id += 2 {
				r.block.Reset()
				for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "app.test"}, {":path", "/"}} {
					_ = r.hpack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
				}
				if r.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.block.Bytes(), EndHeaders: true, EndStream: true}) != nil ||
					r.frames.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return
				}
			}
			_ = r.conn.(closeWriter).CloseWrite() // where streams end slowly most are refused, which costs nothing
		}()
		for {
			frame, err := r.frames.ReadFrame()
			if err != nil {
				break // it may be a reset, with the flood still coming
			}
			if f, ok := frame.(*http2.GoAwayFrame); ok && f.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("%v", f)
			}
		}
	})
}

// Interim responses reach the client, and the 100 that it waits for.
func TestInterimOverH2(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
			body, _ := io.ReadAll(req.Body)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}))
		g.apply()
		r := g.dialH2()
		r.head(1, 0, ":method", "POST", ":scheme", "http", ":authority", "app.test", ":path", "/", "expect", "100-continue")
		if s := r.status(1); s != "103" {
			t.Errorf("%s", s)
		}
		if s := r.status(1); s != "100" {
			t.Errorf("%s", s)
		}
		r.must(r.frames.WriteData(1, true, []byte("hello")))
		if s, body := r.status(1), r.body(1); s != "200" || body != "hello" {
			t.Errorf("%s %q", s, body)
		}
	})
}

// Both protocols are found on a plain socket by how the client begins, in pieces too.
func TestPrefaceInPieces(t *testing.T) {
	run(t, []mode{h2cMode}, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
		g.apply()
		conn, err := net.Dial("tcp", g.address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, b := range []byte(http2.ClientPreface) {
			_, _ = conn.Write([]byte{b})
		}
		frames := http2.NewFramer(conn, conn)
		if f, err := frames.ReadFrame(); err != nil || f.Header().Type != http2.FrameSettings {
			t.Errorf("%v, %v", f, err)
		}
	})
}

// BenchmarkProxyH2 is [BenchmarkProxy] over HTTP/2, with many streams at a time.
func BenchmarkProxyH2(b *testing.B) {
	for _, m := range rawH2Modes {
		for _, streams := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", m.name, streams), func(b *testing.B) {
				g := newGateway(b, m, Settings{Lane: exchange.LaneFull})
				g.server.settings.Observe = nil
				g.route("/", minimalBackend(b, 1024))
				g.apply()
				r := g.dialH2()
				r.must(r.frames.WriteWindowUpdate(0, 1<<30))
				r.frames.ReadMetaHeaders = nil
				r.frames.SetReuseFrames()
				_ = r.conn.SetDeadline(time.Time{})
				b.ReportAllocs()
				next, open := uint32(1), 0
				for done := 0; done < b.N; {
					for ; open < streams && done+open < b.N; open++ {
						r.get(next, "/", "user-agent", "bench", "accept", "*/*")
						next += 2
					}
					frame, err := r.frames.ReadFrame()
					r.must(err)
					if data, ok := frame.(*http2.DataFrame); ok && data.StreamEnded() {
						done++
						open--
					}
				}
			})
		}
	}
}
