//go:build linux

package loop

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h2"
	"github.com/lintel-dev/lintel/router"
)

// fickle answers with the request's path, and now and then fails in the middle.
func fickle(conn net.Conn, in *bufio.Reader) {
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		answer := req.URL.Path + strings.Repeat(".", 100_000*rand.IntN(2)) + string(body)
		switch rand.IntN(12) {
		case 0: // closes without a word
			return
		case 1: // resets in the body
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer)+10, answer)
			tcp, _ := conn.(*net.TCPConn)
			_ = tcp.SetLinger(0)
			return
		case 2: // closes behind a response that says nothing of it
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
			return
		case 3:
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(answer), answer)
		default:
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
		}
	}
}

// Connections that come and go all the time, on both sides and in the middle of
// everything, never see what is another's, and leave nothing behind: descriptor numbers
// are used again at once.
func TestNothingCrossesAndNothingStays(t *testing.T) {
	before := descriptors(t)
	r := newRig(t, fickle)
	var clients sync.WaitGroup
	var whole atomic.Int64
	for n := range 16 {
		clients.Go(func() {
			for i := range 60 {
				conn, err := net.Dial("tcp", r.address())
				if err != nil {
					t.Errorf("dial: %v", err)
					return
				}
				whole.Add(int64(converse(t, conn, fmt.Sprintf("/%d-%d-", n, i))))
				conn.Close()
			}
		})
	}
	clients.Wait()
	if whole.Load() < 500 {
		t.Errorf("%d whole responses", whole.Load())
	}
	r.end()
	if down, up, idle := r.stats.Downstream.Load(), r.stats.Upstream.Load(), r.stats.UpstreamIdle.Load(); down|up|idle != 0 {
		t.Errorf("%d client and %d upstream connections left, %d idle", down, up, idle)
	}
	if r.closed.Load() != 16*60 {
		t.Errorf("told of the end of %d connections", r.closed.Load())
	}
	for end := time.Now().Add(10 * time.Second); descriptors(t) > before+1; { // the backend's listener
		if time.Now().After(end) {
			t.Fatalf("%d descriptors, %d before", descriptors(t), before)
		}
		time.Sleep(time.Millisecond)
	}
}

// converse sends some requests and returns how many whole responses came.
func converse(t *testing.T, conn net.Conn, path string) (whole int) {
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(conn)
	for i := range 1 + rand.IntN(4) {
		path := fmt.Sprintf("%s%d", path, i)
		request := "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"
		if rand.IntN(3) == 0 {
			request = "PUT " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n" + "body"
		}
		if rand.IntN(6) == 0 { // leaves in the middle of a request
			_, _ = io.WriteString(conn, request[:rand.IntN(len(request))])
			return whole
		}
		if _, err := io.WriteString(conn, request); err != nil {
			return whole
		}
		if rand.IntN(6) == 0 { // leaves before the response
			return whole
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return whole
		}
		body, err := io.ReadAll(res.Body)
		if res.StatusCode == http.StatusOK && !strings.HasPrefix(string(body), path) {
			t.Errorf("%s got %.40q", path, body)
		}
		if err != nil || res.Close {
			return whole
		}
		whole++
	}
	return whole
}

// What cannot be served is handed over with every byte that was read.
func TestHandsOverWithAllBytes(t *testing.T) {
	r := newRig(t, fickle)
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly bytes",
		"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nearly bytes",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbo",
	} {
		r.handsOver(request)
	}
	special := newRig(t, fickle, func(a *router.Action) { a.Retry = &router.Retry{Attempts: 1} })
	special.handsOver(h2.Preface)
}

// HTTP/2 in the clear stays where all rules are plain, however its preface comes.
func TestPrefaceIsServed(t *testing.T) {
	r := newRig(t, fickle)
	for _, cut := range []int{len(h2.Preface), 1, 4, len(h2.Preface) - 1} {
		conn := r.dial()
		for _, part := range []string{h2.Preface[:cut], h2.Preface[cut:] + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"} {
			if _, err := io.WriteString(conn, part); err != nil {
				t.Fatal(err)
			}
		}
		header := make([]byte, 9)
		if _, err := io.ReadFull(conn, header); err != nil || header[3] != 4 {
			t.Errorf("cut at %d: %x, %v", cut, header, err)
		}
		conn.Close()
	}
	if len(r.handed) > 0 {
		t.Error("a connection was handed over")
	}
}

// A client that sends many requests at once does not keep others waiting, and gets
// its answers in order.
func TestPipelining(t *testing.T) {
	r := newRig(t, echoing(0))
	const requests = 2000
	conn := r.dial()
	var sending sync.WaitGroup
	sending.Go(func() {
		var all strings.Builder
		for i := range requests {
			fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		}
		if _, err := io.WriteString(conn, all.String()); err != nil {
			t.Error(err)
		}
	})
	in := bufio.NewReader(conn)
	for i := range requests {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != fmt.Sprintf("/%d", i) {
			t.Fatalf("response %d: %q, %v", i, body, err)
		}
	}
	sending.Wait()
}

// After Run a connection is closed, not kept.
func TestServeAfterTheEnd(t *testing.T) {
	r := newRig(t, fickle)
	r.end()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.group.Serve(Incoming{FD: pair[0], Socket: r})
	if n, err := unix.Read(pair[1], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	unix.Close(pair[1])
	if r.closed.Load() != 1 {
		t.Errorf("told of the end of %d connections", r.closed.Load())
	}
	r.group.Drain(nil)
	r.group.Abort(nil)
}

// While others are busy one loop is told from time to time, not of each exchange.
func TestBusyTellsOneLoopNowAndThen(t *testing.T) {
	g, err := New(Config{Settings: new(exchange.Settings), Loops: 2, Stats: new(exchange.Stats)})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range g.loops {
		l.keeps = true
		defer l.free()
	}
	told := 0
	for at := time.Duration(0); at <= 4*keepFor; at += keepFor / 100 {
		g.Busy(g.begin.Add(at))
		calls, _ := g.loops[0].box.take()
		for _, call := range calls {
			g.loops[0].now = int64(at)
			call()
		}
		told += len(calls)
		g.loops[0].box.done()
		if heard := g.loops[0].heard; int64(at)-heard > int64(keepFor)/2 {
			t.Fatalf("after %v the loop was told %v ago", at, at-time.Duration(heard))
		}
	}
	if told > 8 {
		t.Errorf("told %d times in %v", told, 4*keepFor)
	}
	if calls, _ := g.loops[1].box.take(); len(calls) > 0 {
		t.Error("the other loop was told, too")
	}
}
