package router

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// addresses returns n addresses, beginning with number first.
func addresses(first, n int) []netip.AddrPort {
	var addrs []netip.AddrPort
	for i := range n {
		addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(first + i)}), 80))
	}
	return addrs
}

func backendOf(n int) *Backend {
	b := NewBackend("default/shop:80")
	b.SetEndpoints(addresses(0, n))
	return b
}

// picks counts which endpoints n Picks return, by their place in b.
func picks(b *Backend, n int, tried ...*Endpoint) []int {
	counts := make([]int, len(b.Endpoints()))
	for range n {
		counts[slices.Index(b.Endpoints(), b.Pick(tried...))]++
	}
	return counts
}

func TestSetEndpointsKeepsThoseThatStay(t *testing.T) {
	b := NewBackend("default/shop:80")
	if b.Endpoints() != nil || b.Pick() != nil {
		t.Error("a new Backend has endpoints")
	}
	b.SetEndpoints(addresses(1, 3))
	before := b.Endpoints()
	before[1].Acquire()
	b.SetEndpoints(append(addresses(2, 3), addresses(2, 1)...))
	after := b.Endpoints()
	if len(after) != 3 {
		t.Fatalf("got %d endpoints, want 3", len(after))
	}
	if after[0] != before[1] || after[1] != before[2] {
		t.Error("an address that stays has a new Endpoint")
	}
	if after[0].Inflight() != 1 || after[2].Inflight() != 0 {
		t.Error("the counts did not stay")
	}
	if len(before) != 3 || before[0].Addr != addresses(1, 1)[0] {
		t.Error("the older list changed")
	}
	b.SetEndpoints(nil)
	if b.Pick() != nil {
		t.Error("got an endpoint that is gone")
	}
}

func TestPickSpreads(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10} {
		b := backendOf(n)
		for i, count := range picks(b, 1000*n) {
			if count < 800 || count > 1200 {
				t.Errorf("endpoint %d of %d idle ones was picked %d times of %d", i, n, count, 1000*n)
			}
		}
	}
}

func TestPickPrefersTheLessBusy(t *testing.T) {
	b := backendOf(3)
	b.Endpoints()[0].Acquire()
	if counts := picks(b, 1000); counts[0] != 0 {
		t.Errorf("the busiest of three was picked: %v", counts)
	}
	b.Endpoints()[0].Release()
	if counts := picks(b, 1000); counts[0] == 0 {
		t.Errorf("the endpoint was not picked again: %v", counts)
	}
}

// TestPickComparesTwoAtRandom has one idle endpoint among five that are in order. A
// random pair holds it with a probability of 2/5.
func TestPickComparesTwoAtRandom(t *testing.T) {
	for _, failed := range []int{0, 1} {
		b := backendOf(5 + failed)
		all := b.Endpoints()
		for _, e := range all[:failed] {
			e.Fail(time.Now().Add(time.Hour))
		}
		for _, e := range all[failed : len(all)-1] {
			e.Acquire()
		}
		counts := picks(b, 5000)
		if idle := counts[len(all)-1]; idle < 1750 || idle > 2250 { // seven standard deviations
			t.Errorf("with %d failed the idle endpoint was picked %d times of 5000, want about 2000", failed, idle)
		}
	}
}

func TestPickSkipsTried(t *testing.T) {
	for n := range 5 {
		b := backendOf(n)
		var tried []*Endpoint
		for e := b.Pick(tried...); e != nil; e = b.Pick(tried...) {
			if slices.Contains(tried, e) {
				t.Fatalf("got %v twice", e.Addr)
			}
			tried = append(tried, e)
		}
		if len(tried) != n {
			t.Errorf("tried %d of %d endpoints", len(tried), n)
		}
	}
}

func TestPickAvoidsFailedEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backendOf(4)
		all := b.Endpoints()
		all[0].Fail(time.Now())
		all[1].Fail(time.Now())
		counts := picks(b, 2000)
		if counts[0]+counts[1] != 0 {
			t.Errorf("failed endpoints were picked: %v", counts)
		}
		if counts[2] < 800 || counts[3] < 800 {
			t.Errorf("the others are not alike: %v", counts)
		}
		if counts := picks(b, 2000, all[2], all[3]); counts[0] < 800 || counts[1] < 800 {
			t.Errorf("failed endpoints are not tried when there is no other: %v", counts)
		}
		all[1].OK()
		if counts := picks(b, 1000); counts[0] != 0 || counts[1] == 0 {
			t.Errorf("an endpoint that is in order again: %v", counts)
		}
		time.Sleep(FailTimeout)
		if counts := picks(b, 1000); counts[0] == 0 {
			t.Errorf("after the timeout: %v", counts)
		}
	})
}

func TestPickTakesFailedEndpointsIfAllFailed(t *testing.T) {
	b := backendOf(3)
	for _, e := range b.Endpoints() {
		e.Fail(time.Now().Add(time.Hour))
	}
	for i, count := range picks(b, 3000) {
		if count < 800 {
			t.Errorf("endpoint %d was picked %d times of 3000", i, count)
		}
	}
}

func TestFailTimeoutGrows(t *testing.T) {
	b := backendOf(2)
	e := b.Endpoints()[0]
	now := time.Unix(1_000_000, 0)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		e.Fail(now)
		e.Fail(now) // of another exchange at the same time
		if got := e.failed.Load().until.Sub(now); got != want*time.Second {
			t.Errorf("avoided for %v, want %v", got, want*time.Second)
		}
		now = e.failed.Load().until
	}
	e.OK()
	e.Fail(now)
	if got := e.failed.Load().until.Sub(now); got != FailTimeout {
		t.Errorf("after a success avoided for %v, want %v", got, FailTimeout)
	}
}

func TestBackendConcurrently(t *testing.T) {
	b := backendOf(4)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2000 {
				e := b.Pick()
				if e == nil {
					t.Error("no endpoint, though there always were some")
					return
				}
				e.Acquire()
				if i%3 == 0 {
					e.Fail(time.Now())
				} else {
					e.OK()
				}
				b.Pick(e)
				e.Release()
			}
		})
	}
	wg.Go(func() {
		for i := range 500 {
			b.SetEndpoints(addresses(i%7, 1+i%5))
		}
	})
	wg.Wait()
	for _, e := range b.Endpoints() {
		if e.Inflight() != 0 {
			t.Errorf("%v has %d exchanges in flight at the end", e.Addr, e.Inflight())
		}
	}
}

func BenchmarkPickEndpoint(b *testing.B) {
	for _, bb := range []struct {
		name          string
		tried, failed int
	}{{"all-in-order", 0, 0}, {"one-tried", 1, 0}, {"one-failed", 0, 1}} {
		b.Run(bb.name, func(b *testing.B) {
			backend := backendOf(10)
			for _, e := range backend.Endpoints()[:bb.failed] {
				e.Fail(time.Now().Add(time.Hour))
			}
			tried := backend.Endpoints()[:bb.tried]
			b.ReportAllocs()
			for b.Loop() {
				backend.Pick(tried...)
			}
		})
	}
}

func BenchmarkPickEndpointParallel(b *testing.B) {
	backend := backendOf(10)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e := backend.Pick()
			e.Acquire()
			e.Release()
		}
	})
}

func BenchmarkPickBackend(b *testing.B) {
	a := weighted(90, 10)
	b.ReportAllocs()
	for b.Loop() {
		a.Pick()
	}
}
