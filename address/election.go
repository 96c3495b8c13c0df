package address

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

const (
	// beatInterval is how often a replica is heard: some beats may be lost or late.
	beatInterval = 200 * time.Millisecond
	// renewInterval is how often lifetimes are renewed, just before a beat.
	renewInterval = 2 * beatInterval
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

	// A host on a local network answers in milliseconds: so the pauses between probes
	// are shorter than those of RFC 5227 (1 s), which was made for any link. Whoever
	// missed all of them is noticed later by what it sends.
	probeCount    = 4
	probeInterval = 50 * time.Millisecond
	// Announcements: a burst after an address was taken, then for caches that missed it.
	announceBurst    = 3
	announceQuick    = 300 * time.Millisecond
	announceInterval = 10 * time.Second
	// defendInterval bounds how often an address is defended (RFC 5227, 2.4 c).
	defendInterval = 10 * time.Second
	// rivalMemory is how long a host that was seen with our address is reported.
	rivalMemory = 3 * defendInterval
	// retryInterval is when an address that could not be taken is tried again;
	// retrySoon where another replica is about to take it, too.
	retryInterval = 5 * time.Second
	retrySoon     = 100 * time.Millisecond
)

// state is what this replica has of an address. The numbers are part of heartbeats.
type state uint8

const (
	// waiting: another replica has or gets it, or it is not decided yet.
	waiting state = iota
	// probing: about to take it.
	probing
	// holding: it is on our interface.
	holding
	// conflicting: a stranger uses it.
	conflicting
	// unable: our kernel refuses it. Another replica may get it.
	unable
)

// candidate reports whether who is in this state may get the address.
func (s state) candidate() bool { return s <= conflicting }

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
	// discard takes away what a process before this one left behind.
	discard(netip.Addr)
	// beat sends what we claim to the others.
	beat(group uint64, name string, claims []claim)
}

// entry is one wanted address.
type entry struct {
	state  state
	reason string    // why it cannot be used, in the last two states
	retry  time.Time // not tried before
	rival  mac
	seen   time.Time // of rival, while holding

	probes    int
	next      time.Time // of the next probe or announcement
	announced int
	defended  time.Time

	said string // the last reason that was logged
	// answer is what was last decided, and when that was still so.
	answer   string
	answered time.Time
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
	renewed   time.Time
	changed   bool // the others should know at once
}

func newElection(m medium, name string, log *slog.Logger) *election {
	return &election{
		medium: m, name: name, log: log,
		entries: make(map[netip.Addr]*entry), peers: make(map[string]*peer), gone: make(map[mac]time.Time),
	}
}

// want replaces the wanted addresses.
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
	for _, addr := range addrs {
		if e.entries[addr] == nil {
			e.medium.discard(addr)
			e.entries[addr] = &entry{}
		}
	}
}

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

