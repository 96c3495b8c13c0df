package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// tidyInterval is how often idle connections are looked through.
const tidyInterval = 5 * time.Second

// pool keeps idle upstream connections, by endpoint.
type pool struct {
	server  *Server
	open    func(context.Context, netip.AddrPort) (net.Conn, error)
	dialing context.Context // ends with abortDials
	abort   context.CancelFunc
	stats   *Stats
	max     int           // idle connections of an endpoint
	limit   time.Duration // how long a connection stays idle

	lists sync.Map // *router.Endpoint → *idle

	mirrors *mirrors

	h2      sync.Map       // *router.Endpoint → *h2List
	readers sync.WaitGroup // of HTTP/2 connections
}

// idle is the idle connections of one endpoint, the newest first: it is the
// least likely to be stale, and the oldest can end.
type idle struct {
	mu    sync.Mutex // held for a push, a pop or a sweep of one endpoint alone
	first *h1Upstream
	count int
	gone  bool // taken out of the pool's lists: nothing can be pushed
}

func newPool(s *Server) *pool {
	p := &pool{
		server: s,
		open:   s.settings.Dial,
		stats:  &s.stats,
		max:    s.settings.MaxIdlePerEndpoint,
		limit:  s.settings.UpstreamIdleTimeout,
	}
	p.mirrors = newMirrors(s)
	p.dialing, p.abort = context.WithCancel(context.Background())
	return p
}

// errCircuit is why a connection is not opened that would be one too many.
var errCircuit = errors.New("as many connections as there may be")

// connect opens a connection, which closed ends. It begins with preface, if there is one.
func (p *pool) connect(ctx context.Context, endpoint *router.Endpoint, preface []byte) (net.Conn, error) {
	if !endpoint.AcquireConnection() && !(p.makeRoom(endpoint) && endpoint.AcquireConnection()) {
		return nil, errCircuit
	}
	conn, err := p.open(ctx, endpoint.Addr)
	if err != nil {
		endpoint.ReleaseConnection()
		return nil, err
	}
	p.stats.Upstream.Add(1)
	if len(preface) == 0 {
		return conn, nil
	}
	if _, err := conn.Write(preface); err != nil { // it fits into any socket buffer
		conn.Close()
		p.closed(endpoint)
		return nil, err
	}
	return conn, nil
}

// closed notes that a connection has ended.
func (p *pool) closed(endpoint *router.Endpoint) {
	p.stats.Upstream.Add(-1)
	endpoint.ReleaseConnection()
}

// makeRoom closes an idle connection to an endpoint, whoever has it, and reports whether
// there was one.
func (p *pool) makeRoom(endpoint *router.Endpoint) bool {
	return p.reclaim(endpoint) || p.server.loops != nil && p.server.loops.Reclaim(endpoint)
}

// reclaim closes an idle connection of the pool's own.
func (p *pool) reclaim(endpoint *router.Endpoint) bool {
	u := p.get(endpoint)
	if u == nil {
		return false
	}
	u.close()
	return true
}

// get returns the newest idle connection, or nil.
func (p *pool) get(endpoint *router.Endpoint) *h1Upstream {
	list, ok := p.lists.Load(endpoint)
	if !ok {
		return nil
	}
	u := list.(*idle).pop()
	if u != nil {
		p.stats.UpstreamIdle.Add(-1)
		u.recycled = true
	}
	return u
}

// put takes an idle connection, or closes it when there are enough.
func (p *pool) put(u *h1Upstream, now time.Time) {
	u.since = now
	for {
		list, ok := p.lists.Load(u.endpoint)
		if !ok {
			list, _ = p.lists.LoadOrStore(u.endpoint, new(idle))
		}
		switch list.(*idle).push(u, p.max) {
		case pushed:
			p.stats.UpstreamIdle.Add(1)
			return
		case full:
			u.close()
			return
		case listGone:
			p.lists.CompareAndDelete(u.endpoint, list)
		}
	}
}

type pushResult uint8

const (
	pushed pushResult = iota
	full
	listGone
)

func (l *idle) push(u *h1Upstream, limit int) pushResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return listGone
	}
	if l.count >= limit {
		return full
	}
	u.later, l.first = l.first, u
	l.count++
	return pushed
}

func (l *idle) pop() *h1Upstream {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.first
	if u != nil {
		l.first, u.later = u.later, nil
		l.count--
	}
	return u
}

// sweep takes out the connections that are not kept, and marks an empty list
// as gone.
func (l *idle) sweep(keep func(*h1Upstream) bool) (removed []*h1Upstream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for link := &l.first; *link != nil; {
		u := *link
		if keep(u) {
			link = &u.later
			continue
		}
		*link = u.later
		l.count--
		removed = append(removed, u)
	}
	l.gone = l.first == nil
	return removed
}

// run closes idle connections that are too old or were closed by their peer,
// until ctx ends.
func (p *pool) run(ctx context.Context) {
	ticker := time.NewTicker(tidyInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			p.sweep(func(u *h1Upstream) bool { return now.Sub(u.since) < p.limit && u.quiet() })
			p.tidyH2()
		}
	}
}

// close ends what is mirrored, and closes every idle connection. No other exchange may be
// in flight.
func (p *pool) close() {
	p.abort()
	p.mirrors.close()
	p.sweep(func(*h1Upstream) bool { return false })
	p.closeH2()
}

func (p *pool) sweep(keep func(*h1Upstream) bool) {
	p.lists.Range(func(endpoint, list any) bool {
		removed := list.(*idle).sweep(keep)
		p.stats.UpstreamIdle.Add(-int64(len(removed)))
		for _, u := range removed {
			u.close()
		}
		if list.(*idle).isGone() {
			p.lists.CompareAndDelete(endpoint, list)
		}
		return true
	})
}

func (l *idle) isGone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}
