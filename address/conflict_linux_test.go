package address

import (
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestDuplicateAddress has the client's host use an address of the pool: it is not
// taken, both replicas say who has it, and it is taken when it becomes free.
func TestDuplicateAddress(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, addr := range []string{"10.9.0.100", "fd09::100"} {
		t.Run(addr, func(t *testing.T) {
			l := newLAN(t)
			bits := map[bool]string{true: "/128", false: "/32"}[strings.Contains(addr, ":")]
			foreign := l.give(addr + bits)
			a, b := l.start("a", []string{addr}), l.start("b", []string{addr})
			host := l.bridgeHost()
			l.eventually("both say who has the address", func() bool {
				return strings.Contains(a.answer(addr), "in use by the host with hardware address "+host) && strings.Contains(b.answer(addr), host)
			})
			l.must(netlink.AddrDel(l.bridge, foreign))
			l.awaitOwner(addr, "a", "b")
			l.eventually("both call the address usable", func() bool { return a.answer(addr) == "" && b.answer(addr) == "" })
			l.must(netlink.LinkDel(l.bridge))
		})
	}
}

// TestAddressIsTakenLater has a host announce an address that a replica already holds:
// the replica defends and keeps it, and says who the other is.
func TestAddressIsTakenLater(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const addr = "10.9.0.100"
	l := newLAN(t)
	a := l.start("a", []string{addr})
	l.awaitOwner(addr, "a")
	stop := l.watch(addr)
	l.give(addr + "/32") // tells nobody by itself
	l.announceFrom(addr, mac{2, 0, 0, 0, 0, 9})
	l.eventually("the owner says who the other is", func() bool { return strings.Contains(a.answer(addr), "02:00:00:00:00:09") })
	if hosts := owners(stop()); len(hosts) != 1 || hosts[0] != a.host {
		t.Errorf("hosts %v answered, want %v alone", hosts, a.host)
	}
}

// TestAddressOfTheNode has the node itself use an address of the pool. It is left
// alone.
func TestAddressOfTheNode(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLAN(t)
	a := l.start("a", []string{"10.9.0.11"}) // which eth0 has
	l.eventually("the node says so", func() bool { return strings.Contains(a.answer("10.9.0.11"), "an address of this node already") })
	a.signal(syscall.SIGTERM)
	<-a.ended
	l.watch("10.9.0.11")() // fails unless its kernel answers
}

// TestStrangers are two installations that want the same address: the second says that
// it has a conflict.
func TestStrangers(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const addr = "10.9.0.100"
	l := newLAN(t)
	a := l.start("a", []string{addr}, groupVariable+"=blue")
	l.awaitOwner(addr, "a")
	b := l.start("b", []string{addr}, groupVariable+"=green")
	l.eventually("the second says who has the address", func() bool { return strings.Contains(b.answer(addr), a.host.String()) })
	if got := a.answer(addr); got != "" {
		t.Errorf("the first says %q", got)
	}
}

// TestMissingCapabilities says what to add.
func TestMissingCapabilities(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const addr = "10.9.0.100"
	l := newLAN(t)
	a := l.start("a", []string{addr}, powerlessVariable+"=yes")
	l.eventually("the node says what it needs", func() bool {
		return strings.Contains(a.answer(addr), "NET_ADMIN") && strings.Contains(a.answer(addr), "NET_RAW")
	})
}
