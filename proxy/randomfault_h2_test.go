package proxy

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// h2Plan is what an upstream over HTTP/2 does besides what planned says, whose at is here a
// byte of the body, or -1 before the head; its ends is
//
//	resets    RST_STREAM with code
//	stalls    nothing more
//	short     END_STREAM, short of Content-Length
//	beyond    more payload than Content-Length says
//	malforms  a head or trailers that no message may have
//	closes    the end of the connection, maybe in a frame
//	aborts    a reset of the connection, maybe in a frame
//	breaks    what is no HTTP/2, or no frame that may come
type h2Plan struct {
	road    string // that the exchange shares with its like
	refuses int    // attempts that the upstream does not act on
	byGone  bool   // which a GOAWAY says, where it can
	goes    bool   // a GOAWAY goes before the response, which still comes
	closes  bool   // ... and the connection ends once all have
	code    http2.ErrCode
	tail    string // how a response ends: with its last DATA, "empty" DATA or "trailers"
	unread  bool   // an early response is followed by NO_ERROR
	pad     int    // bytes in each DATA
	fault   int    // which of several
}

// The roads: each is a prefix of paths, and but for stalls an upstream of its own.
const (
	solid  = "/solid"  // the connection serves all that it gets
	stalls = "/stalls" // ... which is too long sometimes
	going  = "/going"  // the connection may go before a request was acted on
	frail  = "/frail"  // the connection may end at any moment, for all its exchanges
)

func planH2(number uint64) *planned {
	random := rand.New(rand.NewPCG(number, 8))
	p := plan(number)
	h := &h2Plan{
		road: pick(random, solid, solid, going, frail), tail: pick(random, "last", "empty", "trailers"),
		unread: random.IntN(2) == 0, pad: max(0, random.IntN(40)-30), fault: random.IntN(1000),
	}
	p.h2, p.ends, p.at, p.framing = h, "", 0, pick(random, "length", "none")
	if random.IntN(2) == 0 {
		if h.road == frail {
			p.ends = pick(random, "closes", "aborts", "breaks", "resets")
		} else {
			p.ends = pick(random, "resets", "resets", "stalls", "short", "beyond", "malforms")
		}
		h.planEnd(p, random)
	}
	if random.IntN(6) == 0 {
		h.refuses, h.byGone = 1+random.IntN(3), h.road == going || h.road == frail
	}
	h.goes, h.closes = h.road == going && random.IntN(4) == 0, random.IntN(2) == 0
	if p.framing == "length" { // else a client over HTTP/1.1 has it all before its end
		h.tail = "last"
	}
	return p
}

// planEnd says where the response ends.
func (h *h2Plan) planEnd(p *planned, random *rand.Rand) {
	if p.ends == "short" || p.ends == "beyond" {
		p.framing = "length"
	}
	if p.ends == "stalls" {
		h.road = stalls
	}
	h.code = pick(random, http2.ErrCode(random.IntN(14)), http2.ErrCodeNo, http2.ErrCodeInternal, 0xbeef)
	if p.framing == "length" {
		p.size = max(p.size, 1)
		p.at = pick(random, 0, random.IntN(p.size), p.size-1)
	} else {
		p.at = pick(random, 0, random.IntN(p.size+1), p.size)
	}
	if p.ends == "beyond" {
		p.at = max(p.at, p.size-10_000) // what is left fits into one frame
	} else if p.ends != "short" && random.IntN(3) == 0 {
		p.at = -1
		if h.code == http2.ErrCodeRefusedStream { // which has a plan of its own
			h.code = http2.ErrCodeCancel
		}
	}
}

// right is planned.right.
func (h *h2Plan) right(p *planned, status, n int, cut bool) bool {
	failed := status == 502
	part := status == 200 && n <= p.size && cut
	switch {
	case h.road == frail && (failed || part):
		return true // another exchange may have ended the connection
	case p.posts > 0 && failed && (h.refuses > 0 || h.road == going):
		return true // there may be too much of the request to have it still
	case p.ends == "":
		return status == 200 && n == p.size && !cut
	case p.ends == "stalls":
		return status == 504 || part && p.at >= 0 && n <= p.at
	case p.at < 0:
		return failed
	}
	return part && n <= p.at
}