// wake is called when this process did nothing for a time: its addresses are others'
// by now. What the others sent in the meantime is still to be read, unless it was long.
func (e *election) wake(now time.Time, since time.Duration) {
	why := fmt.Sprintf("this process stood still for %v", since.Round(time.Millisecond))
	if since > maxNap {
		e.reset(now, why)
		return
	}
	for addr, entry := range e.entries {
		if entry.state == holding || entry.state == probing {
			e.giveUp(addr, entry, why)
		}
	}
	heard := now.Add(2*beatInterval - deadAfter) // so long they have to be heard again
	for _, p := range e.peers {
		p.heard = later(p.heard, heard)
	}
	e.listening = later(e.listening, heard)
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

// inherit goes on with addresses that a process before this one on the node had, and left
// to us: to the other replicas we are the same one. What is not wanted any more is dropped.
func (e *election) inherit(wanted, left []netip.Addr) {
	for _, addr := range left {
		if !slices.Contains(wanted, addr) || e.medium.hold(addr) != nil {
			e.medium.discard(addr)
			continue
		}
		e.entries[addr] = &entry{state: holding, announced: announceBurst}
		e.log.Info("address stays on this node, with another process", "address", addr.String())
	}
}

// bequeath returns the addresses that this process has, for the next one on the node. They
// stay for a lifetime, and the other replicas are told nothing.
func (e *election) bequeath() []netip.Addr {
	var left []netip.Addr
	for addr, entry := range e.entries {
		if entry.state == holding && e.medium.hold(addr) == nil {
			left = append(left, addr)
		}
	}
	return left
}

// leave gives everything up and says so.
func (e *election) leave() {
	e.want(e.group, nil)
	e.medium.beat(e.group, e.name, nil)
}

func (e *election) beat(now time.Time) {
	if now.Sub(e.renewed) >= renewInterval {
		e.renew(now)
	}
	e.beaten, e.changed = now, false
	e.medium.beat(e.group, e.name, e.claims())
}

// renew keeps the kernel from removing what we have.
func (e *election) renew(now time.Time) {
	e.renewed = now
	for addr, entry := range e.entries {
		if entry.state != holding {
			continue
		}
		if err := e.medium.hold(addr); err != nil {
			e.refuse(addr, entry, err, now)
		}
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

// decide moves one address to its next state.
func (e *election) decide(addr netip.Addr, entry *entry, now time.Time) {
	winner, holder := e.winner(addr), e.holder(addr)
	mine := winner == e.name
	switch entry.state {
	case waiting, conflicting, unable:
		if entry.state != waiting && now.After(entry.retry) {
			e.wait(entry)
			mine = e.winner(addr) == e.name
		}
		if entry.state == waiting && mine && holder == "" && e.heardAll(now) && !now.Before(entry.retry) {
			entry.state, entry.probes, entry.next = probing, 0, now
			e.decide(addr, entry, now)
		}
	case probing:
		switch {
		case !mine || holder != "":
			e.wait(entry)
		case now.Before(entry.next):
		case entry.probes < probeCount && !e.alone:
			e.medium.probe(addr)
			entry.probes++
			entry.next = now.Add(probeInterval)
		case !e.inDoubt(addr):
			e.take(addr, entry, now)
		}
	case holding:
		e.keep(addr, entry, winner, holder, now)
	}
}

func (e *election) wait(entry *entry) {
	entry.state, entry.reason, entry.rival, entry.seen = waiting, "", mac{}, time.Time{}
}

// heardAll reports whether we have listened for long enough to have heard everybody.
func (e *election) heardAll(now time.Time) bool {
	return e.alone || now.Sub(e.listening) > deadAfter
}

func (e *election) take(addr netip.Addr, entry *entry, now time.Time) {
	if err := e.medium.take(addr); err != nil {
		e.refuse(addr, entry, err, now)
		return
	}
	entry.state, entry.announced, entry.next, entry.said = holding, 0, now, ""
	e.changed = true
	e.log.Info("address is on this node", "address", addr.String())
	e.decide(addr, entry, now)
}

// refuse notes that the kernel does not take an address.
func (e *election) refuse(addr netip.Addr, entry *entry, err error, now time.Time) {
	e.complain(addr, entry, err.Error())
	entry.state, entry.reason, entry.retry = unable, err.Error(), now.Add(retryInterval)
	e.changed = true
}

// keep gives an address up that another replica shall have, and announces it else.
func (e *election) keep(addr netip.Addr, entry *entry, winner, holder string, now time.Time) {
	if winner != e.name && (holder != "" || now.Sub(e.peers[winner].since) > settled) {
		e.giveUp(addr, entry, "goes to "+winner)
		return
	}
	if !entry.seen.IsZero() && now.Sub(entry.seen) > rivalMemory {
		entry.rival, entry.seen, entry.said = mac{}, time.Time{}, ""
		e.log.Info("address conflict is over", "address", addr.String())
	}
	if holder != "" && entry.announced >= announceBurst { // the network was parted: caches may have the other
		entry.announced, entry.next = 0, now
	}
	if now.Before(entry.next) {
		return
	}
	e.medium.announce(addr)
	entry.announced++
	entry.next = now.Add(announceQuick)
	if entry.announced >= announceBurst {
		entry.next = now.Add(announceInterval)
	}
}

// giveUp makes an address wait, and takes it from the interface.
func (e *election) giveUp(addr netip.Addr, entry *entry, why string) {
	if entry.state == holding {
		if err := e.medium.drop(addr); err != nil {
			e.log.Error("cannot take address away; it lasts for a second", "address", addr.String(), "err", err)
		}
		e.log.Info("address is no longer on this node", "address", addr.String(), "why", why)
		e.changed = true
	}
	e.wait(entry)
}

// answers returns "" for an address that is announced, here or by another replica, or
// else why it cannot be used. One that is not decided is missing, unless it was a
// moment ago: an address that moves stays usable.
func (e *election) answers(now time.Time) map[netip.Addr]string {
	answers := make(map[netip.Addr]string, len(e.entries))
	for addr, entry := range e.entries {
		if answer, decided := e.answer(addr, entry); decided {
			entry.answer, entry.answered = answer, now
		}
		if !entry.answered.IsZero() && now.Sub(entry.answered) < settled {
			answers[addr] = entry.answer
		}
	}
	return answers
}

func (e *election) answer(addr netip.Addr, entry *entry) (text string, decided bool) {
	winner := e.winner(addr)
	switch {
	case entry.state == holding && !entry.seen.IsZero():
		return conflict(entry.rival), true
	case entry.state == holding || e.holder(addr) != "":
		return "", true
	case entry.state == conflicting || entry.state == unable && winner == "":
		return entry.reason, true
	case winner != "" && winner != e.name:
		c, _ := e.peers[winner].claim(addr)
		return conflict(c.rival), c.state == conflicting
	}
	return "", false
}
