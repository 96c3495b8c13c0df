package address

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

const (
	// beatInterval is how often a replica is heard: some beats may be lost or late. Just
	// before each lifetimes are renewed.
	beatInterval = 200 * time.Millisecond
	// lifetime is how long the kernel keeps an address that is not renewed; it counts
	// in whole seconds and looks after a quarter of one more at most.
	lifetime = time.Second
	// frozen is when the kernel may have removed addresses that we still believe in.
	frozen = 900 * time.Millisecond
	// maxNap is how long sockets surely keep what was not read.
	maxNap = 3 * time.Second
	// deadAfter is when a replica that is not heard no longer has its addresses. Others
	// begin to probe for them a little before, when it is in doubt.
	deadAfter  = 1400 * time.Millisecond
	doubtAfter = 1100 * time.Millisecond
	// settled is how long a replica must have been heard before it gets addresses that
	// another holds: one that starts again and again shall not move them.
	settled = 5 * time.Second
)

// medium is how an election acts: one interface with its network.
type medium interface {
	probe(netip.Addr)
	announce(netip.Addr)
	// take gives the kernel an address, unless somebody else gave it one for longer.
	take(netip.Addr) error
	// hold renews the lifetime of an address that was taken.
	hold(netip.Addr) error
	// drop takes it away; one that is not there is no error.
	drop(netip.Addr) error
	// adopt renews those of the addresses that are on the interface, and that we, or a
	// process before this one, put there, and returns them.
	adopt([]netip.Addr) []netip.Addr
	// beat sends what we claim to the others.
	beat(group uint64, name string, claims []claim)
}

// election decides which addresses this replica holds. It is told the time with every
// call, and used by one goroutine.
type election struct {
	medium medium
	name   string // of this replica
	alone  bool   // nobody can be heard here: on lo
	log    *slog.Logger

	group   uint64
	entries map[netip.Addr]*entry
	peers   map[string]*peer
	// gone are hosts of replicas that died lately: until when.
	gone map[mac]time.Time
	// listening is since when we hear the others without a gap.
	listening time.Time
	beaten    time.Time // the last beat
	changed   bool      // the others should know at once
}

func newElection(m medium, name string, log *slog.Logger) *election {
	return &election{
		medium: m, name: name, log: log,
		entries: make(map[netip.Addr]*entry), peers: make(map[string]*peer), gone: make(map[mac]time.Time),
	}
}

// want replaces the wanted addresses. It goes on with those that a process before this one on
// the node had: to the other replicas we are the same one.
func (e *election) want(group uint64, addrs []netip.Addr) {
	if e.group != group {
		clear(e.peers)
		e.group = group
	}
	e.changed = true
	for addr, entry := range e.entries {
		if !slices.Contains(addrs, addr) {
			e.giveUp(addr, entry, "no longer wanted")
			delete(e.entries, addr)
		}
	}
	var fresh []netip.Addr
	for _, addr := range addrs {
		if e.entries[addr] == nil {
			e.entries[addr] = &entry{}
			fresh = append(fresh, addr)
		}
	}
	if len(fresh) == 0 {
		return
	}
	for _, addr := range e.medium.adopt(fresh) {
		e.entries[addr] = &entry{state: holding, announced: announceBurst}
		e.log.Info("address stays on this node, with another process", "address", addr.String())
	}
}

// step does what is due.
func (e *election) step(now time.Time) {
	if e.listening.IsZero() {
		e.listening = now
	}
	if since := now.Sub(e.beaten); !e.beaten.IsZero() && since > frozen {
		e.wake(now, since)
	}
	e.bury(now)
	for addr, entry := range e.entries {
		e.decide(addr, entry, now)
	}
	if e.changed || now.Sub(e.beaten) >= beatInterval {
		e.beat(now)
	}
}

// wake is called when this process did nothing for a time: addresses that the kernel
// removed may be others' by now, while for the rest it has answered all the time. What the
// others sent in the meantime is still to be read, unless it was long.
func (e *election) wake(now time.Time, since time.Duration) {
	why := fmt.Sprintf("this process stood still for %v", since.Round(time.Millisecond))
	if since > maxNap {
		e.reset(now, why)
		return
	}
	kept := e.medium.adopt(e.held())
	for addr, entry := range e.entries {
		switch {
		case slices.Contains(kept, addr):
			entry.renewed = now
		case entry.state == probing || entry.state == holding:
			e.giveUp(addr, entry, why)
		}
	}
	heard := now.Add(2*beatInterval - deadAfter) // so long they have to be heard again
	for _, p := range e.peers {
		p.heard = later(p.heard, heard)
	}
	e.listening = later(e.listening, heard)
}

// held are the addresses that we have, as far as we know.
func (e *election) held() []netip.Addr {
	var held []netip.Addr
	for addr, entry := range e.entries {
		if entry.state == holding {
			held = append(held, addr)
		}
	}
	return held
}

func later(x, y time.Time) time.Time {
	if x.After(y) {
		return x
	}
	return y
}

// reset gives everything up, and listens anew.
func (e *election) reset(now time.Time, why string) {
	for addr, entry := range e.entries {
		e.giveUp(addr, entry, why)
	}
	clear(e.peers)
	e.listening, e.beaten = now, time.Time{}
}

// leave gives everything up and says so.
func (e *election) leave() {
	e.want(e.group, nil)
	e.medium.beat(e.group, e.name, nil)
}

func (e *election) beat(now time.Time) {
	e.renew(now)
	e.beaten, e.changed = now, false
	e.medium.beat(e.group, e.name, e.claims())
}

// renew keeps the kernel from removing what we have.
func (e *election) renew(now time.Time) {
	for addr, entry := range e.entries {
		if entry.state == holding {
			e.hold(addr, entry, now)
		}
	}
}

// hold renews the lifetime of an address that we have, and reports whether it could. What fails, as
// where others keep the kernel busy, is tried again with the next beats, for as long as the kernel
// keeps the address all the same.
func (e *election) hold(addr netip.Addr, entry *entry, now time.Time) bool {
	err := e.medium.hold(addr)
	switch {
	case err == nil || entry.renewed.IsZero(): // or it was adopted a moment ago
		entry.renewed = now
	case now.Sub(entry.renewed) > frozen:
		e.refuse(addr, entry, err, now)
	}
	return err == nil
}

// restore is told that an address went away from the interface. Linux may remove one that
// is renewed while it looks for those that end (check_lifetime of net/ipv4/devinet.c reads
// the time once, and an address that is newer than that seems very old to it).
func (e *election) restore(addr netip.Addr, now time.Time) {
	entry := e.entries[addr]
	if entry == nil || entry.state != holding || now.Sub(e.beaten) > frozen {
		return // we took it away, or it may be another's
	}
	if e.hold(addr, entry, now) {
		e.log.Warn("address was taken from this node, and is back", "address", addr.String())
	}
}

func (e *election) claims() []claim {
	claims := make([]claim, 0, len(e.entries))
	for addr, entry := range e.entries {
		claims = append(claims, claim{addr: addr, state: entry.state, rival: entry.rival})
	}
	slices.SortFunc(claims, func(x, y claim) int { return x.addr.Compare(y.addr) })
	return claims
}
