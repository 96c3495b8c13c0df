package proxy

import (
	"bufio"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

const (
	h2PlannedClients = 8
	h2PlannedRounds  = 6 // of requests that a client sends at once
)

// h2ClientRun is a plannedRun whose clients write frames of HTTP/2 themselves.
type h2ClientRun struct {
	plannedRun
	all map[string]*h2Exchange // by path
}

// client makes all exchanges of one.
func (r *h2ClientRun) client(random *rand.Rand) {
	var c *framingClient
	for range h2PlannedRounds {
		var all []*h2Request
		for range 1 + random.IntN(8) {
			all = append(all, planH2Request(random.Uint64()))
		}
		wrecked := slices.ContainsFunc(all, (*h2Request).wrecks)
		if wrecked && c != nil {
			c.leaveWell()
			c = nil
		}
		if c == nil {
			if c = r.dialH2Planned(rand.New(rand.NewPCG(random.Uint64(), 1))); c == nil {
				return
			}
		}
		c.disturbed = wrecked
		goes := random.IntN(5) == 0 && !wrecked
		r.round(c, all, goes)
		switch {
		case wrecked:
			c.wrecked()
			c = nil
		case goes:
			c.gone()
			c = nil
		}
	}
	if c != nil {
		c.leaveWell()
	}
}

// round makes exchanges at once, while the windows of new streams change.
func (r *h2ClientRun) round(c *framingClient, all []*h2Request, goes bool) {
	_ = c.conn.SetDeadline(time.Now().Add(ample))
	var streams sync.WaitGroup
	var made []*h2Exchange
	for _, p := range all {
		x := &h2Exchange{h2Request: p, c: c}
		made = append(made, x)
		streams.Go(x.run)
	}
	c.tune(made, goes)
	streams.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range made {
		if !x.fits() {
			r.t.Errorf("got %v", x)
		}
		r.all[x.path()] = x
	}
}

// tune changes the windows of streams some times, to such as let a response come in the end.
func (c *framingClient) tune(made []*h2Exchange, goes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wait(func() bool { return c.unacked == 0 })
	for range c.random.IntN(4) {
		c.resize(pick[int64](c.random, 0, 0, 1, 100, 3000, 100_000))
		for range c.random.IntN(4) {
			c.trip()
		}
	}
	c.resize(pick[int64](c.random, 5000, 65535, 65535, 1<<20))
	c.wait(func() bool { return !slices.ContainsFunc(made, func(x *h2Exchange) bool { return x.stream == 0 }) })
	if goes && !c.broken {
		_ = c.frames.WriteGoAway(0, http2.ErrCodeNo, []byte("planned"))
		c.changed.Broadcast()
	}
}

// leaveWell closes the connection, whose exchanges have left nothing behind in its window.
func (c *framingClient) leaveWell() {
	c.mu.Lock()
	_ = c.conn.SetDeadline(time.Now().Add(ample))
	c.spendHalf()
	if c.dead != nil {
		c.r.t.Errorf("a connection ends by itself, in a window of %d bytes: %v", c.room.of[0], c.dead)
	}
	c.mu.Unlock()
	c.close()
}

// spendHalf sends as much as makes the gateway say how much it has used in the connection's
// window, which is when that is half of it: all then, if nothing is lost.
func (c *framingClient) spendHalf() {
	c.wait(func() bool { return c.room.of[0] > h2ConnWindow/2 })
	x := &h2Exchange{h2Request: &h2Request{planned: &planned{leaveAt: math.MaxInt}}, c: c}
	c.add(x)
	x.head(0, ":method", "POST", ":scheme", "http", ":authority", "app.test", ":path", "/settled")
	for n := int(c.room.of[0] - h2ConnWindow/2); n > 0 && c.dead == nil; {
		piece := min(n, 16<<10)
		n -= piece
		x.payloadFrame(strings.Repeat("x", piece), n == 0)
	}
	c.wait(func() bool { return x.ended && c.room.of[0] == h2ConnWindow })
}

// gone waits for the end of a connection that the client has said it leaves.
func (c *framingClient) gone() {
	c.mu.Lock()
	for c.dead == nil {
		c.changed.Wait()
	}
	if c.dead != io.EOF {
		c.r.t.Errorf("a connection that the client leaves: %v", c.dead)
	}
	c.mu.Unlock()
	c.close()
}

// wrecked ends a connection that may have ended.
func (c *framingClient) wrecked() {
	c.mu.Lock()
	for c.broken && c.dead == nil {
		c.changed.Wait()
	}
	if c.broken && c.how == "" && !c.told {
		c.r.t.Errorf("no GOAWAY tells of an error: %v", c.dead)
	}
	c.mu.Unlock()
	c.close()
}

// compareH2 looks at the Reports of all exchanges, which are over.
func (r *h2ClientRun) compareH2() {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	counts := map[string]int{}
	for i := range r.g.exchanges {
		rep := &r.g.exchanges[i]
		counts[rep.Path]++
		if x := r.all[rep.Path]; x == nil && rep.Path != "/settled" && rep.Status != http.StatusHTTPVersionNotSupported { // as of half a preface
			r.t.Errorf("reported is what nobody asked for: %+v", *rep)
		} else if x != nil && !x.fitsReport(rep) {
			r.t.Errorf("reported as %+v, and was %v", *rep, x)
		}
	}
	for path, x := range r.all {
		switch n := counts[path]; {
		case n > 1, n == 1 && x.leaves == "ill", n == 0 && x.leaves != "ill" && !x.c.disturbed:
			r.t.Errorf("reported %d times: %v", n, x)
		}
	}
}

// serve is the upstream's part on one connection.
func (r *h2ClientRun) serve(conn net.Conn, in *bufio.Reader) {
	serveCounted(conn, in, func(number uint64) (*planned, func(*http.Request, int)) {
		p := planH2Request(number)
		return p.planned, func(req *http.Request, n int) {
			flawed := p.leaves == "ill" || p.flaw != nil && p.flaw.amid && !p.counted
			if n != p.posts || flawed {
				r.t.Errorf("%d bytes are passed on as the whole body of %s", n, p)
			}
			if trail := req.Trailer.Get("X-Trail"); !p.counted && p.tail == "trailers" && trail != p.id() {
				r.t.Errorf("trailer %q: %s", trail, p)
			}
		}
	})
}

// TestRandomFaultsH2Clients is TestRandomFaults for clients that write frames of HTTP/2 as
// they like: they leave streams and connections, err, and open windows late; and look whether
// the gateway keeps to the windows and to the order of frames.
func TestRandomFaultsH2Clients(t *testing.T) {
	settings := Settings{MaxIdlePerEndpoint: loadIdle, ConnectTimeout: ample, ReadHeaderTimeout: ample}
	run(t, rawH2Modes, settings, func(t *testing.T, g *gateway) {
		r := &h2ClientRun{plannedRun: plannedRun{t: t, g: g}, all: map[string]*h2Exchange{}}
		g.route("/", rawBackend(t, r.serve))
		g.route("/stalls", rawBackend(t, r.serve)).Action.BackendTimeout = stallLimit
		g.apply()
		r.play(seedsOf(t, 0), h2PlannedClients, r.client, r.settle)
		r.compareH2()
	})
}
