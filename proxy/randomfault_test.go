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
		if len(outcomes) > 1 && path != "/settled" && !r.g.mode.h2 {
			r.t.Errorf("%s is reported as %q", path, outcomes)
		}
		if stayed && !slices.Contains(outcomes, came) {
			number, _ := strconv.ParseUint(path[strings.LastIndex(path, "/")+1:], 36, 64)
			r.t.Errorf("%s is reported as %q, and was %q: %s", path, outcomes, came, r.plan(number))
		}
	}
}

// play has clients make exchanges at once, each with numbers of its own, and checks that then no
// more is in use than before. settle waits until no exchange is left.
func (r *plannedRun) play(seeds []uint64, clients int, client func(*rand.Rand), settle func()) {
	settle()
	before := inUse(r.t, r.g)
	for _, seed := range seeds {
		var playing sync.WaitGroup
		for n := range clients {
			playing.Go(func() { client(rand.New(rand.NewPCG(seed, uint64(n)))) })
		}
		playing.Wait()
	}
	settle()
	before.pipes += 30 // that a loop may keep of those in use at once
	eventually(r.t, fmt.Sprintf("no more than %+v is in use", before), func() bool { return inUse(r.t, r.g).within(before) })
}

// seedsOf returns LINTEL_SEED, where the numbers of the plans begin, or else these.
func seedsOf(t *testing.T, usual ...uint64) []uint64 {
	set := os.Getenv("LINTEL_SEED")
	if set == "" {
		return usual
	}
	seed, err := strconv.ParseUint(set, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return []uint64{seed}
}

// TestRandomFaults has upstreams end their responses anywhere in any way, and clients leave at
// any moment, and compares what clients get, and what is reported, with what the plans say.
func TestRandomFaults(t *testing.T) {
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
		r.play(seedsOf(t, 0), plannedClients, r.client, r.settle)
		r.compare()
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
