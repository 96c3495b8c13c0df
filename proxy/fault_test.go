package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// An upstream that fails before its response has begun is a 502.
func TestUpstreamFailsBeforeResponse(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		for _, test := range []struct {
			name, path, bytes string
			reset             bool
			cause             exchange.Cause
		}{
			{"closes", "/closes", "", false, exchange.CauseUpstreamReset},
			{"resets", "/resets", "", true, exchange.CauseUpstreamReset},
			{"closes in its head", "/head", "HTTP/1.1 200 OK\r\nConte", false, exchange.CauseUpstreamReset},
			{"sends garbage", "/garbage", "SSH-2.0-OpenSSH_9.2p1\r\n", false, exchange.CauseUpstreamInvalid},
			{"frames twice", "/twice", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false, exchange.CauseUpstreamInvalid},
			{"folds", "/folds", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", false, exchange.CauseUpstreamInvalid},
			{"sends a huge head", "/huge", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 100<<10) + "\r\n\r\n", false, exchange.CauseUpstreamInvalid},
		} {
			var requests atomic.Int32
			g.route(test.path, rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				requests.Add(1)
				_, _ = io.WriteString(conn, test.bytes)
				if test.reset {
					_ = conn.(*net.TCPConn).SetLinger(0)
				}
			}))
			g.apply()
			n := g.count()
			res, body := g.get(test.path)
			if res.StatusCode != 502 || body != "502 Bad Gateway\n" {
				t.Errorf("%s: %d %q", test.name, res.StatusCode, body)
			}
			if x := g.observed(n + 1); x.Cause != test.cause {
				t.Errorf("%s: cause %q, want %q", test.name, x.Cause, test.cause)
			}
			if requests.Load() != 1 {
				t.Errorf("%s: sent %d times to the only endpoint", test.name, requests.Load())
			}
		}
	})
}

// An upstream that fails in its response: the client notices.
func TestUpstreamFailsInResponse(t *testing.T) {
	runAtOnce(t, allModes, Settings{BodyTimeout: 300 * time.Millisecond}, func(t *testing.T, g *gateway) {
		for _, test := range []struct {
			name, path, bytes string
			cause             exchange.Cause
			stalls            bool
		}{
			{"short", "/short", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", exchange.CauseUpstreamReset, false},
			{"short chunks", "/chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", exchange.CauseUpstreamReset, false},
			{"bad chunk", "/bad", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n", exchange.CauseUpstreamInvalid, false},
			{"stall", "/stall", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", exchange.CauseTimeout, true},
		} {
			g.route(test.path, rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
				_, _ = http.ReadRequest(in)
				_, _ = io.WriteString(conn, test.bytes)
				if test.stalls {
					_, _ = io.Copy(io.Discard, in)
				}
			}))
			g.apply()
			for _, version := range []string{"1.1", "1.0"} {
				n := g.count()
				c := g.dial()
				c.send("GET " + test.path + " HTTP/" + version + "\r\nHost: a\r\n\r\n")
				res := c.responseHead("GET")
				body, err := io.ReadAll(res.Body)
				if res.StatusCode != 200 || string(body) != "hello" || err == nil {
					t.Errorf("%s, HTTP/%s: %d %q, error %v", test.name, version, res.StatusCode, body, err)
				}
				if x := g.observed(n + 1); x.Cause != test.cause || x.Status != 200 {
					t.Errorf("%s, HTTP/%s: observed %d %q, want %q", test.name, version, x.Status, x.Cause, test.cause)
				}
			}
		}
	})
}

// A client that has finished sending still reads, so what fails then is the upstream.
func TestUpstreamFailsAfterTheClientFinished(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		for i, test := range []struct {
			path    string
			part    int
			framing string
		}{
			{"/length", 5, "Content-Length: 1000000"},
			{"/long", 500_000, "Content-Length: 1000000"},
			{"/chunked", 5, "Transfer-Encoding: chunked"},
		} {
			finished := make(chan struct{})
			g.route(test.path, rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
				_, _ = http.ReadRequest(in)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+test.framing+"\r\n\r\n")
				part := strings.Repeat("x", test.part)
				if test.framing == "Transfer-Encoding: chunked" {
					part = chunk(part)
				}
				_, _ = io.WriteString(conn, part)
				<-finished
				_ = conn.(*net.TCPConn).SetLinger(0)
			}))
			g.apply()
			c := g.dial()
			c.send("GET " + test.path + " HTTP/1.1\r\nHost: a\r\n\r\n")
			res := c.responseHead("GET")
			if _, err := io.ReadFull(res.Body, make([]byte, test.part)); err != nil {
				t.Fatal(err)
			}
			_ = c.conn.(*net.TCPConn).CloseWrite()
			close(finished)
			if _, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("%s: the body seems whole", test.path)
			}
			if x := g.observed(i + 1); x.Cause != exchange.CauseUpstreamReset || x.Sent != int64(test.part) {
				t.Errorf("%s: cause %q after %d bytes", test.path, x.Cause, x.Sent)
			}
		}
	})
}

