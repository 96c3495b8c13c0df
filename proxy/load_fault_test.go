package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	loadClients  = 200
	loadRequests = 5 // of each client
	// loadIdle is few, so that connections to upstreams come and go.
	loadIdle = 16
	// stallLimit is the timeout of the route whose upstream stalls.
	stallLimit = 150 * time.Millisecond
	// downloadSize takes a while to forward.
	downloadSize = 1 << 20
	// uploadSize is more than what is read together with a head, and less than what
	// the proxy reads of a body that nobody wants.
	uploadSize = 100 << 10
)

// trouble is what happens to a request. The client names it in X-Trouble.
type trouble struct {
	name     string
	path     string
	size     int         // of the payload that the client sends
	statuses []int       // that the client may get
	cut      bool        // the response is never complete
	last     bool        // the connection may end after it, without a word
	leave    func(*load) // what the client does in place of waiting for a response

	// serve is what the upstream does after it has read the head. It reports whether
	// the connection goes on.
	serve func(conn net.Conn, req *http.Request) bool
}

// text is a body that belongs to one request only: its id, again and again.
func text(id string, size int) string {
	return strings.Repeat(id+".", size/(len(id)+1)+1)[:size]
}

const answerSize = 3000

// whole is a good response to a request.
func whole(req *http.Request) string {
	return answerHead(req) + fmt.Sprintf("Content-Length: %d\r\n\r\n", answerSize) + text(req.Header.Get("X-Id"), answerSize)
}

func answerHead(req *http.Request) string {
	return "HTTP/1.1 200 OK\r\nX-Id: " + req.Header.Get("X-Id") + "\r\n"
}

// readPayload reads the body of a request, and tells whether it is all of its own.
func readPayload(req *http.Request) bool {
	body, err := io.ReadAll(req.Body)
	return err == nil && string(body) == text(req.Header.Get("X-Id"), len(body))
}

// says answers with bytes made from the request after the whole of it was read. A
// payload that belongs to another request gets a status that no client expects.
func says(bytes func(*http.Request) string) func(net.Conn, *http.Request) bool {
	return func(conn net.Conn, req *http.Request) bool {
		if !readPayload(req) {
			_, _ = io.WriteString(conn, "HTTP/1.1 599 Mixed Up\r\nContent-Length: 0\r\n\r\n")
			return false
		}
		_, err := io.WriteString(conn, bytes(req))
		return err == nil
	}
}

// thenCloses and thenResets end the connection after serve.
func thenCloses(serve func(net.Conn, *http.Request) bool) func(net.Conn, *http.Request) bool {
	return func(conn net.Conn, req *http.Request) bool {
		serve(conn, req)
		return false
	}
}

func thenResets(serve func(net.Conn, *http.Request) bool) func(net.Conn, *http.Request) bool {
	return func(conn net.Conn, req *http.Request) bool {
		serve(conn, req)
		_ = conn.(*net.TCPConn).SetLinger(0)
		return false
	}
}

// thenStalls sends nothing more until the proxy gives up.
func thenStalls(serve func(net.Conn, *http.Request) bool) func(net.Conn, *http.Request) bool {
	return func(conn net.Conn, req *http.Request) bool {
		serve(conn, req)
		_, _ = io.Copy(io.Discard, conn)
		return false
	}
}

func nothing(*http.Request) string { return "" }
func half(req *http.Request) string {
	return strings.TrimSuffix(whole(req), text(req.Header.Get("X-Id"), answerSize)[answerSize/2:])
}
func halfHead(req *http.Request) string { return answerHead(req) + "Content-Le" }
func untilClose(req *http.Request) string {
	return answerHead(req) + "\r\n" + text(req.Header.Get("X-Id"), answerSize)
}

// chunked is a response in chunks without the last.
func chunked(req *http.Request) string {
	head := answerHead(req) + "Transfer-Encoding: chunked\r\n\r\n"
	return head + fmt.Sprintf("%x\r\n%s\r\n", answerSize, text(req.Header.Get("X-Id"), answerSize))
}

