package address

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lifetimeSeconds is lifetime as the kernel counts it.
const lifetimeSeconds = int(lifetime / time.Second)

// kernelTimeout bounds one request to the kernel.
const kernelTimeout = 500 * time.Millisecond

// listTries is how often a list of the kernel is asked for that others change meanwhile.
const listTries = 5

// loopbackName is the interface to put addresses on where there is no network.
const loopbackName = "lo"

// chooseInterface returns the name of the interface to use.
func (o *Options) chooseInterface() (string, error) {
	if o.Interface != "" {
		return o.Interface, nil
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := list(func() (found []netlink.Route, err error) {
			err = netlink.RouteListFilteredIter(family, &netlink.Route{}, 0, func(r netlink.Route) bool {
				found = append(found, r)
				return true
			})
			return found, err
		})
		if err != nil {
			return "", explain("read routes", err)
		}
		index, metric := 0, math.MaxInt
		for _, r := range routes {
			if isDefault(r.Dst) && r.LinkIndex != 0 && r.Priority < metric {
				index, metric = r.LinkIndex, r.Priority
			}
		}
		if index == 0 {
			continue
		}
		link, err := net.InterfaceByIndex(index)
		if err != nil {
			return "", fmt.Errorf("find interface of the default route: %w", err)
		}
		return link.Name, nil
	}
	return loopbackName, nil
}

// list returns what the kernel lists. Where Pods come and go the kernel may say of each list that
// it changed meanwhile, so that something may be missing: then it is what several lists have
// together, some of it more than once.
func list[T any](ask func() ([]T, error)) ([]T, error) {
	var all []T
	for range listTries {
		part, err := ask()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return part, err
		}
		all = append(all, part...)
	}
	return all, nil
}

func isDefault(destination *net.IPNet) bool {
	if destination == nil {
		return true
	}
	ones, _ := destination.Mask.Size()
	return ones == 0
}

// kernel is the addresses of one interface.
type kernel struct {
	link   *net.Interface
	routes *netlink.Handle
	flags  int // a socket to ask with
}

func openKernel(name string) (*kernel, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %s to announce addresses on: %w", name, err)
	}
	k := &kernel{link: link}
	if k.routes, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, explain("open netlink socket", err)
	}
	if err = k.routes.SetSocketTimeout(kernelTimeout); err != nil {
		k.routes.Close()
		return nil, explain("prepare netlink socket", err)
	}
	if k.flags, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		k.routes.Close()
		return nil, explain("open socket", err)
	}
	return k, nil
}

func (k *kernel) close() {
	k.routes.Close()
	_ = unix.Close(k.flags) // nothing is buffered
}

func (k *kernel) loopback() bool { return k.link.Flags&net.FlagLoopback != 0 }

// up reports whether frames can be sent. An interface that is gone is an error.
func (k *kernel) up() (bool, error) {
	request, err := unix.NewIfreq(k.link.Name)
	if err == nil {
		err = unix.IoctlIfreq(k.flags, unix.SIOCGIFFLAGS, request)
	}
	if err != nil {
		return false, fmt.Errorf("look at interface %s: %w", k.link.Name, err)
	}
	const both = unix.IFF_UP | unix.IFF_RUNNING
	return request.Uint16()&both == both, nil
}

// find returns an error if this node has an address that neither we nor a process before this
// one gave it.
func (k *kernel) find(addr netip.Addr) error {
	family := netlink.FAMILY_V6
	if addr.Is4() {
		family = netlink.FAMILY_V4
	}
	all, err := list(func() ([]netlink.Addr, error) { return k.routes.AddrList(nil, family) })
	if err != nil {
		return explain("read addresses of this node", err)
	}
	for i := range all {
		if found, ours := k.gave(&all[i]); found == addr && !ours {
			return fmt.Errorf("%s is an address of this node already, and not one that Lintel gave it: take it out of the pool, or away from the node", addr)
		}
	}
	return nil
}

// gave returns which address it is, and whether we, or a process before this one, put it on
// our interface: it has no network, and a short lifetime.
func (k *kernel) gave(a *netlink.Addr) (addr netip.Addr, ours bool) {
	addr, _ = netip.AddrFromSlice(a.IP)
	ones, bits := a.Mask.Size()
	return addr.Unmap(), a.LinkIndex == k.link.Index && ones == bits && a.ValidLft >= 0 && a.ValidLft <= lifetimeSeconds
}

