//go:build linux

package proxy

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
	"github.com/lintel-dev/lintel/router"
)

// The lanes are to be told apart by nobody. These tests send the same bytes through
// both, to an upstream that answers the same bytes, and compare all that can be seen
// from outside: what the client gets and how its connection ends, what the upstream
// gets, and what is reported.
//
// What may differ between two runs of one lane is put right before: the Date, random
// request identifiers, the port, and how the payload of a chunked body is cut into
// chunks. Where more depends on timing, such as how much of a response comes before
// a reset, both lanes get several tries, and have to agree once.

// laneTries is how often both lanes are tried before they are said to differ.
const laneTries = 5

// How an input is sent: the lowest five bits of a byte say how it is cut into writes.
const (
	cutMask      = 0x1f
	cutNot       = 0 // in one piece
	cutBytes     = 1 // byte by byte
	cutHeads     = 2 // after each empty line
	cutLines     = 3 // after each LF
	cutInCRLF    = 4 // before each LF; the numbers that follow cut at random
	cutNotSilent = 31
	// cutNotSilent sends it in one piece and leaves the connection open; otherwise the
	// client closes its side.
)

// The other bits.
const (
	lateEnd  = 1 << 5 // ... once nothing moves any more, instead of at once
	strict   = 1 << 6 // a gateway with narrow limits that trusts its peers
	unpooled = 1 << 7 // one that keeps no idle upstream connections
)

// mostPieces bounds the writes of an input.
const mostPieces = 128

// pieces cuts an input into what is sent by one write.
func pieces(input string, how byte) []string {
	var all []string
	switch cut := how & cutMask; cut {
	case cutNot, cutNotSilent:
		return []string{input}
	case cutBytes:
		for piece := range slices.Chunk([]byte(input), len(input)/mostPieces+1) {
			all = append(all, string(piece))
		}
	case cutHeads:
		all = strings.SplitAfter(input, "\r\n\r\n")
	case cutLines:
		all = strings.SplitAfter(input, "\n")
	case cutInCRLF:
		all = strings.Split(input, "\n")
		for i := range all[1:] {
			all[i+1] = "\n" + all[i+1]
		}
	default:
		rng := rand.New(rand.NewPCG(uint64(cut), uint64(len(input))))
		most := max(1<<(cut%12), len(input)/mostPieces*8)
		for len(input) > 0 {
			n := min(1+rng.IntN(most), len(input))
			all = append(all, input[:n])
			input = input[n:]
		}
	}
	if len(all) > mostPieces {
		all = append(all[:mostPieces], strings.Join(all[mostPieces:], ""))
	}
	return all
}

// bothLanes are gateways of both lanes with the same rules, and their upstream.
type bothLanes struct {
	upstream *player
	pairs    map[byte]*[2]*gateway // by strict and unpooled
}

var laneNames = [2]string{"express", "full"}

// laneSettings are such that nothing is waited for long.
func laneSettings(how byte, lane exchange.Lane) Settings {
	s := Settings{
		ReadHeaderTimeout:     250 * time.Millisecond,
		IdleTimeout:           150 * time.Millisecond,
		ConnectTimeout:        time.Second,
		ResponseHeaderTimeout: 80 * time.Millisecond,
		BodyTimeout:           80 * time.Millisecond,
		Lane:                  lane,
	}
	if how&strict != 0 {
		s.MaxBody = 16
		s.Limits = &h1.Limits{Line: 64, Head: 256, Fields: 6}
		s.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	if how&unpooled != 0 {
		s.MaxIdlePerEndpoint = -1
	}
	return s
}

func newBothLanes(t testing.TB, protocol router.Protocol) *bothLanes {
	t.Helper()
	l := &bothLanes{upstream: newPlayer(t), pairs: map[byte]*[2]*gateway{}}
	l.upstream.h2 = protocol == router.H2C
	up := router.NewBackendWith("default/app:80", router.BackendSettings{Protocol: protocol})
	up.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(l.upstream.listener.Addr().String())})
	dead := backendAt(deadAddress(t))
	for _, how := range []byte{0, strict, unpooled, strict | unpooled} {
		pair := &[2]*gateway{}
		for i, lane := range []exchange.Lane{exchange.LaneAuto, exchange.LaneFull} {
			pair[i] = newGateway(t, plainMode, laneSettings(how, lane))
			laneRules(pair[i], up, dead)
			pair[i].apply()
		}
		l.pairs[how] = pair
	}
	return l
}

