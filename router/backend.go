package router

import (
	"net/netip"
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
	endpoints atomic.Pointer[endpointSet]
	ejecting  sync.Mutex // held while an endpoint is ejected; nobody waits for it
	requests  counter
	pending   counter
	budget    budget
}

// endpointSet is immutable, but for what its endpoints count.
type endpointSet struct {
	all    []*Endpoint
	hashes []uint64 // of all, side by side in memory
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
// Endpoint, and with it its counters; one that is given twice counts once. One that
// comes to others that were there has a slow start, if b has.
func (b *Backend) SetEndpoints(addrs []netip.AddrPort) {
	b.setting.Lock()
	defer b.setting.Unlock()
	known := make(map[netip.AddrPort]*Endpoint)
	for _, e := range b.Endpoints() {
		known[e.Addr] = e
	}
	slow := len(known) > 0 && b.settings.SlowStart > 0
	set := &endpointSet{all: make([]*Endpoint, 0, len(addrs)), hashes: make([]uint64, 0, len(addrs))}
	placed := make(map[netip.AddrPort]bool, len(addrs))
	for _, addr := range addrs {
		if placed[addr] {
			continue
		}
		placed[addr] = true
		e := known[addr]
		if e == nil {
			e = newEndpoint(b, addr)
			if slow {
				e.hold.Store(newHold(time.Now(), b.settings.SlowStart))
			}
		}
		set.all = append(set.all, e)
		set.hashes = append(set.hashes, e.hash)
	}
	b.endpoints.Store(set)
}

// Endpoints returns the ready endpoints. The slice is shared: read only.
func (b *Backend) Endpoints() []*Endpoint {
	if set := b.endpoints.Load(); set != nil {
		return set.all
	}
	return nil
}