// troubles are what can happen. Those that end well come more often.
func troubles() []trouble {
	ok, bad := []int{200}, []int{502}
	lasts := func(suffix string, of func(*http.Request) string) func(net.Conn, *http.Request) bool {
		return says(func(req *http.Request) string { return of(req) + suffix })
	}
	return []trouble{
		{name: "closes", statuses: bad, serve: thenCloses(says(nothing))},
		{name: "closes after upload", size: uploadSize, statuses: bad, serve: thenCloses(says(nothing))},
		{name: "closes in its head", statuses: bad, serve: thenCloses(says(halfHead))},
		{name: "closes in its body", statuses: ok, cut: true, serve: thenCloses(says(half))},
		{name: "closes in its chunks", statuses: ok, cut: true, serve: thenCloses(says(chunked))},
		{name: "resets", statuses: bad, serve: thenResets(says(nothing))},
		{name: "resets in its body", statuses: []int{200, 502}, cut: true, serve: thenResets(says(half))},
		{name: "sends garbage", statuses: bad, serve: says(func(*http.Request) string { return "\x00\xffSSH-2.0\r\n\r\n" })},
		{name: "sends two lengths", statuses: bad, serve: says(func(req *http.Request) string {
			return answerHead(req) + "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello"
		})},
		{name: "sends garbage for a chunk", statuses: []int{200, 502}, cut: true, serve: lasts("xyz\r\n", chunked)},
		{name: "stalls", path: "/stalls", statuses: []int{504}, serve: thenStalls(says(nothing))},
		{name: "stalls in its head", path: "/stalls", statuses: []int{504}, serve: thenStalls(says(halfHead))},
		{name: "stalls in its body", path: "/stalls", statuses: []int{200, 504}, cut: true, serve: thenStalls(says(half))},
		{name: "half-closes", statuses: ok, serve: func(conn net.Conn, req *http.Request) bool {
			says(untilClose)(conn, req)
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
			return false
		}},
		{name: "answers early and closes", path: "/early", size: uploadSize, statuses: []int{200, 502}, last: true, serve: func(conn net.Conn, req *http.Request) bool {
			_, _ = io.WriteString(conn, whole(req))
			return false // with the payload unread: this resets
		}},
		// The client may need longer for the rest of its upload than it is waited for.
		{name: "answers early and reads on", size: uploadSize, statuses: ok, last: true, serve: func(conn net.Conn, req *http.Request) bool {
			_, _ = io.WriteString(conn, whole(req))
			return readPayload(req)
		}},
		{name: "begins to answer early", size: uploadSize, statuses: ok, serve: func(conn net.Conn, req *http.Request) bool {
			begun, all := half(req), whole(req)
			_, _ = io.WriteString(conn, begun)
			if !readPayload(req) {
				return false
			}
			_, err := io.WriteString(conn, all[len(begun):])
			return err == nil
		}},
		{name: "answers twice", statuses: ok, serve: says(func(req *http.Request) string { return whole(req) + whole(req) })},
		{name: "hints early", statuses: ok, serve: says(func(req *http.Request) string {
			return "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + whole(req)
		})},
		{name: "closes when idle", path: "/idle", statuses: ok, serve: thenCloses(says(whole))},
		{name: "client leaves at once", leave: (*load).close, serve: thenStalls(says(nothing))},
		{name: "client resets its upload", size: -uploadSize, leave: (*load).reset, serve: says(whole)},
		{name: "client resets a download", leave: (*load).taste, serve: says(func(req *http.Request) string {
			return answerHead(req) + fmt.Sprintf("Content-Length: %d\r\n\r\n", downloadSize) + text(req.Header.Get("X-Id"), downloadSize)
		})},
		{name: "none", statuses: ok, serve: says(whole)},
		{name: "none, chunked", statuses: ok, serve: lasts("0\r\n\r\n", chunked)},
		{name: "none, upload", size: uploadSize, statuses: ok, serve: says(whole)},
	}
}