// abandons is planned.abandons.
func (h *h2Plan) abandons(p *planned) bool {
	return p.posts > 0 && (p.early || p.ends != "" || h.refuses > 0 || h.road == going || h.road == frail)
}

// trailer is what a client gets in X-Trail behind a whole response.
func (h *h2Plan) trailer(p *planned) string {
	if h.tail == "trailers" {
		return p.id()
	}
	return ""
}

// cause is what the Report of the exchange says.
func (h *h2Plan) cause(p *planned) exchange.Cause {
	switch p.ends {
	case "":
		return exchange.CauseNone
	case "resets":
		return exchange.CauseUpstreamReset
	case "stalls":
		return exchange.CauseTimeout
	}
	return exchange.CauseUpstreamInvalid
}

// TestRandomFaultsOverH2 is TestRandomFaults with upstreams over HTTP/2, whose connections
// many exchanges share: how one of them ends concerns no other, unless the connection ends.
func TestRandomFaultsOverH2(t *testing.T) {
	settings := Settings{MaxIdlePerEndpoint: loadIdle, ConnectTimeout: ample, ReadHeaderTimeout: ample}
	run(t, []mode{plainMode, tlsMode, h2cMode, h2Mode}, settings, func(t *testing.T, g *gateway) {
		up := newFaultyH2()
		few := http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 5}
		window := http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20_000}
		steady := rawH2Backend(t, up.serve)
		g.route("/", steady)
		g.route(stalls, steady).Action.BackendTimeout = stallLimit
		g.route(going, rawH2Backend(t, up.serve, window))
		g.route(frail, rawH2Backend(t, up.serve, few))
		g.apply()
		r := &plannedRun{t: t, g: g, plan: planH2, came: map[string]string{}}
		r.play(seedsOf(t, 0), plannedClients, r.client, func() { up.settle(r) })
		r.compare()
		r.compareCauses()
		up.actedOnce(t)
	})
}

// compareCauses holds the Reports of exchanges whose clients stayed, and that no other could
// hit, to the plans.
func (r *plannedRun) compareCauses() {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	for i := range r.g.exchanges {
		x := &r.g.exchanges[i]
		if _, stayed := r.came[x.Path]; !stayed || strings.HasPrefix(x.Path, frail) {
			continue
		}
		number, _ := strconv.ParseUint(x.Path[strings.LastIndex(x.Path, "/")+1:], 36, 64)
		if p := planH2(number); x.Cause != p.h2.cause(p) || x.Attempts <= p.h2.refuses && p.ends != "stalls" {
			r.t.Errorf("%s: %d, cause %q after %d attempts: %s", x.Path, x.Status, x.Cause, x.Attempts, p)
		}
	}
}

// settle is plannedRun.settle, where connections to upstreams stay open: none has a stream
// that is left, and none is counted once the upstreams have closed them.
func (u *faultyH2) settle(r *plannedRun) {
	if res, _ := r.g.get("/settled"); res.StatusCode != 200 {
		r.t.Fatalf("status %d", res.StatusCode)
	}
	r.g.client.CloseIdleConnections()
	stats := r.g.server.Stats()
	eventually(r.t, "all clients are gone", func() bool { return stats.Downstream.Load() == 0 })
	eventually(r.t, "all streams are over, and the connections that go", u.quiet)
	eventually(r.t, "no exchange is counted", func() bool { return inflight(r.g.rules) == 0 })
	u.closeAll()
	eventually(r.t, "all connections are gone", func() bool { return stats.Upstream.Load() == 0 })
}

func inflight(rules []*router.Rule) (n int) {
	for _, rule := range rules {
		for _, e := range rule.Action.Backends[0].Backend.Endpoints() {
			n += e.Inflight()
		}
	}
	return n
}
