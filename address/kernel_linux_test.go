package address

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestKernelIsReadWhileOthersChangeIt has many addresses and routes come and go on another
// interface, as on a node where Pods start and end: the kernel says of what it lists that it is of
// no single moment.
func TestKernelIsReadWhileOthersChangeIt(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	m := newMachine(t, "10.9.0.100", "fd09::100")
	kernel, err := openKernel("eth0")
	m.must(err)
	defer kernel.close()
	var ours []netip.Addr
	for _, addr := range m.addrs {
		ours = append(ours, netip.MustParseAddr(addr))
		m.must(kernel.hold(ours[len(ours)-1]))
	}
	m.must(netlink.RouteAdd(&netlink.Route{LinkIndex: kernel.link.Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}))
	stop := m.changeOthers()
	defer stop()
	for range 20 {
		if got := kernel.adopt(ours); len(got) != len(ours) {
			t.Fatalf("adopted %v of %v", got, ours)
		}
		for _, addr := range ours {
			if err := kernel.find(addr); err != nil {
				t.Fatal(err)
			}
		}
		if name, err := (&Options{}).chooseInterface(); name != "eth0" || err != nil {
			t.Fatalf("the default route is of %q, %v", name, err)
		}
	}
}

// TestLossesAreToldAfterTooManyChanges has more addresses change than the kernel has room to tell of,
// while nobody listens.
func TestLossesAreToldAfterTooManyChanges(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	m := newMachine(t)
	kernel, err := openKernel("eth0")
	m.must(err)
	defer kernel.close()
	lost, stop, err := kernel.watch()
	m.must(err)
	defer stop()
	addr := netip.MustParseAddr("10.9.0.100")
	m.must(kernel.hold(addr))
	m.must(kernel.drop(addr)) // to be told of
	m.changeOthers()()
	told, before := 0, 2 // the one that waits, and maybe one that it kept waiting
	m.eventually("losses are told again", func() bool {
		m.must(kernel.hold(addr))
		m.must(kernel.drop(addr))
		select {
		case <-lost:
			told++
		default:
		}
		return told > before
	})
}

// changeOthers takes addresses, and their routes, away from another interface and puts them back,
// one after the other, until the function that it returns is called.
func (m *machine) changeOthers() (stop func()) {
	m.Helper()
	cable, err := netlink.LinkByName("cable")
	m.must(err)
	const others = 600 // more than fit into one answer of the kernel
	other := func(i int) *netlink.Addr {
		return &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 10, byte(i>>6), byte(i<<2)+1), Mask: net.CIDRMask(30, 32)}}
	}
	for i := range others {
		m.must(netlink.AddrAdd(cable, other(i)))
	}
	ended := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := 0; ; i = (i + 1) % others {
			select {
			case <-ended:
				return
			default:
			}
			if err := netlink.AddrDel(cable, other(i)); err != nil {
				m.Error(err)
			}
			if err := netlink.AddrAdd(cable, other(i)); err != nil {
				m.Error(err)
			}
		}
	})
	return func() {
		close(ended)
		changing.Wait()
	}
}
