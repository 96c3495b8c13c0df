package router

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Backend is a resolved BackendRef: a Service and one of its ports. Tables share
// it; its endpoints change without a new Table. Safe for concurrent use.
type Backend struct {
	Name string // "namespace/name:port"

	settings  BackendSettings
	setting   sync.Mutex // held while endpoints is replaced; readers never take it
	endpoints atomic.Pointer[[]*Endpoint]
}

// NewBackend returns a Backend with the zero settings and no endpoints.
func NewBackend(name string) *Backend { return NewBackendWith(name, BackendSettings{}) }

// NewBackendWith returns a Backend with no endpoints. It panics if the settings
// contradict each other.
func NewBackendWith(name string, settings BackendSettings) *Backend {
	settings.check()
	return &Backend{Name: name, settings: settings}
}

// Settings are those that b was made with: read only.
func (b *Backend) Settings() *BackendSettings { return &b.settings }

// Protocol is what is spoken to b's endpoints.
func (b *Backend) Protocol() Protocol { return b.settings.Protocol }

// TLS is how b's endpoints are recognised; nil unless the Protocol is HTTPS.
func (b *Backend) TLS() *BackendTLS { return b.settings.TLS }

// SetEndpoints replaces the ready endpoints. An address that stays keeps its
// Endpoint, and with it its counters; one that is given twice counts once.
func (b *Backend) SetEndpoints(addrs []netip.AddrPort) {
	b.setting.Lock()
	defer b.setting.Unlock()
	known := make(map[netip.AddrPort]*Endpoint)
	for _, e := range b.Endpoints() {
		known[e.Addr] = e
	}
	endpoints := make([]*Endpoint, 0, len(addrs))
	placed := make(map[netip.AddrPort]bool, len(addrs))
	for _, addr := range addrs {
		if placed[addr] {
			continue
		}
		placed[addr] = true
		e := known[addr]
		if e == nil {
			e = &Endpoint{Addr: addr}
		}
		endpoints = append(endpoints, e)
	}
	b.endpoints.Store(&endpoints)
}

// Endpoints returns the ready endpoints. The slice is shared: read only.
func (b *Backend) Endpoints() []*Endpoint {
	if p := b.endpoints.Load(); p != nil {
		return *p
	}
	return nil
}

// Pick returns the endpoint for one attempt of an exchange, or nil when there is
// none that is not in tried: of two taken at random, the one with fewer exchanges
// in flight. Endpoints that failed lately are taken only if there are no others.
// It neither locks nor allocates.
func (b *Backend) Pick(tried ...*Endpoint) *Endpoint {
	all := b.Endpoints()
	c := choice{tried: tried}
	if len(all) < 2 {
		return c.search(all)
	}
	// Two different ones, each pair alike likely.
	i, j := rand.IntN(len(all)), rand.IntN(len(all)-1)
	if j >= i {
		j++
	}
	first, second := all[i], all[j]
	if c.rate(first) == inOrder && c.rate(second) == inOrder {
		return lessBusy(first, second)
	}
	return c.search(all)
}

// choice is one Pick.
type choice struct {
	tried []*Endpoint
	now   time.Time // read when an endpoint that failed is met; zero before
}

// rating says how much an endpoint is worth to a choice; higher is better.
type rating int

const (
	excluded rating = iota // tried in this exchange
	failing
	inOrder
)

func (c *choice) rate(e *Endpoint) rating {
	if slices.Contains(c.tried, e) {
		return excluded
	}
	f := e.failed.Load()
	if f == nil {
		return inOrder
	}
	if c.now.IsZero() {
		c.now = time.Now()
	}
	if c.now.Before(f.until) {
		return failing
	}
	return inOrder
}

// search chooses among the endpoints of the best rating there is: it takes two of
// them at random in one pass, each pair alike likely (reservoir sampling).
func (c *choice) search(all []*Endpoint) *Endpoint {
	var two [2]*Endpoint
	best, seen := failing, 0
	for _, e := range all {
		r := c.rate(e)
		if r < best {
			continue
		}
		if r > best {
			best, seen = r, 0
		}
		if place := rand.IntN(seen + 1); seen < 2 {
			two[seen] = two[place]
			two[place] = e
		} else if place < 2 {
			two[place] = e
		}
		seen++
	}
	if seen < 2 {
		return two[0]
	}
	return lessBusy(two[0], two[1])
}

// lessBusy returns the endpoint with fewer exchanges in flight, or first.
func lessBusy(first, second *Endpoint) *Endpoint {
	if second.inflight.Load() < first.inflight.Load() {
		return second
	}
	return first
}
