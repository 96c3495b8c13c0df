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

	"github.com/lintel-dev/lintel/router"
)

// copied is what a mirror got.
type copied struct {
	line, body, trailer string
	header              http.Header
}

// mirrorOf is a Backend for copies, and what it gets.
func mirrorOf(t *testing.T) (*router.Backend, chan copied) {
	got := make(chan copied, 1000)
	return httpBackend(t, recording(got)), got
}

func recording(got chan copied) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		got <- copied{r.Method + " " + r.Host + r.RequestURI, string(body), r.Trailer.Get("X-After"), r.Header}
		w.WriteHeader(500) // which nobody gets to see
		_, _ = io.WriteString(w, "from the mirror")
	}
}

func mirrorAll(b *router.Backend) router.Mirror {
	return router.Mirror{Backend: b, Numerator: 1, Denominator: 1}
}

func TestMirror(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		main := make(chan copied, 10)
		a, gotA := mirrorOf(t)
		b, gotB := mirrorOf(t)
		c, gotC := mirrorOf(t)
		app := httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			main <- copied{r.Method + " " + r.Host + r.RequestURI, string(body), "", r.Header}
			_, _ = io.WriteString(w, "ok")
		})
		rule := g.route("/", app)
		rule.Action.RequestHeaders = &router.HeaderFilter{
			Set: []router.Field{{Name: "X-Set", Value: "1"}}, Remove: []string{"X-Remove"},
		}
		rule.Action.Mirrors = []router.Mirror{mirrorAll(a), mirrorAll(b), mirrorAll(nil), {Backend: a, Denominator: 100}}
		rule.Action.Backends[0].Mirrors = []router.Mirror{mirrorAll(c)}
		rule.Action.Backends[0].RequestHeaders = &router.HeaderFilter{Set: []router.Field{{Name: "X-Inner", Value: "2"}}}
		g.apply()
		for _, size := range []int{0, 10, 100 << 10} {
			sent := strings.Repeat("x", size)
			req, _ := http.NewRequest("POST", g.url("/path?q=1"), strings.NewReader(sent))
			req.Header.Set("X-Remove", "me")
			if res, body := g.do(req); res.StatusCode != 200 || body != "ok" {
				t.Fatalf("%d %q", res.StatusCode, body)
			}
			want := <-main
			for i, got := range []chan copied{gotA, gotB, gotC} {
				select {
				case mirrored := <-got:
					inner := ""
					if i == 2 {
						inner = "2"
					}
					h := mirrored.header
					if mirrored.line != want.line || mirrored.body != sent || h.Get("X-Set") != "1" || h.Get("X-Remove") != "" || h.Get("X-Inner") != inner ||
						h.Get("X-Request-Id") != want.header.Get("X-Request-Id") || h.Get("X-Forwarded-For") != want.header.Get("X-Forwarded-For") {
						t.Errorf("mirror %d of %d bytes: %s, %d bytes, %v", i, size, mirrored.line, len(mirrored.body), h)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("mirror %d of %d bytes: nothing", i, size)
				}
			}
		}
	})
}

func TestMirrorShare(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		var copies atomic.Int64
		mirror := httpBackend(t, func(http.ResponseWriter, *http.Request) { copies.Add(1) })
		rule := g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
		rule.Action.Mirrors = []router.Mirror{{Backend: mirror, Numerator: 25, Denominator: 50}}
		g.apply()
		for range 400 {
			g.get("/")
		}
		eventually(t, "all copies are sent", func() bool { return g.server.Stats().Mirroring.Load() == 0 })
		if n := copies.Load(); n < 140 || n > 260 { // six standard deviations
			t.Errorf("%d of 400 were copied, want about 200", n)
		}
		if n := g.server.Stats().MirrorsCut.Load(); n != 0 {
			t.Errorf("%d copies were cut", n)
		}
	})
}

