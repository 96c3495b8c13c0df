package address

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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

// Losses are told again, too, when the kernel cannot be asked for them at once, as while there are
// too many open files.
func TestLossesAreToldAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{link: &net.Interface{Index: 7}}
		gone := netip.MustParseAddr("192.0.2.1")
		attempts := 0
		lost, stop, err := k.watchBy(func(ctx context.Context) (<-chan netlink.AddrUpdate, func(), error) {
			changes := make(chan netlink.AddrUpdate, 1)
			attempts++
			switch attempts {
			case 1: // more changes than there is room for
				close(changes)
			case 2, 3:
				return nil, nil, unix.EMFILE
			default:
				changes <- netlink.AddrUpdate{LinkIndex: k.link.Index, LinkAddress: net.IPNet{IP: gone.AsSlice()}}
				context.AfterFunc(ctx, func() { close(changes) })
			}
			return changes, func() {}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		if got := <-lost; got != gone {
			t.Errorf("%v is gone, not %v", got, gone)
		}
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
