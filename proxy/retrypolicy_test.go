package proxy

import (
	"bufio"
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

// quick is a Backoff that tests need not wait for.
const quick = time.Millisecond

// failing answers the first requests with a status, and then repeats what it gets.
func failing(first *atomic.Int32, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if first.Add(-1) >= 0 {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "not yet")
			return
		}
		_, _ = w.Write(body)
	}
}

func TestRetryOnStatus(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		var first atomic.Int32
		app := httpBackend(t, failing(&first, 503))
		n := 0
		for _, test := range []struct {
			method         string
			codes          []int
			attempts, fail int
			body           int
			want, tries    int
		}{
			{"GET", []int{500, 503}, 3, 2, 0, 200, 3},
			{"GET", []int{500, 503}, 3, 3, 0, 200, 4},
			{"GET", []int{500, 503}, 3, 4, 0, 503, 4},
			{"GET", []int{500}, 3, 1, 0, 503, 1},
			{"GET", []int{503}, 0, 1, 0, 503, 1},
			{"POST", []int{503}, 2, 2, 100, 200, 3},
			{"PUT", []int{503}, 2, 2, 20 << 10, 200, 3},
			{"POST", []int{503}, 2, 2, maxReplay, 200, 3},
			{"POST", []int{503}, 2, 2, maxReplay + 1, 503, 1}, // is not kept
			{"POST", []int{503}, 2, 0, 1 << 20, 200, 1},
		} {
			g.rules = nil
			g.route("/", app).Action.Retry = &router.Retry{Codes: test.codes, Attempts: test.attempts, Backoff: quick}
			g.apply()
			first.Store(int32(test.fail))
			sent := strings.Repeat("x", test.body)
			req, _ := http.NewRequest(test.method, g.url("/"), strings.NewReader(sent))
			res, body := g.do(req)
			n++
			what := fmt.Sprintf("%+v", test)
			if res.StatusCode != test.want {
				t.Errorf("%s: %d", what, res.StatusCode)
			}
			if res.StatusCode == 200 && body != sent || res.StatusCode == 503 && body != "not yet" {
				t.Errorf("%s: body of %d bytes", what, len(body))
			}
			if x := g.observed(n); x.Attempts != test.tries || x.Received != int64(test.body) {
				t.Errorf("%s: %d attempts, %d bytes", what, x.Attempts, x.Received)
			}
		}
	})
}

// A body that comes in pieces, with an end of unknown place and trailers, is sent again as
// well.
func TestRetryStreamedBody(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		var first atomic.Int32
		rule := g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if first.Add(-1) >= 0 {
				w.WriteHeader(500)
				return
			}
			fmt.Fprintf(w, "%s %s", body, r.Trailer.Get("X-After"))
		}))
		rule.Action.Retry = &router.Retry{Codes: []int{500}, Attempts: 3, Backoff: quick}
		g.apply()
		first.Store(2)
		reader, writer := io.Pipe()
		req, _ := http.NewRequest("POST", g.url("/"), reader)
		req.Trailer = http.Header{"X-After": nil}
		go func() {
			for _, piece := range []string{"one ", "two ", "three"} {
				_, _ = io.WriteString(writer, piece)
				time.Sleep(5 * time.Millisecond) // so that they come one by one
			}
			req.Trailer.Set("X-After", "end")
			writer.Close()
		}()
		if res, body := g.do(req); res.StatusCode != 200 || body != "one two three end" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	})
}

// An endpoint that answers before it has read the body does not keep it from being sent
// again.
func TestRetryEarlyAnswer(t *testing.T) {
	run(t, []mode{plainMode, tlsMode, h2cMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		answered := make(chan struct{})
		var first atomic.Bool
		rule := g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if first.CompareAndSwap(true, false) {
				_, _ = io.WriteString(conn, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
				close(answered)
				_, _ = in.ReadByte() // until we are dropped
				return
			}
			body, _ := io.ReadAll(req.Body)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}))
		rule.Action.Retry = &router.Retry{Codes: []int{503}, Attempts: 1, Backoff: quick}
		g.apply()
		first.Store(true)
		reader, writer := io.Pipe()
		go func() {
			_, _ = io.WriteString(writer, "one ")
			<-answered
			_, _ = io.WriteString(writer, "two")
			writer.Close()
		}()
		req, _ := http.NewRequest("POST", g.url("/"), reader)
		if res, body := g.do(req); res.StatusCode != 200 || body != "one two" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	})
}

func TestRetryTimeouts(t *testing.T) {
	runAtOnce(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		var slow atomic.Int32
		app := httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or else the server does not notice that we leave
			if slow.Add(-1) >= 0 {
				<-r.Context().Done()
			}
			w.WriteHeader(int(r.ContentLength))
		})
		attempt := g.route("/attempt", app)
		attempt.Action.BackendTimeout = 400 * time.Millisecond
		attempt.Action.Retry = &router.Retry{Attempts: 2, Backoff: quick}
		coded := g.route("/coded", app)
		coded.Action.BackendTimeout = 400 * time.Millisecond
		coded.Action.Retry = &router.Retry{Codes: []int{504}, Attempts: 2, Backoff: quick}
		whole := g.route("/whole", app)
		whole.Action.RequestTimeout = 600 * time.Millisecond
		whole.Action.Retry = &router.Retry{Codes: []int{500}, Attempts: 100, Backoff: 20 * time.Millisecond}
		g.apply()
		for i, test := range []struct {
			method, path string
			body, slow   int
			want, tries  int
		}{
			{"PUT", "/attempt", 200, 2, 200, 3},
			{"PUT", "/attempt", 200, 3, 504, 3},
			{"POST", "/attempt", 200, 1, 504, 1}, // it may have had an effect
			{"POST", "/coded", 200, 1, 200, 2},   // but then the Rule says so
			{"PUT", "/whole", 500, 0, 504, 0},
			{"PUT", "/whole", 200, 1, 504, 1},
		} {
			slow.Store(int32(test.slow))
			req, _ := http.NewRequest(test.method, g.url(test.path), strings.NewReader(strings.Repeat("x", test.body)))
			start := time.Now()
			res, _ := g.do(req)
			if x := g.observed(i + 1); res.StatusCode != test.want || test.tries > 0 && x.Attempts != test.tries {
				t.Errorf("%+v: %d after %d attempts in %v", test, res.StatusCode, x.Attempts, time.Since(start))
			}
		}
	})
}

