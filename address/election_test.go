package address

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// ether is a network of elections, in a time of its own. It loses some of what is
// sent, and keeps each kernel's addresses for their lifetime.
type ether struct {
	now      time.Time
	random   *rand.Rand
	loss     float64
	stations []*station
}

// station is a node: it crashes and freezes, but its kernel does not.
type station struct {
	*ether
	host     mac
	name     string
	election *election
	stopped  bool
	kernel   map[netip.Addr]time.Time // until when it has an address
	refuses  int                      // so many times it takes none
}

func (s *station) has(addr netip.Addr) bool { return s.now.Before(s.kernel[addr]) }

// others are the stations that what s sends just now reaches.
func (s *station) others() []*station {
	var others []*station
	for _, o := range s.stations {
		if o != s && s.random.Float64() >= s.loss {
			others = append(others, o)
		}
	}
	return others
}

func (s *station) probe(addr netip.Addr) {
	for _, o := range s.others() {
		if !o.stopped {
			o.election.sight(sighting{addr, s.host, true}, s.now)
		}
		if o.has(addr) && s.random.Float64() >= s.loss {
			s.election.sight(sighting{addr, o.host, false}, s.now)
		}
	}
}

func (s *station) announce(addr netip.Addr) {
	for _, o := range s.others() {
		if !o.stopped {
			o.election.sight(sighting{addr, s.host, false}, s.now)
		}
	}
}

func (s *station) take(addr netip.Addr) error { return s.hold(addr) }

func (s *station) hold(addr netip.Addr) error {
	if s.refuses > 0 {
		s.refuses--
		return errors.New("the kernel is busy")
	}
	s.kernel[addr] = s.now.Add(lifetime + time.Duration(s.random.IntN(250))*time.Millisecond)
	return nil
}

func (s *station) drop(addr netip.Addr) error {
	delete(s.kernel, addr)
	return nil
}

func (s *station) adopt(addrs []netip.Addr) (adopted []netip.Addr) {
	for _, addr := range addrs {
		if s.has(addr) && s.hold(addr) == nil {
			adopted = append(adopted, addr)
		}
	}
	return adopted
}

func (s *station) beat(group uint64, name string, claims []claim) {
	others := s.others()
	for _, h := range heartbeats(group, name, claims) {
		for _, o := range others {
			if !o.stopped {
				o.election.hear(h, s.host, s.now)
			}
		}
	}
}

func (s *station) restart(addrs []netip.Addr) {
	s.election = newElection(s, s.name, slog.New(slog.DiscardHandler))
	s.election.want(1, addrs)
	s.stopped = false
}

func (s *station) replace(t *testing.T, addrs []netip.Addr) {
	s.election.renew(s.now)
	s.stopped = true
	for end := s.now.Add(time.Duration(s.random.IntN(2500)-500) * time.Millisecond); s.now.Before(end); {
		s.step(t, addrs)
	}
	s.restart(addrs)
}

// TestElectionsNeverHaveTwoOwners crashes, freezes, stops and restarts nodes at random
// on a network that loses frames. At no time two kernels have one address; and when
// nothing happens for a while, every address has an owner.
func TestElectionsNeverHaveTwoOwners(t *testing.T) {
	t.Parallel() // with the tests that wait for networks
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { simulate(t, seed) })
	}
}

func simulate(t *testing.T, seed uint64) {
	e := &ether{now: time.Unix(1_700_000_000, 0), random: rand.New(rand.NewPCG(seed, 0)), loss: 0.05}
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")}
	for i := range 3 {
		s := &station{ether: e, name: fmt.Sprintf("n%d", i), host: mac{2, 5: byte(i)}, kernel: make(map[netip.Addr]time.Time)}
		s.restart(addrs)
		e.stations = append(e.stations, s)
	}
	for range 30 {
		e.disturb(t, addrs)
		quiet := time.Duration(e.random.IntN(8000)) * time.Millisecond
		for end := e.now.Add(quiet); e.now.Before(end); {
			e.step(t, addrs)
		}
	}
	e.loss = 0
	for _, s := range e.stations[:2] { // one node more is dead
		s.stopped, s.refuses = false, 0
	}
	e.stations[2].stopped = true
	for end := e.now.Add(15 * time.Second); e.now.Before(end); {
		e.step(t, addrs)
	}
	for _, addr := range addrs {
		if e.owners(addr) != 1 {
			t.Errorf("%v has %d owners in the end", addr, e.owners(addr))
		}
		for _, s := range e.stations[:2] {
			if got, ok := s.election.answers(e.now)[addr]; !ok || got != "" {
				t.Errorf("%s says of %v: %q, %v", s.name, addr, got, ok)
			}
		}
	}
}

