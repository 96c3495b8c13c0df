package address

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lintel-dev/lintel/internal/succession"
)

// machine is one node on whose only interface processes follow each other. They are
// Announcers of this process: the kernel sees no difference.
type machine struct {
	*lan
	addrs []string
	seat  string // the name of it
}

func newMachine(t *testing.T, addrs ...string) *machine {
	m := &machine{lan: &lan{T: t, bridge: &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "cable"}}, addrs: addrs}
	m.must(netlink.LinkAdd(m.bridge))
	for _, end := range []string{"eth0", "cable"} {
		link, err := netlink.LinkByName(end)
		m.must(err)
		m.must(netlink.LinkSetUp(link))
	}
	m.seat = seatName("eth0", (&Want{}).number())
	return m
}

// follower is what a process does with addresses.
type follower struct {
	*Announcer
	stop  context.CancelFunc
	ended chan struct{}
}

func (m *machine) run() *follower {
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{
		Announcer: New(Options{Interface: "eth0", Name: "a", Log: slog.New(slog.NewTextHandler(m.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}),
		stop:      stop, ended: make(chan struct{}),
	}
	var want Want
	for _, addr := range m.addrs {
		want.Addresses = append(want.Addresses, netip.MustParseAddr(addr))
	}
	f.Apply(want)
	go func() {
		defer close(f.ended)
		_ = f.Run(ctx)
	}()
	m.Cleanup(f.end)
	return f
}

// end ends a follower as a process does that is told to.
func (f *follower) end() {
	f.stop()
	<-f.ended
}

// settled waits until a follower has the addresses, or waits for another that has them.
func (m *machine) settled(f *follower) {
	m.Helper()
	m.eventually("the addresses are usable", func() bool {
		answers := f.Answers()
		return len(answers) == len(m.addrs) && !slices.ContainsFunc(m.addrs, func(addr string) bool { return answers[netip.MustParseAddr(addr)] != "" })
	})
}

// has reports whether the interface has all addresses.
func (m *machine) has() bool {
	m.Helper()
	found, err := netlink.AddrList(m.bridge, netlink.FAMILY_ALL)
	m.must(err)
	for _, addr := range m.addrs {
		if !slices.ContainsFunc(found, func(a netlink.Addr) bool { return a.IP.Equal(net.ParseIP(addr)) }) {
			return false
		}
	}
	return true
}

// changes are what the kernel says of addresses from now on.
func (m *machine) changes() <-chan netlink.AddrUpdate {
	m.Helper()
	changes, done := make(chan netlink.AddrUpdate, 1_000_000), make(chan struct{})
	m.must(netlink.AddrSubscribe(changes, done))
	m.Cleanup(func() { close(done) })
	return changes
}

// stayed fails if the kernel took an address away.
func (m *machine) stayed(changes <-chan netlink.AddrUpdate) {
	m.Helper()
	for {
		select {
		case change := <-changes:
			if !change.NewAddr {
				m.Errorf("%v was taken from the node", change.LinkAddress.IP)
			}
		default:
			if !m.has() {
				m.Error("the addresses are not on the node")
			}
			return
		}
	}
}

// TestAddressesStayWhileProcessesFollowEachOther hands addresses on again and again
// among up to three processes, which come and go as they like: only somebody else always waits
// when one is told to end.
func TestAddressesStayWhileProcessesFollowEachOther(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const times = 200
	m := newMachine(t, "10.9.0.100", "10.9.0.101", "fd09::100")
	random := rand.New(rand.NewPCG(1, 2))
	running := []*follower{m.run()}
	m.eventually("the addresses are on the node", m.has)
	m.settled(running[0])
	changes := m.changes()
	for range times {
		for len(running) < 2+random.IntN(2) {
			running = append(running, m.run())
			m.settled(running[len(running)-1])
		}
		i := random.IntN(len(running))
		leaving := running[i]
		running = slices.Delete(running, i, i+1)
		leaving.stop()
		if random.IntN(2) == 0 { // one more that comes just now
			running = append(running, m.run())
		}
		<-leaving.ended
		for _, f := range running {
			m.settled(f)
		}
	}
	m.stayed(changes)
	for _, f := range running {
		f.end()
	}
	m.eventually("nobody is there for the addresses, and they go away", func() bool { return !m.has() })
}

// TestNewcomerTakesTheSeat has a process come to a seat that was left to another, which
// is slow to take it.
func TestNewcomerTakesTheSeat(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	m := newMachine(t, "10.9.0.100", "fd09::100")
	first := m.run()
	m.eventually("the addresses are on the node", m.has)
	slow, err := succession.Queue(m.seat)
	m.must(err)
	defer slow.Close()
	changes := m.changes()
	first.end()
	second := m.run()
	m.settled(second)
	time.Sleep(2 * lifetime) // for which it has to renew them
	m.stayed(changes)
}

// TestSeatIsLeftAtOnce has a process end that just took the seat, before those that heard of it
// together with it are back in the queue.
func TestSeatIsLeftAtOnce(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	m := newMachine(t, "10.9.0.100", "fd09::100")
	first := m.run()
	m.eventually("the addresses are on the node", m.has)
	second := m.run()
	m.settled(second)
	first.end()
	changes := m.changes()
	<-changes // the second has the seat: it renews them
	second.stop()
	slow, err := succession.Queue(m.seat)
	m.must(err)
	defer slow.Close()
	<-second.ended
	m.stayed(changes)
}