// A client that has finished sending waits for each answer as long as for the first, however
// long its connection, and that to the endpoint, has been in use.
func TestAnswersAfterTheClientFinished(t *testing.T) {
	runAtOnce(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		const requests, latency = 10, exchange.ProbeInterval / 8
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			for {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				time.Sleep(latency) // the endpoint's own
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		}))
		g.apply()
		c := g.dial()
		c.send(strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", requests))
		_ = c.conn.(*net.TCPConn).CloseWrite()
		for range requests {
			if res, body := c.response("GET"); res.StatusCode != 200 || body != "ok" {
				t.Fatalf("%d %q", res.StatusCode, body)
			}
		}
		c.expectEnd()
	})
}

// A body that lasts until the upstream closes has not ended when the upstream
// resets the connection.
func TestResetIsNoEnd(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		begun := make(chan struct{})
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nhalf")
			<-begun
			_ = conn.(*net.TCPConn).SetLinger(0)
		}))
		g.apply()
		for i, version := range []string{"1.1", "1.0"} {
			c := g.dial()
			c.send("GET / HTTP/" + version + "\r\nHost: a\r\n\r\n")
			res := c.responseHead("GET")
			half := make([]byte, len("half"))
			if _, err := io.ReadFull(res.Body, half); err != nil || string(half) != "half" {
				t.Fatalf("HTTP/%s: %q, %v", version, half, err)
			}
			begun <- struct{}{}
			if rest, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("HTTP/%s: half a response is complete, after %q", version, rest)
			}
			if x := g.observed(i + 1); x.Cause != exchange.CauseUpstreamReset {
				t.Errorf("HTTP/%s: cause %q", version, x.Cause)
			}
		}
	})
}

// Nor when the kernel has told of the reset in a write already.
func TestResetInAWriteIsNoEnd(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, plainMode, Settings{})
	endpoint := backendAt(listener.Addr()).Endpoints()[0]
	endpoint.AcquireConnection()
	g.server.Stats().Upstream.Add(1)
	u := g.server.pool.newH1Upstream(endpoint, near, near)
	u.borrow()
	defer u.drop()
	_, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\n\r\nhalf")
	_ = far.(*net.TCPConn).SetLinger(0)
	far.Close()
	eventually(t, "it is reset", func() bool { return broken(near) })
	now := time.Now()
	u.limit = now.Add(ample)
	_ = u.write([]byte("more"))
	if err := u.flush(); err == nil {
		t.Fatal("it takes more")
	}
	if err := u.await(now, u.limit); err != nil {
		t.Fatal(err)
	}
	var res h1.Response
	if whole, err := u.head(&res, "POST"); !whole || err != nil {
		t.Fatal(err)
	}
	if body, err := u.next(); string(body) != "half" || err != nil {
		t.Fatalf("%q, %v", body, err)
	}
	if err := u.await(now, u.limit); err == nil || u.ended {
		t.Error("half a response is complete")
	}
}

// Neither has it ended when we give the upstream up because of the request body.
func TestBadBodyIsNoEnd(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nhalf")
			_, _ = io.Copy(io.Discard, in)
		}))
		g.apply()
		c := g.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		res := c.responseHead("POST")
		half := make([]byte, len("half"))
		if _, err := io.ReadFull(res.Body, half); err != nil || string(half) != "half" {
			t.Fatalf("%q, %v", half, err)
		}
		c.send("zz\r\n")
		if rest, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("half a response is complete, after %q", rest)
		}
		if x := g.observed(1); x.Cause != exchange.CauseBadRequest {
			t.Errorf("cause %q", x.Cause)
		}
	})
}

