package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

const (
	plannedClients = 24
	plannedBatches = 5 // of requests that a client sends in one piece
)

// planned is an exchange that goes wrong, or not, as its number tells: client and upstream
// make the same plan of it.
type planned struct {
	number  uint64
	size    int    // of the response's body
	framing string // the field that says so, or none
	posts   int    // size of the request's body, 0 for GET
	early   bool   // the response comes before the upstream reads that
	ends    string // how the upstream does at the byte at of its response: "" is all of it
	at      int
	pieces  int // in which the response comes

	leaves  string // how the client does once it has sent or got leaveAt bytes: "" is not at all
	leaveAt int

	h2 *h2Plan // what the upstream does if it speaks HTTP/2, else nil
}

func pick[T any](random *rand.Rand, all ...T) T { return all[random.IntN(len(all))] }

func plan(number uint64) *planned {
	random := rand.New(rand.NewPCG(number, 7))
	p := &planned{number: number, framing: pick(random, "length", "length", "chunked", "close"), pieces: 1 + random.IntN(3)}
	// About what gathers, what is read at once, and what goes through a pipe.
	p.size = pick(random, 0, 1, random.IntN(3000), 8<<10-random.IntN(400), 8<<10+random.IntN(400), random.IntN(70_000), 64<<10+random.IntN(200_000))
	if random.IntN(3) == 0 {
		p.posts, p.early = pick(random, 1, random.IntN(3000)+1, random.IntN(100_000)+1), random.IntN(4) == 0
	}
	if random.IntN(2) == 0 {
		p.ends = pick(random, "closes", "resets", "closes", "resets", "stalls", "garbles")
		p.at = random.IntN(len(p.response()))
		if random.IntN(3) == 0 { // near its head's end
			p.at = min(p.at, len(p.head())+random.IntN(3)-1)
		}
		if p.ends == "garbles" { // in its head, or in place of a chunk
			if p.at = random.IntN(len(p.head())); p.framing == "chunked" && random.IntN(2) == 0 {
				p.at = len(p.head()) + random.IntN(p.size/chunkSize+1)*len(chunk(text(p.id(), chunkSize)))
			}
		}
	}
	if random.IntN(6) == 0 {
		p.leaves = pick(random, "closes", "resets")
		p.leaveAt = pick(random, 0, random.IntN(100), random.IntN(10_000), random.IntN(300_000))
	}
	return p
}

func (p *planned) id() string { return strconv.FormatUint(p.number, 36) }

func (p *planned) String() string {
	type fields planned
	if p.h2 != nil {
		return fmt.Sprintf("%+v %+v", fields(*p), *p.h2)
	}
	return fmt.Sprintf("%+v", fields(*p))
}

func (p *planned) path() string {
	if p.h2 != nil {
		return p.h2.road + "/" + p.id()
	}
	if p.ends == "stalls" {
		return "/stalls/" + p.id()
	}
	return "/" + p.id()
}

func (p *planned) head() string {
	head := "HTTP/1.1 200 OK\r\nX-Id: " + p.id() + "\r\n"
	switch p.framing {
	case "length":
		head += fmt.Sprintf("Content-Length: %d\r\n", p.size)
	case "chunked":
		head += "Transfer-Encoding: chunked\r\n"
	}
	return head + "\r\n"
}

func (p *planned) response() string {
	body := text(p.id(), p.size)
	if p.framing != "chunked" {
		return p.head() + body
	}
	var out strings.Builder
	out.WriteString(p.head())
	for len(body) > 0 {
		n := min(len(body), chunkSize)
		out.WriteString(chunk(body[:n]))
		body = body[n:]
	}
	return out.String() + "0\r\n\r\n"
}

const chunkSize = 5000

func chunk(p string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(p), p) }