// laneRules makes rules of every kind whose outcome is no matter of chance.
func laneRules(g *gateway, up, dead *router.Backend) {
	g.route("/", up)
	g.route("/418").Action.Status = 418
	g.route("/204").Action.Status = 204
	g.route("/redirect").Action.Redirect = &router.Redirect{Scheme: "https", Hostname: "other.test", Port: 8443, Status: 302}
	g.route("/none")
	g.route("/invalid", nil)
	g.route("/empty", router.NewBackend("default/none:80"))
	g.route("/dead", dead)
	g.route("/hurry", up).Action.RequestTimeout = 40 * time.Millisecond
	g.route("/try", up).Action.BackendTimeout = 40 * time.Millisecond
	g.route("/", up).Match.Headers = []router.ValueMatch{{Name: "X-Forwarded-Proto", Value: "https"}}
	byField := g.route("/")
	byField.Match.Headers = []router.ValueMatch{{Name: "X-Version", Value: "2"}}
	byField.Action.Status = 410

	rewritten := &g.route("/rewritten", up).Action
	rewritten.Rewrite = &router.Rewrite{Hostname: "inner.test", Path: router.PathModifier{Kind: router.ReplacePrefix, Value: "/v2"}}

	filtered := &g.route("/filtered", up).Action
	filtered.RequestHeaders = &router.HeaderFilter{
		Set:    []router.Field{{Name: "X-Set", Value: "set"}, {Name: "Host", Value: "set.test"}},
		Add:    []router.Field{{Name: "Accept", Value: "added"}, {Name: "Content-Length", Value: "7"}},
		Remove: []string{"Cookie", "X-Forwarded-For"},
	}
	filtered.ResponseHeaders = &router.HeaderFilter{
		Set:    []router.Field{{Name: "Server", Value: "set"}, {Name: "X-Sum", Value: "set"}},
		Add:    []router.Field{{Name: "Vary", Value: "added"}, {Name: "Connection", Value: "close"}},
		Remove: []string{"Etag", "Date"},
	}
	filtered.Backends[0].ResponseHeaders = &router.HeaderFilter{Add: []router.Field{{Name: "X-Backend", Value: "1"}}}
}

// passage is all that can be seen of a client connection from outside.
type passage struct {
	client   string // what it got
	end      string // and how that ended
	reset    bool   // that was a reset, and others may see none
	upstream []string
	partial  bool // how much of a body is in upstream is a matter of timing
	shared   bool // upstream connections are those of HTTP/2, which are kept in any case
	reports  []string

	raw      []string // what the upstream got by connection, as it was
	answered []Report // in order
	port     string   // of the gateway
}

// like reports whether the upstream and the reports saw the same.
func (p *passage) like(other *passage) bool {
	return slices.EqualFunc(p.upstream, other.upstream, p.upstreamLike) && slices.Equal(p.reports, other.reports)
}

// upstreamLike reports whether an upstream connection brought the same, in both lanes.
func (p *passage) upstreamLike(one, other string) bool {
	return one == other || p.partial && (strings.HasPrefix(one, begun(other)) || strings.HasPrefix(other, begun(one)))
}

// endsLike reports whether the client got the same, in time.
func (p *passage) endsLike(other *passage) bool {
	return p.client == other.client && p.end == other.end && !p.hangs()
}

func (p *passage) hangs() bool { return strings.HasSuffix(p.end, hangs) }

func (p *passage) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "client got %q, %s\n", p.client, p.end)
	for i, got := range p.upstream {
		fmt.Fprintf(&b, "upstream connection %d got %q\n", i+1, got)
	}
	for _, report := range p.reports {
		fmt.Fprintf(&b, "report %s\n", report)
	}
	return b.String()
}

// leaves reports whether something in an input makes the express lane hand a connection over. Idle upstream
// connections are not handed over with it, so the lanes can only be compared where
// there are none.
func leaves(input string) bool {
	lower := strings.ToLower(input)
	return strings.Contains(lower, "expect") || strings.Contains(lower, "upgrade") || strings.Contains(input, "CONNECT")
}

// resumes matches an answer in pieces. When one comes after the response, it is a matter
// of timing whether the next request has gone out before it.
var resumes = regexp.MustCompile(`\^[^csr]|\^[csr][^|]`)

// idempotent reports whether each request in an input surely is: others are not sent
// again when their pooled connection turns out to be closed.
func idempotent(input string) bool {
	return len(idempotentLine.FindAllString(input, -1)) == strings.Count(input, "HTTP/1.")
}

var idempotentLine = regexp.MustCompile(`(?m)^(GET|HEAD|OPTIONS|PUT|DELETE) [^ ]+ HTTP/1\.[01]\r?$`)

