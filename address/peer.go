package address

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// peer is another replica that is heard.
type peer struct {
	since, heard time.Time
	doubtful     bool // not heard for doubtAfter
	host         mac
	parts        map[uint8][]claim
}

func (p *peer) claim(addr netip.Addr) (claim, bool) {
	for _, claims := range p.parts {
		for _, c := range claims {
			if c.addr == addr {
				return c, true
			}
		}
	}
	return claim{}, false
}

// hear is told a heartbeat and the host that sent it.
func (e *election) hear(h heartbeat, host mac, now time.Time) {
	if h.group != e.group || h.name == e.name {
		return
	}
	p := e.peers[h.name]
	if p == nil {
		p = &peer{since: now, parts: make(map[uint8][]claim)}
		e.peers[h.name] = p
		e.changed = true // so that it need not wait until it hears us
		e.log.Info("replica for addresses is here", "replica", h.name)
	}
	p.heard, p.doubtful, p.host = now, false, host
	for _, entry := range e.entries {
		if entry.rival == host { // no stranger, after all
			entry.rival, entry.seen, entry.said = mac{}, time.Time{}, ""
			if entry.state == conflicting {
				e.wait(entry)
			}
		}
	}
	p.parts[h.part] = h.claims
	for part := range p.parts {
		if part >= h.parts {
			delete(p.parts, part)
		}
	}
}

// isReplica reports whether a host is a replica of ours, or was one lately.
func (e *election) isReplica(host mac) bool {
	for _, p := range e.peers {
		if p.host == host {
			return true
		}
	}
	_, lately := e.gone[host]
	return lately
}

// bury forgets replicas that are not heard any more.
func (e *election) bury(now time.Time) {
	for name, p := range e.peers {
		p.doubtful = now.Sub(p.heard) > doubtAfter
		if now.Sub(p.heard) > deadAfter {
			delete(e.peers, name)
			e.gone[p.host] = now.Add(retryInterval)
			e.log.Warn("replica for addresses is not heard any more", "replica", name)
		}
	}
	for host, until := range e.gone {
		if now.After(until) {
			delete(e.gone, host)
		}
	}
}

// winner returns who shall hold an address: "" for nobody.
func (e *election) winner(addr netip.Addr) string {
	var winner string
	var most uint64
	consider := func(name string, s state) {
		if weight := weight(name, addr); s.candidate() && (winner == "" || cmp.Or(cmp.Compare(weight, most), cmp.Compare(name, winner)) > 0) {
			winner, most = name, weight
		}
	}
	if entry := e.entries[addr]; entry != nil {
		consider(e.name, entry.state)
	}
	for name, p := range e.peers {
		if c, ok := p.claim(addr); ok && !p.doubtful {
			consider(name, c.state)
		}
	}
	return winner
}

// holder returns another replica that has the address, or "".
func (e *election) holder(addr netip.Addr) string {
	for name, p := range e.peers {
		if c, ok := p.claim(addr); ok && c.state == holding && !p.doubtful {
			return name
		}
	}
	return ""
}

// inDoubt reports whether a replica had the address that may be dead.
func (e *election) inDoubt(addr netip.Addr) bool {
	for _, p := range e.peers {
		if c, ok := p.claim(addr); ok && c.state == holding && p.doubtful {
			return true
		}
	}
	return false
}

// weight is the same on every replica.
func weight(name string, addr netip.Addr) uint64 {
	sum := sha256.Sum256(append([]byte(name+"\x00"), addr.AsSlice()...))
	return binary.BigEndian.Uint64(sum[:])
}

// jitter keeps two that probed at once from doing so again: up to 200 ms.
func jitter(name string, addr netip.Addr) time.Duration {
	return time.Duration(weight(name, addr)%200) * time.Millisecond
}
