package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// plannedTalk is an upgraded exchange that goes wrong, or not, as its number tells: client and
// upstream make the same plan of it. The answer of the upstream is
//
//	agrees   101
//	forbids  403
//	ignores  200
//	unasked  101 to no protocol
//	another  101 to another one
//	garbles  what is no HTTP
//	closes   the end of the connection in the head of a 101
//	resets   a reset there
type plannedTalk struct {
	number   uint64
	road     string
	socket   bool // it is a WebSocket, which over HTTP/1.1 it need not be
	old      bool // the client speaks no TLS 1.3
	plain    int  // exchanges that the client makes on its connection: before, or beside
	posts    int  // size of the request's body over HTTP/1.1
	eager    bool // the client does not wait for the answer
	hints    bool // 103 comes before the answer
	answer   string
	at       int // where the head of the answer ends, or is split
	wrecks   bool
	client   talker
	upstream talker
}

// talker is what one side does with the protocol that they have agreed to. It ends so:
//
//	finishes  says all that it has to, and that this is all
//	waits     ... once the other side has finished
//	leaves    ends the connection once it has heard all that the other side has to say
//	closes    ends it at byte at of what it has to say, whatever comes
//	resets    resets it there; an exchange that wrecks, the connection with all its streams
//	cuts      ends TLS there without a goodbye
type talker struct {
	voice  string
	size   int
	early  int // bytes of that in one piece with the head
	pieces int
	ends   string
	at     int
	rests  int // bytes that it hears before it reads no more for a rest
	rest   time.Duration
}

// The roads of upgrades, each a prefix of paths with an upstream of its own.
const (
	clearRoad  = "/clear"  // HTTP/1.1
	secureRoad = "/secure" // ... over TLS
	sharedRoad = "/shared" // HTTP/2
)

func planTalk(number uint64) *plannedTalk {
	random := rand.New(rand.NewPCG(number, 9))
	p := &plannedTalk{
		number: number, road: pick(random, clearRoad, secureRoad, sharedRoad),
		socket: random.IntN(3) > 0, old: random.IntN(4) == 0, plain: max(0, random.IntN(5)-2),
		eager: random.IntN(3) == 0, hints: random.IntN(6) == 0, answer: "agrees",
	}
	if random.IntN(8) == 0 {
		p.posts = pick(random, 1, random.IntN(3000)+1, random.IntN(100_000)+1)
	}
	if random.IntN(5) == 0 {
		p.answer = pick(random, "forbids", "ignores", "unasked", "another", "garbles", "closes", "resets")
	}
	p.client, p.upstream = planTalker(random, "u"), planTalker(random, "d")
	p.at = random.IntN(len(p.head("talk", exchange.WebSocket{})))
	if random.IntN(2) == 0 { // whoever is first
		side := pick(random, &p.client, &p.upstream)
		side.ends = pick(random, "closes", "resets", "cuts")
		side.at = pick(random, 0, random.IntN(side.size+1), side.size)
	}
	if p.client.ends == "waits" && p.upstream.ends == "waits" {
		p.client.ends = "finishes"
	}
	p.wrecks = p.client.ends == "resets" && random.IntN(2) == 0
	return p
}

func planTalker(random *rand.Rand, voice string) talker {
	// About what gathers, what is read at once, and what goes through a pipe.
	t := talker{voice: voice, pieces: 1 + random.IntN(4), ends: pick(random, "finishes", "waits", "leaves")}
	t.size = pick(random, 0, 1, random.IntN(200), 8<<10-200+random.IntN(400), random.IntN(70_000), 64<<10-200+random.IntN(400), random.IntN(300_000))
	t.early = pick(random, 0, 0, min(t.size, 5), random.IntN(t.size+1), t.size)
	t.rests = -1
	if random.IntN(4) == 0 {
		t.rests, t.rest = random.IntN(100_000), time.Duration(1+random.IntN(20))*time.Millisecond
	}
	t.at = t.size
	return t
}