// TestFaultsUnderLoad has many clients at once meet upstreams that fail in every way,
// and leave in the middle of things. Each response belongs to its request and has the
// right status, or the client notices that it is cut; and when all is over nothing is
// left of it.
func TestFaultsUnderLoad(t *testing.T) {
	run(t, allModes, Settings{MaxIdlePerEndpoint: loadIdle, ConnectTimeout: ample}, func(t *testing.T, g *gateway) {
		all := troubles()
		serve := func(conn net.Conn, in *bufio.Reader) {
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				i := slices.IndexFunc(all, func(tr trouble) bool { return tr.name == req.Header.Get("X-Trouble") })
				if i < 0 || !all[i].serve(conn, req) {
					return
				}
			}
		}
		// Those that close connections which look as if they could be used again have
		// endpoints of their own: a POST that meets such a one is a 502. GETs are not,
		// they go to a fresh connection.
		g.route("/", rawBackend(t, serve))
		g.route("/early", rawBackend(t, serve))
		g.route("/idle", rawBackend(t, serve))
		g.route("/stalls", rawBackend(t, serve)).Action.BackendTimeout = stallLimit
		g.apply()

		settle(t, g)
		before := inUse(t, g)
		var clients sync.WaitGroup
		for n := range loadClients {
			clients.Go(func() {
				l := &load{g: g, random: rand.New(rand.NewPCG(1, uint64(n)))}
				defer l.close()
				for i := range loadRequests {
					tr := &all[len(all)-1-int(min(l.random.ExpFloat64()*8, float64(len(all)-1)))]
					if err := l.exchange(tr, fmt.Sprintf("%d-%d", n, i)); err != nil {
						t.Errorf("%s: %v", tr.name, err)
					}
				}
			})
		}
		clients.Wait()
		settle(t, g)
		if idle, limit := g.server.Stats().UpstreamIdle.Load(), int64(len(g.rules)*loadIdle); idle > limit {
			t.Errorf("%d idle connections are kept, %d allowed", idle, limit)
		}
		eventually(t, fmt.Sprintf("no more than %+v is in use", before), func() bool { return inUse(t, g).within(before) })
	})
}

// usage is what must not grow.
type usage struct{ goroutines, files, pipes int }

// settle makes one exchange, and waits until no connection is left of it and of all
// before, but for idle ones to upstreams.
func settle(t *testing.T, g *gateway) {
	t.Helper()
	l := &load{g: g, random: rand.New(rand.NewPCG(1, 1))}
	if err := l.exchange(&trouble{name: "none", statuses: []int{200}}, "settled"); err != nil {
		t.Fatal(err)
	}
	l.close()
	stats := g.server.Stats()
	eventually(t, "all connections are gone or idle", func() bool {
		return stats.Downstream.Load() == 0 && stats.Upstream.Load() == stats.UpstreamIdle.Load()
	})
}

// inUse counts the goroutines and open files of this process, which is the proxy, its
// clients and its upstreams, without those of idle connections: there a connection has
// two ends, and the upstream's has a goroutine.
func inUse(t *testing.T, g *gateway) usage {
	t.Helper()
	runtime.GC() // it closes the pipes that package net keeps for splice(2)
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc")
	}
	idle := int(g.server.Stats().UpstreamIdle.Load())
	u := usage{goroutines: runtime.NumGoroutine() - idle, files: -2 * idle}
	for _, file := range open {
		if name, err := os.Readlink("/proc/self/fd/" + file.Name()); err == nil && strings.HasPrefix(name, "pipe:") {
			u.pipes++
		} else {
			u.files++
		}
	}
	return u
}