// adopt renews those of the addresses that we, or a process before this one, put on the interface,
// and returns them. The kernel still answers for them: so nobody else can have taken them.
func (k *kernel) adopt(addrs []netip.Addr) []netip.Addr {
	all, err := list(func() ([]netlink.Addr, error) { return k.routes.AddrList(k.device(), netlink.FAMILY_ALL) })
	if err != nil {
		return nil // they are taken as if the node did not have them
	}
	var adopted []netip.Addr
	for i := range all {
		addr, ours := k.gave(&all[i])
		if ours && slices.Contains(addrs, addr) && !slices.Contains(adopted, addr) && k.hold(addr) == nil {
			adopted = append(adopted, addr)
		}
	}
	return adopted
}

// watch tells which addresses go away from the interface, until stop.
func (k *kernel) watch() (lost <-chan netip.Addr, stop func(), err error) {
	return k.watchBy(subscribe)
}

// subscriber returns what changes about the addresses of this node, until release, ctx ends, or it
// is too much.
type subscriber func(ctx context.Context) (changes <-chan netlink.AddrUpdate, release func(), err error)

// watchBy is watch with what a subscriber tells.
func (k *kernel) watchBy(subscribe subscriber) (lost <-chan netip.Addr, stop func(), err error) {
	ctx, stop := context.WithCancel(context.Background())
	changes, release, err := subscribe(ctx)
	if err != nil {
		stop()
		return nil, nil, err
	}
	gone := make(chan netip.Addr)
	go func() {
		for ok := true; ok; {
			k.tell(ctx, changes, gone)
			release()
			// More has changed than there was room for. What it was is seen at the next beat.
			changes, release, ok = subscribe.again(ctx)
		}
	}()
	return gone, stop, nil
}

// again subscribes as soon as that can be, as there may be too many open files. It reports false
// when ctx has ended.
func (subscribe subscriber) again(ctx context.Context) (changes <-chan netlink.AddrUpdate, release func(), ok bool) {
	for ctx.Err() == nil {
		changes, release, err := subscribe(ctx)
		if err == nil {
			return changes, release, true
		}
		select {
		case <-ctx.Done():
		case <-time.After(reopenInterval):
		}
	}
	return nil, nil, false
}

// subscribe is the kernel's [subscriber].
func subscribe(ctx context.Context) (changes <-chan netlink.AddrUpdate, release func(), err error) {
	ctx, release = context.WithCancel(ctx)
	all := make(chan netlink.AddrUpdate)
	if err := netlink.AddrSubscribe(all, ctx.Done()); err != nil {
		release()
		return nil, nil, explain("watch addresses of this node", err)
	}
	return all, release, nil
}

// tell passes on those that the interface has lost, until changes end.
func (k *kernel) tell(ctx context.Context, changes <-chan netlink.AddrUpdate, gone chan<- netip.Addr) {
	for change := range changes {
		addr, ok := netip.AddrFromSlice(change.LinkAddress.IP)
		if !ok || change.NewAddr || change.LinkIndex != k.link.Index {
			continue
		}
		select {
		case gone <- addr.Unmap():
		case <-ctx.Done():
		}
	}
}

// hold puts an address on the interface, or renews it, for the lifetime. It is no
// preferred source for connections of the node itself, and IPv6 does not look for
// duplicates again.
func (k *kernel) hold(addr netip.Addr) error {
	a := k.address(addr)
	a.ValidLft = lifetimeSeconds
	if addr.Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return explain("put "+addr.String()+" on "+k.link.Name, k.routes.AddrReplace(k.device(), a))
}

// drop takes an address from the interface.
func (k *kernel) drop(addr netip.Addr) error {
	err := k.routes.AddrDel(k.device(), k.address(addr))
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return explain("take "+addr.String()+" from "+k.link.Name, err)
}

func (k *kernel) address(addr netip.Addr) *netlink.Addr {
	bits := addr.BitLen()
	return &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, bits)}}
}

func (k *kernel) device() netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: k.link.Index, Name: k.link.Name}}
}