// Connections that are refused come before everything else: any method, no codes.
func TestRetryConnect(t *testing.T) {
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		dead := deadAddress(t)
		restarting := backendAt(dead)
		rule := g.route("/", restarting)
		rule.Action.Retry = &router.Retry{Attempts: 50, Backoff: 5 * time.Millisecond}
		none := g.route("/none", backendAt(dead, deadAddress(t)))
		none.Action.Retry = &router.Retry{}
		g.apply()
		if res, _ := g.request("POST", "/none", nil); res.StatusCode != 502 || g.observed(1).Attempts != 1 {
			t.Errorf("without attempts: %d after %d", res.StatusCode, g.observed(1).Attempts)
		}
		var served sync.WaitGroup
		defer served.Wait()
		served.Go(func() {
			token := restarting.Token(restarting.Endpoints()[0])
			eventually(t, "a connection is refused", func() bool { return restarting.WithToken(token) == nil })
			listener, err := net.Listen("tcp", dead.String())
			if err != nil {
				t.Errorf("listen: %v", err)
				return
			}
			defer listener.Close()
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
		})
		if res, body := g.request("POST", "/", nil); res.StatusCode != 200 || body != "ok" || g.observed(2).Attempts < 2 {
			t.Errorf("%d %q after %d attempts", res.StatusCode, body, g.observed(2).Attempts)
		}
	})
}

// Another endpoint is asked before the same one again, and a request that was reset is
// sent again only if nothing can come of it, or the Rule says so.
func TestRetryElsewhere(t *testing.T) {
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		var at [3]atomic.Int32
		var addrs []net.Addr
		for i := range at {
			server := namedServers(t, 1)[0]
			server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				at[i].Add(1)
				if r.URL.Path == "/reset" {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(502)
			})
			addrs = append(addrs, server.Listener.Addr())
		}
		retry := g.route("/", backendAt(addrs...))
		retry.Action.Retry = &router.Retry{Codes: []int{502}, Attempts: 2, Backoff: quick}
		g.apply()
		expect := func(what string, status, most, sum int32) {
			t.Helper()
			total := int32(0)
			for i := range at {
				n := at[i].Swap(0)
				if total += n; n > most {
					t.Errorf("%s: %d requests to one endpoint", what, n)
				}
			}
			if total != sum {
				t.Errorf("%s: %d requests", what, total)
			}
		}
		res, _ := g.get("/")
		expect("statuses", int32(res.StatusCode), 1, 3)
		for _, test := range []struct {
			method string
			codes  []int
			sum    int32
		}{{"GET", nil, 3}, {"POST", nil, 1}, {"POST", []int{502}, 3}} {
			g.rules = nil
			g.route("/reset", backendAt(addrs...)).Action.Retry = &router.Retry{Codes: test.codes, Attempts: 2, Backoff: quick}
			g.apply()
			res, _ := g.request(test.method, "/reset", nil)
			expect(fmt.Sprintf("reset %+v", test), int32(res.StatusCode), 1, test.sum)
		}
	})
}

// No attempt follows for a client that has left.
func TestRetryClientLeaves(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		asked := make(chan struct{}, 10)
		rule := g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			w.WriteHeader(503)
		}))
		rule.Action.Retry = &router.Retry{Codes: []int{503}, Attempts: 9, Backoff: 200 * time.Millisecond}
		g.apply()
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		<-asked
		c.conn.Close()
		if x := g.observed(1); x.Cause != exchange.CauseClientGone || x.Attempts > 2 {
			t.Errorf("cause %q after %d attempts", x.Cause, x.Attempts)
		}
	})
}

// The connection of a response that was dropped is used again.
func TestRetryKeepsConnections(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		var connections, first atomic.Int32
		serve := failing(&first, 503)
		rule := g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			connections.Add(1)
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				w := &plainWriter{}
				serve(w, req)
				fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", max(200, w.status), w.body.Len(), w.body.String())
			}
		}))
		rule.Action.Retry = &router.Retry{Codes: []int{503}, Attempts: 9, Backoff: quick}
		g.apply()
		first.Store(8)
		if res, _ := g.get("/"); res.StatusCode != 200 || connections.Load() != 1 {
			t.Errorf("%d over %d connections", res.StatusCode, connections.Load())
		}
	})
}

// plainWriter is a response for whoever writes it himself.
type plainWriter struct {
	status int
	body   strings.Builder
}

func (w *plainWriter) Header() http.Header         { return http.Header{} }
func (w *plainWriter) WriteHeader(status int)      { w.status = status }
func (w *plainWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