// compare sends the input through both lanes, and describes how they differ, or
// returns "".
func (l *bothLanes) compare(t testing.TB, input, script string, how byte) string {
	t.Helper()
	if leaves(input) || resumes.MatchString(script) || stale.MatchString(script) && !idempotent(input) {
		how |= unpooled
	}
	if l.upstream.h2 && stale.MatchString(script) && !idempotent(input) {
		return "" // whether the connection's end is known before the next request is a matter of timing
	}
	if how&cutMask == cutNotSilent && early.MatchString(script) {
		how-- // the longer of two limits on the rest of the body counts, and ours are short
	}
	if strings.Contains(script, "^z") {
		how |= cutNotSilent // a client that has finished does not wait long for an answer
	}
	if script != "" || strings.Contains(input, "dead") {
		how |= lateEnd // that the client has finished sending counts when something fails
	}
	tries := laneTries
	if races(script, how) {
		tries *= 3 // on a busy machine the same may be there first for long
	}
	var seen sightings
	for try := range tries {
		for i, g := range l.pairs[how&(strict|unpooled)] {
			p := l.pass(t, g, sending{input: input, script: script, how: how, calm: calm << min(2*try, 8)})
			p.forget(script, how)
			if strings.HasPrefix(input, h2.Preface) {
				p.client = "" // frames, in any order
			}
			seen.add(i, p)
			// With the answer comes the upstream's end, as one that is ill ends it, too; or what is
			// wrong comes with the body.
			seen.race = seen.race || races(script, how) && (stale.MatchString(script) || p.failsBehindHead())
		}
		if seen.agree() {
			return ""
		}
	}
	return fmt.Sprintf("input %q\nscript %q\nhow %#x\n%s", input, script, how, &seen)
}

// sending is one try of an input.
type sending struct {
	input  string
	script string
	how    byte
	calm   time.Duration // see sender.rest
}

// hangs marks a passage that has no end in time.
const hangs = ", and this takes too long"

// calm is how long nothing has to move in the first try.
const calm = 100 * time.Microsecond

// pass sends an input through one gateway.
func (l *bothLanes) pass(t testing.TB, g *gateway, s sending) *passage {
	t.Helper()
	g.mu.Lock()
	g.exchanges = g.exchanges[:0]
	g.mu.Unlock()
	play := l.upstream.begin(s.script)

	p := &passage{shared: l.upstream.h2}
	c := connectSender(t, g)
	stats := g.server.Stats()
	quiet := func() bool { return stats.Upstream.Load() == stats.UpstreamIdle.Load() }
	if l.upstream.h2 {
		quiet = func() bool { return play.busy.Load() == 0 }
	}
	c.send(s, activity{
		moved: func() int64 { return play.received.Load() + int64(g.count()) },
		idle:  quiet,
	})
	<-c.ended
	p.end = c.end
	if p.end == noEnd && s.how&cutMask != cutNotSilent {
		p.end += hangs
	}
	c.conn.Close()
	if l.upstream.h2 {
		quiet = func() bool { return true }
	}
	if !laneSettled(stats, quiet) {
		p.end += hangs
	}
	heard := l.upstream.end(t, play)
	if l.upstream.h2 && !laneSettled(stats, func() bool { return stats.Upstream.Load() == 0 }) {
		p.end += hangs // the next try would meet old connections
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	var methods []string
	for i := range g.exchanges {
		x := &g.exchanges[i]
		p.reports = append(p.reports, describe(x))
		if x.Status != 0 {
			methods = append(methods, x.Method)
		}
	}
	p.client = string(dateField.ReplaceAll([]byte(joinChunks(c.got.String(), &methods)), []byte("${1}(now)")))
	p.raw, p.answered = heard, slices.Clone(g.exchanges)
	_, p.port, _ = net.SplitHostPort(g.address())
	for _, got := range heard {
		got = strings.ReplaceAll(joinChunks(got, nil), "\r\nX-Forwarded-Port: "+p.port+"\r\n", "\r\nX-Forwarded-Port: (ours)\r\n")
		got = strings.ReplaceAll(got, "\nx-forwarded-port: "+p.port+"\n", "\nx-forwarded-port: (ours)\n")
		for _, random := range randomIDs {
			got = random.ReplaceAllString(got, "${1}(random)")
		}
		p.upstream = append(p.upstream, got)
	}
	return p
}

// Long bodies are searched quickly for what begins with plain text.
var (
	dateField = regexp.MustCompile(`(\r\nDate: )\w{3}, \d\d \w{3} \d{4} [0-9:]{8} GMT`)
	randomID  = regexp.MustCompile(`(\r\nX-Request-Id: )[0-9a-f]{32}`)
	randomIDs = []*regexp.Regexp{randomID, regexp.MustCompile(`(\nx-request-id: )[0-9a-f]{32}`)}
)

// describe is what of a Report does not depend on time.
func describe(x *Report) string {
	id := x.RequestID
	if len(id) == 32 {
		id = "(random)"
	}
	return fmt.Sprintf("%s %q %q %q: %s to %s (%t) for %s: %d %q, sent %d, received %d, attempts %d, %q %q", x.Protocol, x.Method, x.Host, x.Path,
		x.Route, x.Backend, x.Upstream.IsValid(), x.Client, x.Status, x.Cause, x.Sent, x.Received, x.Attempts, x.UserAgent, id)
}
