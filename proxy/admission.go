package proxy

import (
	"net/netip"
	"sync"
)

// admission bounds the open connections of each client address, over all sockets.
type admission struct {
	limit int                           // 0 and less: none
	free  func(address netip.Addr) bool // addresses that are not bounded
	mu    sync.Mutex                    // held for one look at open
	open  map[netip.Addr]int
}

// enter counts a connection, and reports whether there may be one more.
func (a *admission) enter(address netip.Addr) bool {
	if a.unbounded(address) {
		return true
	}
	key := household(address)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[key] >= a.limit {
		return false
	}
	a.open[key]++
	return true
}

// leave takes a connection that entered off the count.
func (a *admission) leave(address netip.Addr) {
	if a.unbounded(address) {
		return
	}
	key := household(address)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[key]--; a.open[key] == 0 {
		delete(a.open, key)
	}
}

func (a *admission) unbounded(address netip.Addr) bool {
	return a.limit <= 0 || !address.IsValid() || a.free(address)
}

// household is the address, or for IPv6 its /64: who has one of these addresses
// has all of them (RFC 6177).
func household(address netip.Addr) netip.Addr {
	if address.Is4() {
		return address
	}
	prefix, err := address.Prefix(64)
	if err != nil {
		return address
	}
	return prefix.Addr()
}
