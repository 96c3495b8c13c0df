package address

import (
	"fmt"
	"net/netip"
	"time"
)

const (
	// defendInterval bounds how often an address is defended (RFC 5227, 2.4 c).
	defendInterval = 10 * time.Second
	// rivalMemory is how long a host that was seen with our address is reported.
	rivalMemory = 3 * defendInterval
)

// sight is told what a host sent about an address.
func (e *election) sight(s sighting, now time.Time) {
	entry := e.entries[s.addr]
	if entry == nil {
		return
	}
	switch entry.state {
	case probing:
		if s.probe { // another is about to take it: we shall hear of it
			e.wait(entry)
			entry.retry = now.Add(retrySoon + jitter(e.name, s.addr))
			return
		}
		if e.isReplica(s.host) { // its kernel still has the address
			entry.probes, entry.next = 0, now.Add(probeInterval)
			return
		}
		entry.state, entry.rival, entry.reason = conflicting, s.host, conflict(s.host)
		entry.retry = now.Add(retryInterval)
		e.changed = true
		e.complain(s.addr, entry, entry.reason)
	case holding:
		if s.probe || e.isReplica(s.host) {
			return // the kernel answers probes; replicas settle it by heartbeats
		}
		e.complain(s.addr, entry, conflict(s.host))
		entry.rival, entry.seen = s.host, now
		if now.Sub(entry.defended) >= defendInterval {
			entry.defended = now
			e.medium.announce(s.addr)
		}
	case waiting, conflicting, unable:
	}
}

func conflict(host mac) string {
	return fmt.Sprintf("in use by the host with hardware address %s, which is no replica of ours: take it out of the pool, or away from that host", host)
}

// complain logs why an address cannot be used, once.
func (e *election) complain(addr netip.Addr, entry *entry, why string) {
	if entry.said != why {
		entry.said = why
		e.log.Error("address cannot be used", "address", addr.String(), "why", why)
	}
}