// within tells whether no more is in use than before, but for the one pipe that the
// event loop may keep, which has two ends.
func (u usage) within(before usage) bool {
	return u.goroutines <= before.goroutines && u.files <= before.files && u.pipes <= before.pipes+2
}

// load is a client with one connection at a time.
type load struct {
	g      *gateway
	random *rand.Rand
	conn   net.Conn
	wire   *net.TCPConn // conn, or what is below its TLS
	in     *bufio.Reader
}

func (l *load) connect() error {
	if l.conn != nil {
		return nil
	}
	conn, err := net.Dial("tcp", l.g.address())
	if err != nil {
		return err
	}
	l.conn, l.wire = conn, conn.(*net.TCPConn)
	if l.g.mode.tls {
		l.conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "app.test"})
	}
	l.in = bufio.NewReader(l.conn)
	return nil
}

func (l *load) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

func (l *load) reset() {
	_ = l.wire.SetLinger(0)
	l.wire.Close()
	l.conn = nil
}

// taste reads the beginning of a response before it goes.
func (l *load) taste() {
	_, _ = l.in.Discard(100)
	l.reset()
}

// exchange sends a request that meets the trouble, and checks what comes back.
func (l *load) exchange(tr *trouble, id string) error {
	if err := l.connect(); err != nil {
		return err
	}
	_ = l.conn.SetDeadline(time.Now().Add(ample))
	sent := l.send(tr, id)
	if tr.leave != nil {
		<-sent
		tr.leave(l)
		return nil
	}
	complete, err := l.receive(tr, id)
	if writeErr := <-sent; !complete || err != nil || writeErr != nil || tr.last {
		l.close()
	}
	return err
}

// send sends a request while its response may already come. The channel gets the
// outcome.
func (l *load) send(tr *trouble, id string) <-chan error {
	method, framing, body := "GET", "", ""
	size := max(tr.size, -tr.size/2) // a negative one is sent by half
	if size > 0 {
		method = "POST"
		if body = text(id, size); l.random.IntN(2) == 0 || tr.size < 0 {
			framing = fmt.Sprintf("Content-Length: %d\r\n", max(tr.size, -tr.size))
		} else {
			framing = "Transfer-Encoding: chunked\r\n"
			body = strconv.FormatInt(int64(size), 16) + "\r\n" + body + "\r\n0\r\n\r\n"
		}
	}
	head := fmt.Sprintf("%s %s/ HTTP/1.1\r\nHost: a\r\nX-Id: %s\r\nX-Trouble: %s\r\n%s\r\n", method, tr.path, id, tr.name, framing)
	sent := make(chan error, 1)
	conn := l.conn
	go func() {
		_, err := io.WriteString(conn, head+body)
		sent <- err
	}()
	return sent
}

// receive reads the response, and reports whether another can follow on the
// connection.
func (l *load) receive(tr *trouble, id string) (complete bool, err error) {
	var res *http.Response
	for res == nil || res.StatusCode < 200 {
		if res, err = http.ReadResponse(l.in, nil); err != nil {
			return false, fmt.Errorf("read response: %w", err)
		}
	}
	body, err := io.ReadAll(res.Body)
	if !slices.Contains(tr.statuses, res.StatusCode) {
		return false, fmt.Errorf("got %d, want %v", res.StatusCode, tr.statuses)
	}
	if res.StatusCode != http.StatusOK {
		return !res.Close, err
	}
	want := text(id, answerSize)
	switch got := res.Header.Get("X-Id"); {
	case got != id:
		return false, fmt.Errorf("the response to %s has come to %s", got, id)
	case !strings.HasPrefix(want, string(body)):
		return false, fmt.Errorf("%d bytes of body are not those of %s", len(body), id)
	case tr.cut && err == nil:
		return false, errors.New("a response that was cut seems complete")
	case !tr.cut && (err != nil || len(body) != len(want)):
		return false, fmt.Errorf("%d of %d bytes: %w", len(body), len(want), err)
	}
	return !tr.cut && !res.Close, nil
}
