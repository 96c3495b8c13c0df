package address

import (
	"net/netip"
	"time"
)

const (
	// A host on a local network answers in milliseconds: so the pauses between probes
	// are shorter than those of RFC 5227 (1 s), which was made for any link. Whoever
	// missed all of them is noticed later by what it sends.
	probeCount    = 4
	probeInterval = 50 * time.Millisecond
	// takeTries is how often the kernel is asked to take an address that nobody else has, as long
	// after each other as probes: others may keep it busy for a moment.
	takeTries = 3
	// Announcements: a burst after an address was taken, then for caches that missed it.
	announceBurst    = 3
	announceQuick    = 300 * time.Millisecond
	announceInterval = 10 * time.Second
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

// entry is one wanted address.
type entry struct {
	state  state
	reason string    // why it cannot be used, in the last two states
	retry  time.Time // not tried before
	rival  mac
	seen   time.Time // of rival, while holding
	// renewed is when the kernel last took the address for its lifetime, while holding. It is zero
	// until the first beat if the address was adopted.
	renewed time.Time

	probes    int
	tries     int       // to take it
	next      time.Time // of the next probe or announcement
	announced int
	defended  time.Time

	said string // the last reason that was logged
	// answer is what was last decided, and when that was still so.
	answer   string
	answered time.Time
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
			entry.state, entry.probes, entry.tries, entry.next = probing, 0, 0, now
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
		if entry.tries++; entry.tries < takeTries {
			entry.next = now.Add(probeInterval)
			return
		}
		e.refuse(addr, entry, err, now)
		return
	}
	entry.state, entry.announced, entry.next, entry.said, entry.renewed = holding, 0, now, "", now
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
