package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

const (
	talkClients = 8
	talkRounds  = 4
)

// talkRun is a gateway whose upgraded exchanges are all planned.
type talkRun struct {
	plannedRun
	inner *gateway // the upstream over HTTP/2
	roads []string

	// Guarded by mu.
	talks   map[uint64]*talked
	quics   []*h3Client // which end, with all that is under way, when they are closed
	talking int         // upstreams
}

// begin notes that a client will talk.
func (r *talkRun) begin(p *plannedTalk) *talked {
	x := &talked{plannedTalk: p, h1: !r.g.mode.h2 && !r.g.mode.h3, h3: r.g.mode.h3}
	x.lax = x.h1 && r.g.mode.tls && (p.old || r.g.server.loops == nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.talks[p.number] = x
	return x
}

// planned is the plan of a number, on a road that there is.
func (r *talkRun) planned(number uint64) *plannedTalk {
	p := planTalk(number)
	if p.road == secureRoad && len(r.roads) == 2 {
		p.road = clearRoad
	}
	return p
}

// The upstream's part.

func (r *talkRun) serve(conn net.Conn, in *bufio.Reader) {
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.Header.Get("Upgrade") == "" {
			if !says(whole)(conn, req) {
				return
			}
			continue
		}
		number, _ := strconv.ParseUint(req.Header.Get("X-Id"), 36, 64)
		if !readPayload(req) || !r.answer(planTalk(number), req, conn, in) {
			return
		}
	}
}

// answer answers to an upgrade, and talks. It reports whether the connection goes on.
func (r *talkRun) answer(p *plannedTalk, req *http.Request, conn net.Conn, in *bufio.Reader) bool {
	out := p.head(req.Header.Get("Upgrade"), exchange.WebSocket{Key: req.Header.Get("Sec-WebSocket-Key")})
	switch p.answer {
	case "agrees":
		r.talk(p, out, conn, in)
		return false
	case "closes", "resets":
		_, _ = io.WriteString(conn, out[:p.at])
		leave(conn, p.answer)
		return false
	}
	_, _ = io.WriteString(conn, out[:p.at])
	_, _ = io.WriteString(conn, out[p.at:])
	if p.answer == "forbids" || p.answer == "ignores" {
		return true
	}
	_, _ = io.Copy(io.Discard, in)
	return false
}

func (r *talkRun) talk(p *plannedTalk, head string, conn net.Conn, in *bufio.Reader) {
	c := newConversation(&wireEnd{conn, in}, &p.upstream, &p.client, p.words(&p.upstream))
	r.mu.Lock()
	r.talking++
	r.mu.Unlock()
	_ = conn.SetDeadline(time.Now().Add(ample))
	for _, piece := range []string{head[:p.at], head[p.at:] + c.words[:p.upstream.early]} {
		_, err := io.WriteString(conn, piece)
		c.note(err)
	}
	c.talk()
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.talks[p.number]
	x.upstreams = append(x.upstreams, c)
	r.talking--
}

// talksOn reports whether an upstream talks.
func (r *talkRun) talksOn() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.talking > 0
}

// The client's.

// ask sends, and goes on once the answer has come, whose body answer returns.
func (r *talkRun) ask(x *talked, e talkEnd, send func() error, answer func() (int, io.Reader, error)) {
	p := x.plannedTalk
	c := newConversation(e, &p.client, &p.upstream, p.words(&p.client))
	x.client = c
	agreed := make(chan bool, 1)
	var speaking sync.WaitGroup
	speaking.Go(func() {
		if c.note(send()); p.eager || <-agreed {
			c.speak()
		}
	})
	status, body, err := answer()
	x.status = status
	if err == nil && p.answer == "agrees" && status == p.status(x.h1) {
		agreed <- true
		close(c.opened)
		c.listen()
		speaking.Wait()
		return
	}
	if err != nil && (isTimeout(err) || !p.client.abrupt() && !(x.h3 && p.upstream.abrupt())) { // over QUIC a reset may overtake it
		r.t.Errorf("no answer: %v, to %s", err, p)
	}
	if err == nil && status != http.StatusSwitchingProtocols {
		all, _ := io.ReadAll(body)
		x.body = string(all)
	}
	agreed <- false
	c.isNone()
	speaking.Wait()
	e.Close()
}

// askH1 talks on a connection of its own.
func (r *talkRun) askH1(x *talked) {
	p := x.plannedTalk
	conn, err := net.Dial("tcp", r.g.address())
	if err != nil {
		r.t.Error(err)
		return
	}
	if r.g.mode.tls {
		config := &tls.Config{InsecureSkipVerify: true, ServerName: "app.test"}
		if p.old {
			config.MaxVersion = tls.VersionTLS12
		}
		conn = tls.Client(conn, config)
	}
	_ = conn.SetDeadline(time.Now().Add(ample))
	in := bufio.NewReader(conn)
	socket := exchange.NewWebSocket()
	send := func() error {
		_, err := io.WriteString(conn, p.request(socket)+p.words(&p.client)[:p.client.early])
		return err
	}
	r.ask(x, &wireEnd{conn, in}, send, func() (int, io.Reader, error) {
		for n := range p.plain {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				return 0, nil, err
			}
			r.beside(p, n, res.StatusCode, res.Body)
		}
		res, err := http.ReadResponse(in, nil)
		for err == nil && res.StatusCode == http.StatusEarlyHints {
			res, err = http.ReadResponse(in, nil)
		}
		if err != nil {
			return 0, nil, err
		}
		accept := res.Header.Get("Sec-WebSocket-Accept")
		if p.answer == "agrees" && res.StatusCode == 101 && (res.Header.Get("X-Id") != p.id() || p.socket != (accept == socket.Accept())) {
			r.t.Errorf("%v answers %s", res.Header, p)
		}
		return res.StatusCode, res.Body, nil
	})
	conn.Close()
}