// serve is the upstream's part. It reports whether the connection goes on.
func (p *planned) serve(conn net.Conn, req *http.Request) bool {
	if !p.early && !readPayload(req) {
		_, _ = io.WriteString(conn, "HTTP/1.1 599 Mixed Up\r\nContent-Length: 0\r\n\r\n")
		return false
	}
	out := p.response()
	if p.ends != "" {
		out = out[:p.at]
	}
	for i := range p.pieces {
		n := len(out) / (p.pieces - i)
		_, _ = io.WriteString(conn, out[:n])
		out = out[n:]
	}
	switch p.ends {
	case "":
		return p.framing != "close" && (!p.early || readPayload(req))
	case "resets":
		_ = conn.(*net.TCPConn).SetLinger(0)
	case "stalls":
		_, _ = io.Copy(io.Discard, conn)
	case "garbles":
		_, _ = io.WriteString(conn, "\x00\r\n\x00\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
	}
	return false
}

// abandons reports whether the upstream may not read the whole request: then the connection of
// the client may end after a response that did not say so, or the client give up its request.
func (p *planned) abandons() bool {
	if p.h2 != nil {
		return p.h2.abandons(p)
	}
	return p.posts > 0 && (p.early || p.ends != "")
}

// right reports whether a client may get this status, so many bytes of its body, and see that
// more was to come.
func (p *planned) right(status, n int, cut bool) bool {
	if p.h2 != nil {
		return p.h2.right(p, status, n, cut)
	}
	got := p.at - len(p.head()) // bytes behind the head
	whole := status == 200 && n == p.size && !cut
	partial := status == 200 && n <= p.size && cut
	unread := p.early && p.posts > 0 // what the upstream has not read makes its close a reset
	switch {
	case p.ends == "":
		return whole || unread && p.framing == "close" && (partial || status == 502)
	case got < 0:
		return status == 502 || p.ends == "stalls" && status == 504
	case p.ends == "stalls":
		return partial || status == 504
	case p.ends == "closes" && p.framing == "close":
		return status == 200 && n == got && !cut || unread && (partial || status == 502)
	}
	return partial || status == 502 && (unread || p.ends != "closes")
}

// request is what the client sends.
func (p *planned) request() string {
	method, fields := "GET", ""
	if p.posts > 0 {
		method, fields = "POST", fmt.Sprintf("Content-Length: %d\r\n", p.posts)
	}
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nX-Id: %s\r\n%s\r\n%s", method, p.path(), p.id(), fields, text(p.id(), p.posts))
}

// plannedRun is a gateway whose exchanges are all planned.
type plannedRun struct {
	t    *testing.T
	g    *gateway
	plan func(number uint64) *planned

	mu   sync.Mutex
	came map[string]string // what a client that stayed got, by path
}

func (r *plannedRun) note(p *planned, status, n int, cut bool) {
	if !p.right(status, n, cut) {
		r.t.Errorf("%d, %d bytes, cut %v, head of %d bytes: %s", status, n, cut, len(p.head()), p)
	}
	if p.abandons() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.came[p.path()] = outcomeOf(status, n, cut)
}

func outcomeOf(status, n int, ill bool) string {
	if status != 200 {
		return strconv.Itoa(status)
	}
	return fmt.Sprintf("%d bytes, ill %v", n, ill)
}

// batch sends requests in one piece, and reads what comes. It reports whether the connection
// goes on.
func (r *plannedRun) batch(conn net.Conn, in *bufio.Reader, all []*planned) bool {
	var out strings.Builder
	for _, p := range all {
		out.WriteString(p.request())
	}
	last := all[len(all)-1]
	if last.leaves != "" && last.number%2 == 0 { // in what it sends
		_, _ = io.WriteString(conn, out.String()[:min(last.leaveAt, out.Len())])
		leave(conn, last.leaves)
		return false
	}
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = io.WriteString(conn, out.String()) })
	defer sending.Wait()
	if last.leaves != "" {
		_ = conn.SetReadDeadline(time.Now().Add(stallLimit)) // there may be less
		_, _ = io.CopyN(io.Discard, in, int64(last.leaveAt))
		leave(conn, last.leaves)
		return false
	}
	for _, p := range all {
		_ = conn.SetDeadline(time.Now().Add(ample))
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			r.t.Errorf("no response: %v, to %s", err, p)
			conn.Close()
			return false
		}
		body, err := r.bodyOf(p, res)
		r.note(p, res.StatusCode, len(body), err != nil)
		if err != nil || res.Close || p.abandons() {
			conn.Close()
			return false
		}
	}
	return true
}

