package proxy

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// Bounds of mirroring. What goes beyond is cut and counted: a mirror that is slow, or does
// not answer, costs this much and no client anything.
const (
	// maxMirroring bounds the copies under way to one Backend, and maxMirroringAll those to
	// all of them: each takes 72 KiB of buffers while it is sent, as any exchange does.
	maxMirroring    = 64
	maxMirroringAll = 128
	// maxMirrorLag bounds how far a mirror may fall behind the endpoint with the body of a
	// request, and maxMirrorLagAll what waits for all mirrors together, in bytes.
	maxMirrorLag    = 256 << 10
	maxMirrorLagAll = 8 << 20
	// maxMirrorResponse is what is read of a response, in bytes, so that the connection can
	// be used again.
	maxMirrorResponse = 1 << 20
	// maxMirrorSilence bounds how long a mirror may do nothing, and maxMirrorTime a copy as
	// a whole.
	maxMirrorSilence = 10 * time.Second
	maxMirrorTime    = time.Minute
)

// mirrors are the copies of requests that are under way to the Backends of
// [router.Mirror].
type mirrors struct {
	server   *Server
	settings Settings // the Server's, but nobody observes

	mu      sync.Mutex // guards what follows; held for a look at it
	closed  bool
	active  map[*mirror]struct{}
	copies  int
	sending map[*router.Backend]int
	waiting int // bytes that wait, of all copies

	running sync.WaitGroup
}

func newMirrors(s *Server) *mirrors {
	m := &mirrors{server: s, settings: s.settings, active: map[*mirror]struct{}{}, sending: map[*router.Backend]int{}}
	m.settings.Observe = nil
	m.settings.ResponseHeaderTimeout = min(m.settings.ResponseHeaderTimeout, maxMirrorSilence)
	m.settings.BodyTimeout = min(m.settings.BodyTimeout, maxMirrorSilence)
	return m
}

// reserve counts a copy, and reports whether there may be one more.
func (m *mirrors) reserve(backend *router.Backend) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.server.pressure.High() || m.copies >= maxMirroringAll || m.sending[backend] >= maxMirroring {
		m.server.stats.MirrorsCut.Add(1)
		return false
	}
	m.copies++
	m.sending[backend]++
	return true
}

// start sends a copy that there is room for.
func (m *mirrors) start(c *mirror) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.active[c] = struct{}{}
	m.server.stats.Mirroring.Add(1)
	if m.closed {
		c.flight.cancel(exchange.CauseDrained)
	}
	m.running.Go(c.run)
}

// release takes a copy off the count. It may not have been started.
func (m *mirrors) release(c *mirror, backend *router.Backend) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, started := m.active[c]; started {
		m.server.stats.Mirroring.Add(-1)
	}
	delete(m.active, c)
	m.copies--
	if m.sending[backend]--; m.sending[backend] == 0 {
		delete(m.sending, backend)
	}
}

// hold makes room for n bytes that wait, or gives room back when n is negative. It reports
// false when there is none.
func (m *mirrors) hold(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > 0 && m.waiting+n > maxMirrorLagAll {
		return false
	}
	m.waiting += n
	return true
}

// close ends all copies, and waits for them. No others are under way.
func (m *mirrors) close() {
	m.mu.Lock()
	m.closed = true
	active := slices.Collect(maps.Keys(m.active))
	m.mu.Unlock()
	for _, c := range active {
		c.flight.cancel(exchange.CauseDrained)
		c.cut()
	}
	m.running.Wait()
}

// mirror starts copies of the request, whose body follows by tee.
func (f *flight) mirror() {
	if f.Request.Upgrade != "" { // a conversation cannot be had with two
		return
	}
	action := &f.Rule.Action
	for i := range action.Mirrors {
		f.mirrorTo(&action.Mirrors[i], router.WeightedBackend{})
	}
	for i := range f.Chosen.Mirrors {
		f.mirrorTo(&f.Chosen.Mirrors[i], *f.Chosen)
	}
}

// mirrorTo starts one copy, or none by the mirror's share. chosen has the filters of the
// Backend that the mirror belongs to.
func (f *flight) mirrorTo(to *router.Mirror, chosen router.WeightedBackend) {
	if to.Backend == nil || rand.IntN(max(1, to.Denominator)) >= to.Numerator {
		return
	}
	all := f.server.pool.mirrors
	if !all.reserve(to.Backend) {
		return
	}
	c := &mirror{all: all, client: *f.Client, readable: newSignal()}
	chosen.Backend, chosen.Mirrors, chosen.Session = to.Backend, nil, nil
	c.flight.init(f.server, c, &c.client)
	c.flight.Settings, c.flight.Pressure = &all.settings, nil
	c.flight.begin()
	c.request = f.Request.Clone()
	c.request.Upgrade, c.request.Expect100 = "", false
	c.flight.Request = &c.request
	if !c.flight.CopyOf(&f.Exchange, &chosen) {
		all.release(c, to.Backend)
		return
	}
	c.ended = c.request.Framing == h1.NoBody
	f.mirrors = append(f.mirrors, c)
	all.start(c)
}

// tee gives payload of the request to the mirrors: what ends received bytes behind the
// beginning, as far as they have not got it in an attempt before.
func (f *flight) tee(data []byte, received int64) {
	fresh := received - f.teed
	if fresh <= 0 {
		return
	}
	f.teed = received
	data = data[max(0, int64(len(data))-fresh):]
	for _, c := range f.mirrors {
		c.give(data)
	}
}

// teeEnd tells the mirrors that the body has ended.
func (f *flight) teeEnd(trailers []h1.Field) {
	for _, c := range f.mirrors {
		c.close(h1.CloneFields(trailers))
	}
	f.forgetMirrors()
}

// forgetMirrors leaves the mirrors alone. Those whose request is not complete are cut: it
// never will be.
func (f *flight) forgetMirrors() {
	for _, c := range f.mirrors {
		c.cutShort()
	}
	clear(f.mirrors)
	f.mirrors = f.mirrors[:0]
}