// beside looks at a response to a plain exchange.
func (r *talkRun) beside(p *plannedTalk, n, status int, body io.Reader) {
	got, err := io.ReadAll(body)
	all := text(p.beside(n), answerSize)
	cut := err != nil && p.client.abrupt() // and with it the connection
	if status != 200 || !strings.HasPrefix(all, string(got)) || !cut && (err != nil || len(got) < len(all)) {
		r.t.Errorf("%d, %d bytes, %v, beside %s", status, len(got), err, p)
	}
}

// client makes all exchanges of one.
func (r *talkRun) client(random *rand.Rand) {
	for range talkRounds {
		if !r.g.mode.h2 && !r.g.mode.h3 {
			r.askH1(r.begin(r.planned(random.Uint64())))
			continue
		}
		var all []*plannedTalk
		for range 1 + random.IntN(4) {
			if p := r.planned(random.Uint64()); p.wrecks {
				r.streams([]*plannedTalk{p})
			} else {
				all = append(all, p)
			}
		}
		r.streams(all)
	}
}

// TestRandomFaultsUpgraded has clients and upstreams speak another protocol, by an upgrade or by
// extended CONNECT, and end it anywhere in any way, and compares what both sides get, and what is
// reported, with what the plans say.
func TestRandomFaultsUpgraded(t *testing.T) {
	settings := Settings{MaxIdlePerEndpoint: loadIdle, ConnectTimeout: ample, ReadHeaderTimeout: ample}
	run(t, []mode{plainMode, tlsMode, h2cMode, h2Mode, h3Mode}, settings, func(t *testing.T, g *gateway) {
		r := newTalkRun(t, g)
		r.warm()
		r.play(seedsOf(t, 0), talkClients, r.client, r.settle)
		r.compareTalks()
	})
}

// newTalkRun makes the roads. Over TLS no loop takes a request, and so no client of HTTP/2.
func newTalkRun(t *testing.T, g *gateway) *talkRun {
	r := &talkRun{plannedRun: plannedRun{t: t, g: g}, talks: map[uint64]*talked{}}
	h1 := rawBackend(t, r.serve)
	settings := Settings{Lane: g.server.settings.Lane, ConnectTimeout: ample, UpstreamMaxAge: 1} // it keeps no connections
	r.inner = newGateway(t, h2cMode, settings)
	r.inner.route("/", h1)
	r.inner.apply()
	r.roads = []string{clearRoad, sharedRoad}
	g.route(clearRoad, h1)
	g.route(sharedRoad, h2cBackendAt(r.inner.socket(socketName).listener.Addr()))
	if !g.mode.h2 || g.server.loops == nil {
		certificate, err := makeCertificate()
		if err != nil {
			t.Fatal(err)
		}
		config := &tls.Config{Certificates: []tls.Certificate{*certificate}}
		plain := rawBackend(t, func(conn net.Conn, _ *bufio.Reader) {
			conn = tls.Server(conn, config)
			r.serve(conn, bufio.NewReader(conn))
		})
		secure := router.NewBackendWith("default/app:443", router.BackendSettings{Protocol: router.HTTPS, TLS: ownTLS(t)})
		secure.SetEndpoints([]netip.AddrPort{plain.Endpoints()[0].Addr})
		r.roads = append(r.roads, secureRoad)
		g.route(secureRoad, secure)
	}
	g.apply()
	return r
}

// warm makes one exchange on each road that goes well, so that connections that stay are there.
func (r *talkRun) warm() {
	for _, road := range r.roads {
		for number := uint64(0); ; number++ {
			p := r.planned(number)
			if p.road != road || p.answer != "agrees" || p.abrupt() || r.talks[number] != nil {
				continue
			}
			if x := r.begin(p); x.h1 {
				r.askH1(x)
			} else {
				r.streams([]*plannedTalk{p})
			}
			break
		}
	}
}

// settle waits until nothing is under way.
func (r *talkRun) settle() {
	for _, road := range r.roads {
		if res, _ := r.g.get(road + "/settled"); res.StatusCode != 200 {
			r.t.Fatalf("status %d", res.StatusCode)
		}
	}
	r.g.client.CloseIdleConnections()
	eventually(r.t, "no upstream talks", func() bool { return !r.talksOn() })
	for _, c := range r.quics {
		c.close()
	}
	r.quics = nil
	stats, inner := r.g.server.Stats(), r.inner.server.Stats()
	eventually(r.t, "all clients are gone", func() bool { return stats.Downstream.Load() == 0 })
	eventually(r.t, "no exchange is counted", func() bool { return inflight(r.g.rules)+inflight(r.inner.rules) == 0 })
	eventually(r.t, "nothing is relayed", func() bool { return stats.Upgraded.Load()+inner.Upgraded.Load() == 0 })
	eventually(r.t, "no upstream talks", func() bool { return !r.talksOn() })
}
