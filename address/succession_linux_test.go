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

// watchKernel returns a function that fails if the kernel took an address away since; unless
// this machine stood still, as nobody renewed addresses then.
func (m *machine) watchKernel() (stayed func()) {
	m.Helper()
	changes, done := make(chan netlink.AddrUpdate, 1_000_000), make(chan struct{})
	m.must(netlink.AddrSubscribe(changes, done))
	stalled := stalls()
	return func() {
		m.Helper()
		complete := m.has()
		close(done)
		var lost []string
		for change := range changes {
			if !change.NewAddr {
				lost = append(lost, change.LinkAddress.IP.String())
			}
		}
		stall := stalled()
		switch {
		case complete && len(lost) == 0:
		case stall > lifetime/3:
			m.Skipf("this machine stood still for %v", stall)
		default:
			m.Errorf("the kernel took away %v; the addresses are on the node: %t", lost, complete)
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
	stayed := m.watchKernel()
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
	stayed()
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
	stayed := m.watchKernel()
	first.end()
	second := m.run()
	m.settled(second)
	time.Sleep(2 * lifetime) // for which it has to renew them
	stayed()
}

// TestAddressIsTakenAway has somebody take an address from the interface, as the kernel does that
// removes one just when it is renewed: it is back before the next beat.
func TestAddressIsTakenAway(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const addr, times = "10.9.0.100", 9
	m := newMachine(t, addr)
	m.run()
	m.eventually("the address is on the node", m.has)
	away := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(addr), Mask: net.CIDRMask(32, 32)}}
	var took []time.Duration
	stalled := stalls()
	for range times {
		start := time.Now()
		m.must(netlink.AddrDel(m.bridge, away))
		for !m.has() && time.Since(start) < testTimeout {
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	if median, stall := took[times/2], stalled(); median > beatInterval/8+stall {
		t.Errorf("the address was away for %v, median %v", took, median)
	}
}