func leave(conn net.Conn, how string) {
	if wire, ok := conn.(*tls.Conn); ok {
		conn = wire.NetConn()
	}
	if how == "resets" {
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	conn.Close()
}

// bodyOf reads a response to its end, and fails if it is another's.
func (r *plannedRun) bodyOf(p *planned, res *http.Response) ([]byte, error) {
	body, err := io.ReadAll(res.Body)
	if res.StatusCode == 200 && (res.Header.Get("X-Id") != p.id() || !strings.HasPrefix(text(p.id(), p.size), string(body))) {
		r.t.Errorf("%s got what is for %s", p.id(), res.Header.Get("X-Id"))
	}
	if res.StatusCode == 200 && err == nil && p.h2 != nil && res.Trailer.Get("X-Trail") != p.h2.trailer(p) {
		r.t.Errorf("trailers %v, to %s", res.Trailer, p)
	}
	return body, err
}

// ask makes one exchange with net/http.
func (r *plannedRun) ask(p *planned) {
	ctx, stop := context.WithCancel(r.t.Context())
	defer stop()
	method := http.MethodGet
	var payload io.Reader
	if p.posts > 0 {
		method, payload = http.MethodPost, strings.NewReader(text(p.id(), p.posts))
	}
	req, _ := http.NewRequestWithContext(ctx, method, r.g.url(p.path()), payload)
	req.Header.Set("X-Id", p.id())
	if p.leaves != "" {
		time.AfterFunc(time.Duration(p.leaveAt)*20*time.Nanosecond, stop)
	}
	res, err := r.g.client.Do(req)
	if err != nil {
		if p.leaves == "" {
			r.t.Errorf("no response: %v, to %s", err, p)
		}
		return
	}
	defer res.Body.Close()
	body, err := r.bodyOf(p, res)
	if p.leaves == "" {
		r.note(p, res.StatusCode, len(body), err != nil)
	}
}

// client makes all exchanges of one.
func (r *plannedRun) client(random *rand.Rand) {
	var conn net.Conn
	var in *bufio.Reader
	for range plannedBatches {
		var all []*planned
		for n := 1 + random.IntN(4); len(all) < n; {
			p := r.plan(random.Uint64())
			all = append(all, p)
			if p.ends != "" || p.framing == "close" || p.early || p.leaves != "" || p.h2 != nil && p.h2.road == frail {
				break // the connection may end
			}
		}
		if r.g.mode.h2 {
			for _, p := range all {
				r.ask(p)
			}
			continue
		}
		if conn == nil {
			c := r.g.dial()
			conn, in = c.conn, c.in
		}
		if !r.batch(conn, in, all) {
			conn = nil
		}
	}
	if conn != nil {
		conn.Close()
	}
}

// compare waits for the Reports of exchanges whose clients stayed: they say what these got.
func (r *plannedRun) compare() {
	reported := func() map[string][]string {
		r.g.mu.Lock()
		defer r.g.mu.Unlock()
		all := map[string][]string{}
		for i := range r.g.exchanges {
			x := &r.g.exchanges[i]
			all[x.Path] = append(all[x.Path], outcomeOf(x.Status, int(x.Sent), x.Cause != exchange.CauseNone))
		}
		return all
	}
	eventually(r.t, "all exchanges are reported", func() bool {
		all := reported()
		for path := range r.came {
			if len(all[path]) == 0 {
				return false
			}
		}
		return true
	})
	for path, outcomes := range reported() {
		came, stayed := r.came[path]
		if len(outcomes) > 1 && path != "/" && !r.g.mode.h2 {
			r.t.Errorf("%s is reported as %q", path, outcomes)
		}
		if stayed && !slices.Contains(outcomes, came) {
			number, _ := strconv.ParseUint(path[strings.LastIndex(path, "/")+1:], 36, 64)
			r.t.Errorf("%s is reported as %q, and was %q: %s", path, outcomes, came, r.plan(number))
		}
	}
}

// TestRandomFaults has upstreams end their responses anywhere in any way, and clients leave at
// any moment, and compares what clients get, and what is reported, with what the plans say.
// LINTEL_SEED is where the numbers of the plans begin.
func TestRandomFaults(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("LINTEL_SEED"), 10, 64)
	settings := Settings{MaxIdlePerEndpoint: loadIdle, ConnectTimeout: ample, ReadHeaderTimeout: ample}
	run(t, []mode{plainMode, tlsMode, h2cMode, h2Mode}, settings, func(t *testing.T, g *gateway) {
		serve := func(conn net.Conn, in *bufio.Reader) {
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				if req.URL.Path == "/settled" {
					_, _ = io.WriteString(conn, whole(req))
					continue
				}
				number, _ := strconv.ParseUint(req.Header.Get("X-Id"), 36, 64)
				if !plan(number).serve(conn, req) {
					return
				}
			}
		}
		g.route("/", rawBackend(t, serve))
		g.route("/stalls", rawBackend(t, serve)).Action.BackendTimeout = stallLimit
		g.apply()
		r := &plannedRun{t: t, g: g, plan: plan, came: map[string]string{}}
		r.settle()
		before := inUse(t, g)
		var clients sync.WaitGroup
		for n := range plannedClients {
			clients.Go(func() { r.client(rand.New(rand.NewPCG(seed, uint64(n)))) })
		}
		clients.Wait()
		r.compare()
		r.settle()
		before.pipes += 30 // that a loop may keep of those in use at once
		eventually(t, fmt.Sprintf("no more than %+v is in use", before), func() bool { return inUse(t, g).within(before) })
	})
}

// settle makes one exchange, and waits until all connections are gone or idle.
func (r *plannedRun) settle() {
	req, _ := http.NewRequest(http.MethodGet, r.g.url("/settled"), nil)
	if res, _ := r.g.do(req); res.StatusCode != 200 {
		r.t.Fatalf("status %d", res.StatusCode)
	}
	r.g.client.CloseIdleConnections()
	stats := r.g.server.Stats()
	eventually(r.t, "all connections are gone or idle", func() bool {
		return stats.Downstream.Load() == 0 && stats.Upstream.Load() == stats.UpstreamIdle.Load()
	})
}
