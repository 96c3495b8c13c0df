package address

import (
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// maxOutage is how long clients may be without an answer when the owner dies.
const maxOutage = 2 * time.Second

func TestOwnerIsKilled(t *testing.T) {
	if inNamespace(t) {
		testFailOver(t, "10.9.0.100", syscall.SIGKILL, maxOutage)
	}
}

func TestOwnerIsKilledIPv6(t *testing.T) {
	if inNamespace(t) {
		testFailOver(t, "fd09::100", syscall.SIGKILL, maxOutage)
	}
}

// A process that stands still has a kernel that would answer for its addresses.
func TestOwnerIsFrozen(t *testing.T) {
	if inNamespace(t) {
		testFailOver(t, "10.9.0.100", syscall.SIGSTOP, maxOutage)
	}
}

func TestOwnerStops(t *testing.T) {
	if inNamespace(t) {
		testFailOver(t, "10.9.0.100", syscall.SIGTERM, maxOutage/4)
	}
}

func testFailOver(t *testing.T, addr string, signal syscall.Signal, outage time.Duration) {
	l := newLAN(t)
	nodes := map[string]*node{"a": l.start("a", []string{addr}), "b": l.start("b", []string{addr})}
	first := l.awaitOwner(addr, "a", "b")
	second := map[string]string{"a": "b", "b": "a"}[first]
	l.eventually("both call the address usable", func() bool { return nodes["a"].answer(addr) == "" && nodes["b"].answer(addr) == "" })

	watched, probed := l.watch(addr), l.probing(addr)
	nodes[first].signal(signal)
	l.awaitOwner(addr, second)
	if signal == syscall.SIGSTOP { // it must not believe that it still has the address
		nodes[first].signal(syscall.SIGCONT)
		l.eventually("the first sees who has the address", func() bool { return nodes[first].answer(addr) == "" })
		time.Sleep(3 * beatInterval) // nothing announces that nothing happens
	}
	longest, stall := probed()
	hosts := owners(watched())
	t.Logf("longest outage %v, the machine stood still for %v", longest.Round(time.Millisecond), stall.Round(time.Millisecond))
	if longest > outage+5*stall { // there are five processes and a kernel to wait for
		t.Errorf("clients were without an answer for %v", longest)
	}
	if want := []mac{nodes[first].host, nodes[second].host}; !slices.Equal(hosts, want) {
		t.Errorf("hosts answered in the order %v, want %v", hosts, want)
	}
	if got := nodes[second].answer(addr); got != "" {
		t.Errorf("the new owner says %q", got)
	}
}

// TestAddressesAreSpread has a node leave and come back: it gets its share again, and
// at no time an address has two owners.
func TestAddressesAreSpread(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLAN(t)
	var addrs []string
	for i := range 8 {
		addrs = append(addrs, fmt.Sprintf("10.9.0.%d", 100+i), fmt.Sprintf("fd09::%d", 100+i))
	}
	a, b := l.start("a", addrs), l.start("b", addrs)
	owned := func() map[string]string {
		owner := make(map[string]string)
		for _, addr := range addrs {
			owner[addr], _ = l.ask(addr)
		}
		return owner
	}
	var before map[string]string
	l.eventually("both have some of the addresses", func() bool {
		before = owned()
		count := make(map[string]int)
		for _, name := range before {
			count[name]++
		}
		return count["a"] > 0 && count["b"] > 0 && count[""] == 0
	})
	addr := addrs[slices.IndexFunc(addrs, func(addr string) bool { return before[addr] == "a" })]
	watched := l.watch(addr)
	a.signal(syscall.SIGKILL)
	<-a.ended
	for _, addr := range addrs {
		l.awaitOwner(addr, "b")
	}
	a.run()
	l.eventually("the addresses are spread as before", func() bool { return maps.Equal(before, owned()) })
	if hosts, want := owners(watched()), []mac{a.host, b.host, a.host}; !slices.Equal(hosts, want) {
		t.Errorf("hosts answered in the order %v, want %v", hosts, want)
	}
}

func TestProcessIsReplaced(t *testing.T) {
	if inNamespace(t) {
		testReplacement(t, syscall.SIGTERM)
	}
}

func TestProcessIsReplacedThatIsKilled(t *testing.T) {
	if inNamespace(t) {
		testReplacement(t, syscall.SIGKILL)
	}
}

// testReplacement starts a second process on the node of the owner, as a rolling
// update with surge does: it takes over when the first one ends, and the address is there
// all the time.
func testReplacement(t *testing.T, signal syscall.Signal) {
	const addr = "10.9.0.100"
	l := newLAN(t)
	a := l.start("a", []string{addr})
	l.awaitOwner(addr, "a")
	l.eventually("the first calls the address usable", func() bool { return a.answer(addr) == "" })
	old := a.cmd
	a.environment = append(a.environment, portVariable+"=81") // the first has port 80
	a.run()
	l.eventually("the second calls the address usable", func() bool { return a.answer(addr) == "" })
	watched, away := l.watch(addr), a.withdrawals()
	if err := old.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	l.eventually("the first has ended", func() bool { _, err := l.askPort(addr, 80, lifetime); return err != nil })
	for end := time.Now().Add(2 * lifetime); time.Now().Before(end); { // the second has to renew the address
		if _, err := l.askPort(addr, 81, lifetime); err != nil {
			t.Fatalf("the second does not answer: %v", err)
		}
	}
	if n := away(); n != 0 {
		t.Errorf("the address was taken from the node %d times", n)
	}
	if hosts := owners(watched()); !slices.Equal(hosts, []mac{a.host}) {
		t.Errorf("hosts %v answered, want %v", hosts, a.host)
	}
}

// TestCableIsPulled parts a node from the network. When it is back, it does not bring
// the address that another has now.
func TestCableIsPulled(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const addr = "10.9.0.100"
	l := newLAN(t)
	nodes := map[string]*node{"a": l.start("a", []string{addr}), "b": l.start("b", []string{addr})}
	first := nodes[l.awaitOwner(addr, "a", "b")]
	second := nodes[map[string]string{"a": "b", "b": "a"}[first.name]]
	watched := l.watch(addr)
	port, err := netlink.LinkByName(first.port)
	l.must(err)
	l.must(netlink.LinkSetDown(port))
	l.awaitOwner(addr, second.name)
	l.must(netlink.LinkSetUp(port))
	// Rendezvous gives it back to the first, when it has been there for a while.
	l.awaitOwner(addr, first.name)
	if hosts, want := owners(watched()), []mac{first.host, second.host, first.host}; !slices.Equal(hosts, want) {
		t.Errorf("hosts answered in the order %v, want %v", hosts, want)
	}
}
