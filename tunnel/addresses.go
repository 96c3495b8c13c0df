package tunnel

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// resolveAfter is when addresses are looked up again, at the latest.
const resolveAfter = time.Hour

// addressBook gives each connection of a tunnel an address of its own, the regions in
// turn. An address that has failed is the last that is given again; when all have failed,
// DNS is asked anew.
type addressBook struct {
	edge     *Edge
	endpoint string

	mu       sync.Mutex // guards what follows; held while DNS is asked
	found    [regions][]netip.AddrPort
	resolved time.Time // zero before
	used     map[netip.AddrPort]bool
	failed   map[netip.AddrPort]time.Time // since when; until it works, or all have failed
}

var errNoAddress = errors.New("all addresses of the edge are in use")

func newAddressBook(edge *Edge, endpoint string) *addressBook {
	return &addressBook{edge: edge, endpoint: endpoint, used: map[netip.AddrPort]bool{}, failed: map[netip.AddrPort]time.Time{}}
}

// take returns an address that nobody uses, until give.
func (b *addressBook) take(ctx context.Context) (netip.AddrPort, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refresh(ctx); err != nil {
		return netip.AddrPort{}, err
	}
	best := b.choose()
	if !best.IsValid() {
		return best, errNoAddress
	}
	b.used[best] = true
	return best, nil
}

// refresh asks DNS if it has to. While there are addresses, a failure is no reason to stop.
func (b *addressBook) refresh(ctx context.Context) error {
	known := len(b.found[0]) + len(b.found[1])
	if known > 0 && len(b.failed) < known && time.Since(b.resolved) < resolveAfter {
		return nil
	}
	found, err := b.edge.resolve(ctx, b.endpoint)
	if err != nil {
		if known > 0 {
			clear(b.failed)
			return nil
		}
		return err
	}
	for _, region := range found {
		rand.Shuffle(len(region), func(i, j int) { region[i], region[j] = region[j], region[i] })
	}
	b.found, b.resolved = found, time.Now()
	clear(b.failed)
	return nil
}

// choose finds a free address: one that has not failed before one that has, in the region
// that is used less.
func (b *addressBook) choose() netip.AddrPort {
	var inUse [regions]int
	for i, region := range b.found {
		for _, address := range region {
			if b.used[address] {
				inUse[i]++
			}
		}
	}
	order := [regions]int{0, 1}
	if inUse[1] < inUse[0] {
		order = [regions]int{1, 0}
	}
	var oldest netip.AddrPort
	for _, i := range order {
		for _, address := range b.found[i] {
			since, bad := b.failed[address]
			switch {
			case b.used[address]:
			case !bad:
				return address
			case !oldest.IsValid() || since.Before(b.failed[oldest]):
				oldest = address
			}
		}
	}
	return oldest
}

// give returns an address, and says whether it worked.
func (b *addressBook) give(address netip.AddrPort, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.used, address)
	if err == nil {
		delete(b.failed, address)
		return
	}
	if _, known := b.failed[address]; !known {
		b.failed[address] = time.Now()
	}
}