// A client that leaves ends the upstream's connection too, whatever it waits for.
func TestClientLeaves(t *testing.T) {
	runAtOnce(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		arrived, left := make(chan struct{}, 1), make(chan struct{}, 1)
		serve := func(begin, repeat string) *router.Backend {
			return rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				_, _ = io.WriteString(conn, begin)
				arrived <- struct{}{}
				for repeat != "" {
					if _, err := io.WriteString(conn, repeat); err != nil {
						break
					}
				}
				_, _ = io.Copy(io.Discard, in)
				left <- struct{}{}
			})
		}
		g.route("/silent", serve("", ""))
		g.route("/begun", serve("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", ""))
		g.route("/endless", serve("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4000\r\n"+strings.Repeat("a", 0x4000)+"\r\n"))
		g.apply()
		for i, request := range []string{
			"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET /silent HTTP/1.1\r\nHost: a\r\n\r\nGET /pipelined HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET /begun HTTP/1.1\r\nHost: a\r\n\r\n",
			"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n",
			"POST /silent HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
			"POST /silent HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
			"POST /silent HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
		} {
			c := g.dial()
			c.send(request)
			<-arrived
			c.conn.Close()
			<-left
			if x := g.observed(i + 1); x.Cause != exchange.CauseClientGone {
				t.Errorf("%q: cause %q", request, x.Cause)
			}
		}
	})
}

func TestBadRequestBody(t *testing.T) {
	runAtOnce(t, allModes, Settings{MaxBody: 100_000, BodyTimeout: 300 * time.Millisecond}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, echo))
		g.apply()
		const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		for _, test := range []struct {
			name, first, then string
			status            int
		}{
			{"bad chunk at once", head + "x\r\n", "", 400},
			{"bad chunk later", head + "1\r\na\r\n", "x\r\n", 400},
			{"bare LF", head + "1\na\n", "", 400},
			{"too large at once", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", "", 413},
			{"too large later", head + "1\r\na\r\n", "20000\r\n" + strings.Repeat("a", 0x20000) + "\r\n", 413},
			{"stalls", head + "1\r\na\r\n", "", 408},
		} {
			c := g.dial()
			c.send(test.first)
			if test.then != "" {
				eventually(t, "the exchange waits for more", func() bool { return g.server.Stats().Upstream.Load() > g.server.Stats().UpstreamIdle.Load() })
				_, _ = io.WriteString(c.conn, test.then)
			}
			if res, _ := c.response("POST"); res.StatusCode != test.status || !res.Close {
				t.Errorf("%s: %d, close %v", test.name, res.StatusCode, res.Close)
			}
			c.conn.Close()
			eventually(t, "connection ends", func() bool { return g.server.Stats().Downstream.Load() == 0 })
		}
	})
}

// Under concurrency every response belongs to its request, even when connections
// of both sides end all the time.
func TestResponsesNeverCross(t *testing.T) {
	settings := Settings{MaxIdlePerEndpoint: 4, ReadHeaderTimeout: ample, ConnectTimeout: ample}
	runAtOnce(t, clientModes, settings, func(t *testing.T, g *gateway) {
		var count atomic.Int64
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			if count.Add(1)%7 == 0 {
				w.Header().Set("Connection", "close")
			}
			body, _ := io.ReadAll(r.Body)
			size, _ := strconv.Atoi(r.URL.Query().Get("size"))
			fmt.Fprintf(w, "%s|%s|", r.URL.Query().Get("id"), body)
			_, _ = w.Write(bytes.Repeat([]byte("."), size))
		}))
		g.apply()
		var clients sync.WaitGroup
		for n := range 16 {
			clients.Go(func() {
				for i := range 50 {
					id := fmt.Sprintf("%d-%d", n, i)
					size := (n*50 + i) * 97 % 70_000
					var payload string
					method := http.MethodGet
					if i%3 == 0 {
						method, payload = http.MethodPost, strings.Repeat(id, size/100)
					}
					req, _ := http.NewRequest(method, g.url(fmt.Sprintf("/?id=%s&size=%d", id, size)), strings.NewReader(payload))
					req.Close = (n+i)%11 == 0 // not all at once: over HTTP/2 each makes those that wait for it dial again
					res, err := g.client.Do(req)
					if err != nil {
						t.Errorf("%s: %v", id, err)
						return
					}
					body, err := io.ReadAll(res.Body)
					res.Body.Close()
					if want := id + "|" + payload + "|" + strings.Repeat(".", size); err != nil || res.StatusCode != 200 || string(body) != want {
						t.Errorf("%s: %d, %d bytes for %d, %v", id, res.StatusCode, len(body), len(want), err)
					}
				}
			})
		}
		clients.Wait()
	})
}