// A mirror has a protocol of its own.
func TestMirrorProtocols(t *testing.T) {
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		got := make(chan copied, 10)
		rule := g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
		rule.Action.Mirrors = []router.Mirror{mirrorAll(toH2C.serve(t, recording(got)))}
		g.apply()
		reader, writer := io.Pipe()
		req, _ := http.NewRequest("PUT", g.url("/"), reader)
		req.Trailer = http.Header{"X-After": nil}
		go func() {
			for range 5 {
				_, _ = io.WriteString(writer, strings.Repeat("y", 20<<10))
			}
			req.Trailer.Set("X-After", "end")
			writer.Close()
		}()
		if res, body := g.do(req); res.StatusCode != 200 || body != "ok" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
		if mirrored := <-got; len(mirrored.body) != 100<<10 || mirrored.trailer != "end" {
			t.Errorf("%s: %d bytes, trailer %q", mirrored.line, len(mirrored.body), mirrored.trailer)
		}
	})
}

// A mirror may hang, reset, flood, refuse, or not read: no client notices, and what it
// costs is bounded.
func TestMirrorFaults(t *testing.T) {
	run(t, clientModes, Settings{DrainTimeout: 3 * time.Second}, func(t *testing.T, g *gateway) {
		stop := make(chan struct{})
		hanging := rawBackend(t, func(_ net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.Copy(io.Discard, in)
		})
		deaf := rawBackend(t, func(conn net.Conn, _ *bufio.Reader) {
			<-stop
			_ = conn.Close()
		})
		resetting := rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = in.ReadByte()
			_ = conn.(*net.TCPConn).SetLinger(0)
		})
		flooding := rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			for flood := []byte(strings.Repeat("z", 64<<10)); ; {
				if _, err := conn.Write(flood); err != nil {
					return
				}
			}
		})
		nonsense := rawBackend(t, func(conn net.Conn, in *bufio.Reader) { _, _ = io.WriteString(conn, "nonsense\r\n\r\n") })
		t.Cleanup(func() { close(stop) }) // before the Backends close
		for name, mirror := range map[string]*router.Backend{
			"hanging": hanging, "deaf": deaf, "resetting": resetting, "flooding": flooding,
			"nonsense": nonsense, "refusing": backendAt(deadAddress(t)), "empty": router.NewBackend("default/none:80"),
		} {
			rule := g.route("/"+name, httpBackend(t, echo))
			rule.Action.Mirrors = []router.Mirror{mirrorAll(mirror)}
		}
		g.apply()
		start := time.Now()
		for _, name := range []string{"hanging", "deaf", "resetting", "flooding", "nonsense", "refusing", "empty"} {
			for _, size := range []int{0, 1000, 3 << 20} {
				sent := strings.Repeat("x", size)
				req, _ := http.NewRequest("PUT", g.url("/"+name), strings.NewReader(sent))
				if res, body := g.do(req); res.StatusCode != 200 || body != sent {
					t.Errorf("%s, %d bytes: %d, %d bytes", name, size, res.StatusCode, len(body))
				}
			}
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("took %v", took)
		}
		stats := g.server.Stats()
		eventually(t, "mirrors fail", func() bool { return stats.MirrorsCut.Load() >= 7 })
		mirrors := g.server.pool.mirrors
		mirrors.mu.Lock()
		waiting := mirrors.waiting
		mirrors.mu.Unlock()
		if waiting > maxMirrorLagAll {
			t.Errorf("%d bytes wait", waiting)
		}
	})
}

// Copies to a mirror that hangs are bounded, and those to others go on.
func TestMirrorsAreBounded(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		var copies atomic.Int32
		hanging := rawBackend(t, func(_ net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) })
		fine := httpBackend(t, func(http.ResponseWriter, *http.Request) { copies.Add(1) })
		rule := g.route("/", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")))
		rule.Action.Mirrors = []router.Mirror{mirrorAll(hanging), mirrorAll(fine)}
		g.apply()
		const requests = maxMirroring + 50
		for i := range requests {
			if res, _ := g.get("/"); res.StatusCode != 200 {
				t.Fatal(res.StatusCode)
			}
			eventually(t, fmt.Sprintf("copy %d arrives", i), func() bool { return copies.Load() == int32(i+1) })
		}
		eventually(t, "copies are under way to one mirror alone", func() bool { return g.server.Stats().Mirroring.Load() == maxMirroring })
		if n := g.server.Stats().MirrorsCut.Load(); n != 50 {
			t.Errorf("%d copies were not sent", n)
		}
	})
}