func (p *plannedTalk) id() string     { return strconv.FormatUint(p.number, 36) }
func (p *plannedTalk) path() string   { return p.road + "/" + p.id() }
func (p *plannedTalk) String() string { type fields plannedTalk; return fmt.Sprintf("%+v", fields(*p)) }

// words are what a side has to say, which no other exchange and not the other side has.
func (p *plannedTalk) words(t *talker) string { return text(t.voice+p.id(), t.size) }

func (t *talker) abrupt() bool { return t.ends == "closes" || t.ends == "resets" || t.ends == "cuts" }

func (p *plannedTalk) abrupt() bool { return p.client.abrupt() || p.upstream.abrupt() }

// head is all that the upstream says before it speaks another protocol.
func (p *plannedTalk) head(protocol string, socket exchange.WebSocket) string {
	hints := ""
	if p.hints {
		hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	}
	body := p.words(&p.upstream)
	whole := fmt.Sprintf("\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", p.id(), len(body), body)
	switch p.answer {
	case "forbids":
		return hints + "HTTP/1.1 403 Forbidden" + whole
	case "ignores":
		return hints + "HTTP/1.1 200 OK" + whole
	case "unasked":
		return hints + "HTTP/1.1 101 Switching Protocols\r\n\r\n"
	case "another":
		protocol += "2"
	case "garbles":
		return hints + "\x00\r\n\x00\r\n\r\n"
	}
	accept := ""
	if socket.Key != "" {
		accept = "Sec-WebSocket-Accept: " + socket.Accept() + "\r\n"
	}
	return hints + "HTTP/1.1 101 Switching Protocols\r\nX-Id: " + p.id() + "\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n" + accept + "\r\n"
}

// connects reports whether an extended CONNECT says what is asked for, somewhere on the way.
func (p *plannedTalk) connects(client bool) bool {
	return client || p.road == sharedRoad && p.socket && p.posts == 0
}

// status is what the client is told, unless a side ends abruptly; h1 says what it speaks.
func (p *plannedTalk) status(h1 bool) int {
	switch connects := p.connects(!h1); {
	case p.answer == "agrees" && !h1, p.answer == "ignores" && !connects:
		return http.StatusOK
	case p.answer == "agrees", p.answer == "another" && !connects: // a client knows what it has asked for
		return http.StatusSwitchingProtocols
	case p.answer == "forbids":
		return http.StatusForbidden
	}
	return http.StatusBadGateway
}

// cause is what the Report says where that is 502.
func (p *plannedTalk) cause() exchange.Cause {
	switch {
	case p.road == sharedRoad:
		return exchange.CauseNone // another gateway has said so
	case p.answer == "agrees", p.answer == "closes", p.answer == "resets":
		return exchange.CauseUpstreamReset
	}
	return exchange.CauseUpstreamInvalid
}

// request is what a client over HTTP/1.1 sends, but for what follows its body.
func (p *plannedTalk) request(socket exchange.WebSocket) string {
	var out strings.Builder
	for n := range p.plain {
		fmt.Fprintf(&out, "GET %s/%s HTTP/1.1\r\nHost: app.test\r\nX-Id: %s\r\n\r\n", p.road, p.beside(n), p.beside(n))
	}
	method, fields := "GET", "Upgrade: talk\r\n"
	if p.socket {
		fields = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + socket.Key + "\r\n"
	}
	if p.posts > 0 {
		method, fields = "POST", fields+fmt.Sprintf("Content-Length: %d\r\n", p.posts)
	}
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nX-Id: %s\r\n%s\r\n%s", method, p.path(), p.id(), fields, text(p.id(), p.posts))
	return out.String()
}

// beside is the id of a plain exchange.
func (p *plannedTalk) beside(n int) string { return fmt.Sprintf("%s-%d", p.id(), n) }