// TestStandstill has a process do nothing for a second: it keeps the address that its kernel
// still has, and gives up the one that may be another's.
func TestStandstill(t *testing.T) {
	e := &ether{now: time.Unix(1_700_000_000, 0), random: rand.New(rand.NewPCG(1, 0))}
	kept, gone := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	addrs := []netip.Addr{kept, gone}
	s := &station{ether: e, name: "n0", host: mac{2}, kernel: make(map[netip.Addr]time.Time)}
	s.restart(addrs)
	e.stations = []*station{s}
	for end := e.now.Add(3 * time.Second); e.now.Before(end); {
		e.step(t, addrs)
	}
	if !s.has(kept) || !s.has(gone) {
		t.Fatal("the addresses are not on the node")
	}
	e.now = e.now.Add(time.Second)
	s.kernel[kept], s.kernel[gone] = e.now.Add(time.Millisecond), e.now
	s.election.step(e.now)
	if !s.has(kept) || s.has(gone) {
		t.Errorf("the node has %v: %t, and %v: %t", kept, s.has(kept), gone, s.has(gone))
	}
}

// TestTakingThatFailsIsTriedAgain has a kernel not take an address at first: nobody waits for it longer
// than for the kernel.
func TestTakingThatFailsIsTriedAgain(t *testing.T) {
	e := &ether{now: time.Unix(1_700_000_000, 0), random: rand.New(rand.NewPCG(1, 0))}
	addr := netip.MustParseAddr("192.0.2.1")
	s := &station{ether: e, name: "n0", host: mac{2}, kernel: make(map[netip.Addr]time.Time), refuses: 2}
	s.restart([]netip.Addr{addr})
	e.stations = []*station{s}
	for end := e.now.Add(3 * time.Second); e.now.Before(end); {
		e.step(t, []netip.Addr{addr})
	}
	if !s.has(addr) {
		t.Errorf("after 3 s the address is not on the node, which is %v", s.election.entries[addr].state)
	}
}

// TestRenewalsThatFailAreTriedAgain has a kernel take no renewal for a while: the node goes on with the
// address as long as its kernel does, and gives it up if that lasts.
func TestRenewalsThatFailAreTriedAgain(t *testing.T) {
	e := &ether{now: time.Unix(1_700_000_000, 0), random: rand.New(rand.NewPCG(1, 0))}
	addr := netip.MustParseAddr("192.0.2.1")
	for i := range 2 {
		s := &station{ether: e, name: fmt.Sprintf("n%d", i), host: mac{2, 5: byte(i)}, kernel: make(map[netip.Addr]time.Time)}
		s.restart([]netip.Addr{addr})
		e.stations = append(e.stations, s)
	}
	run := func(d time.Duration, each func()) {
		for end := e.now.Add(d); e.now.Before(end); each() {
			e.step(t, []netip.Addr{addr})
		}
	}
	run(3*time.Second, func() {})
	owner, other := e.stations[0], e.stations[1]
	if other.has(addr) {
		owner, other = other, owner
	}
	const enough = 2 // a third renewal is in time
	for range 5 {
		owner.refuses = enough
		run(2*time.Second, func() {
			if !owner.has(addr) || owner.refuses == 0 && owner.election.entries[addr].state != holding {
				t.Fatalf("after %d renewals that failed the node has lost the address", enough-owner.refuses)
			}
		})
	}
	owner.refuses = 1000
	run(5*time.Second, func() {})
	if !other.has(addr) {
		t.Error("nobody else has the address when renewals fail for good")
	}
}

// disturb does something to one of the nodes.
func (e *ether) disturb(t *testing.T, addrs []netip.Addr) {
	s := e.stations[e.random.IntN(len(e.stations))]
	switch e.random.IntN(6) {
	case 0: // crashes, or is frozen
		s.stopped = true
	case 1: // goes on where it was
		s.stopped = false
	case 2: // starts again after a crash
		s.restart(addrs)
	case 3: // starts again after a proper end
		if !s.stopped {
			s.election.leave()
		}
		s.restart(addrs)
	case 4: // is replaced by a process that may be slow to come
		if !s.stopped {
			s.replace(t, addrs)
		}
	case 5: // has a kernel that is busy
		s.refuses = e.random.IntN(20)
	}
}

func (e *ether) step(t *testing.T, addrs []netip.Addr) {
	e.now = e.now.Add(time.Duration(40+e.random.IntN(20)) * time.Millisecond)
	for _, i := range e.random.Perm(len(e.stations)) {
		if s := e.stations[i]; !s.stopped {
			s.election.step(e.now)
		}
		for _, addr := range addrs {
			if n := e.owners(addr); n > 1 {
				t.Fatalf("%v: %v has %d owners", e.now.Sub(time.Unix(1_700_000_000, 0)), addr, n)
			}
		}
	}
}

func (e *ether) owners(addr netip.Addr) int {
	n := 0
	for _, s := range e.stations {
		if s.has(addr) {
			n++
		}
	}
	return n
}
