package router

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// keysOf are kinds of keys that callers may come with, good hashes or not.
func keysOf() map[string]func(i int) uint64 {
	random := rand.New(rand.NewPCG(1, 2))
	return map[string]func(i int) uint64{
		"random":     func(int) uint64 { return random.Uint64() },
		"sequential": func(i int) uint64 { return uint64(i) },
		"high bits":  func(i int) uint64 { return uint64(i) << 48 },
		"addresses":  func(i int) uint64 { return uint64(0x0a00_0000 + i*256) },
	}
}

// randomAddresses returns n different addresses of both families.
func randomAddresses(random *rand.Rand, n int) []netip.AddrPort {
	seen := make(map[netip.AddrPort]bool)
	var addrs []netip.AddrPort
	for len(addrs) < n {
		ip := netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(4)), byte(random.IntN(256))})
		if random.IntN(4) == 0 {
			ip = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(random.IntN(256))})
		}
		addr := netip.AddrPortFrom(ip, uint16(8080+random.IntN(3)))
		if !seen[addr] {
			seen[addr] = true
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// placed returns the endpoint of every key from 0 to n.
func placed(b *Backend, n int) []*Endpoint {
	endpoints := make([]*Endpoint, n)
	for key := range endpoints {
		endpoints[key] = b.PickHash(uint64(key))
	}
	return endpoints
}

func TestPickHashSpreads(t *testing.T) {
	const keys = 50_000
	random := rand.New(rand.NewPCG(3, 4))
	for name, key := range keysOf() {
		for range 5 {
			b := NewBackend("default/shop:80")
			b.SetEndpoints(randomAddresses(random, 10))
			counts := make(map[*Endpoint]int)
			for i := range keys {
				counts[b.PickHash(key(i))]++
			}
			for _, e := range b.Endpoints() {
				if n := counts[e]; n < keys/10*85/100 || n > keys/10*115/100 {
					t.Errorf("%s keys: %v has %d of %d", name, e.Addr, n, keys)
				}
			}
		}
	}
}

// TestPickHashMovesFewKeys: an endpoint that comes takes only its own keys, one that
// goes leaves only its own, and the order of the addresses does not matter.
func TestPickHashMovesFewKeys(t *testing.T) {
	const keys = 10_000
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 5))
			n := 1 + random.IntN(20)
			addrs := randomAddresses(random, n+1)
			b := NewBackend("default/shop:80")
			b.SetEndpoints(addrs[:n])
			before := placed(b, keys)

			random.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
			b.SetEndpoints(addrs)
			after := placed(b, keys)
			moved := 0
			for key := range keys {
				if after[key] == before[key] {
					continue
				}
				moved++
				if slices.Contains(before, after[key]) {
					t.Fatalf("key %d moved between endpoints that stayed", key)
				}
			}
			if fair := keys / (n + 1); moved < fair*80/100 || moved > fair*120/100 {
				t.Errorf("%d of %d keys moved to one of %d endpoints", moved, keys, n+1)
			}

			gone := random.IntN(n + 1)
			left := b.Endpoints()[gone]
			b.SetEndpoints(slices.Delete(addrs, gone, gone+1))
			for key, e := range placed(b, keys) {
				if e != after[key] && after[key] != left {
					t.Fatalf("key %d moved, though its endpoint stayed", key)
				}
			}
		})
	}
}

// TestPickHashAgrees: gateways that run side by side, of other versions too, send a key
// to the same endpoint.
func TestPickHashAgrees(t *testing.T) {
	b := NewBackend("default/shop:80")
	b.SetEndpoints(append(addresses(1, 4), netip.MustParseAddrPort("[fd00::1]:8080")))
	var got []string
	for key := range uint64(8) {
		got = append(got, b.PickHash(key<<60|key).Addr.String())
	}
	want := []string{
		"10.0.0.1:80", "10.0.0.2:80", "10.0.0.2:80", "10.0.0.2:80",
		"[fd00::1]:8080", "[fd00::1]:8080", "10.0.0.4:80", "10.0.0.1:80",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPickHashSkipsTried(t *testing.T) {
	for n := range 6 {
		b := backendOf(n)
		var tried []*Endpoint
		for e := b.PickHash(42, tried...); e != nil; e = b.PickHash(42, tried...) {
			if slices.Contains(tried, e) {
				t.Fatalf("got %v twice", e.Addr)
			}
			tried = append(tried, e)
		}
		if len(tried) != n {
			t.Errorf("tried %d of %d endpoints", len(tried), n)
		}
	}
	if e := NewBackend("default/none:80").PickHash(1); e != nil {
		t.Errorf("got %v of a Backend without endpoints", e.Addr)
	}
}

// TestPickHashAvoidsFailedEndpoints: its keys are spread over the others, which keep
// theirs, and come back.
func TestPickHashAvoidsFailedEndpoints(t *testing.T) {
	const keys = 10_000
	synctest.Test(t, func(t *testing.T) {
		b := backendOf(5)
		before := placed(b, keys)
		failed := b.Endpoints()[2]
		failed.Fail(time.Now())
		counts := make(map[*Endpoint]int)
		for key, e := range placed(b, keys) {
			if before[key] != failed && e != before[key] {
				t.Fatalf("key %d moved from an endpoint in order", key)
			}
			if before[key] == failed {
				counts[e]++
			}
		}
		for _, e := range b.Endpoints() {
			if n := counts[e]; e != failed && (n < 400 || n > 600) || e == failed && n > 0 {
				t.Errorf("%v got %d of the 2000 keys of the one that failed", e.Addr, n)
			}
		}
		for _, e := range b.Endpoints() {
			e.Fail(time.Now())
		}
		if !slices.Equal(placed(b, keys), before) {
			t.Error("keys moved, though all endpoints failed alike")
		}
		time.Sleep(FailTimeout)
		if !slices.Equal(placed(b, keys), before) {
			t.Error("keys did not come back")
		}
	})
}

func TestPickHashDoesNotAllocate(t *testing.T) {
	b := backendOf(10)
	tried := b.Endpoints()[:3]
	b.Endpoints()[5].Fail(time.Now().Add(time.Hour))
	key := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		key++
		b.PickHash(key)
		b.PickHash(key, tried...)
	}); n != 0 {
		t.Errorf("PickHash allocates %v times", n)
	}
}

func BenchmarkPickHash(b *testing.B) {
	for _, n := range []int{2, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			backend := backendOf(n)
			b.ReportAllocs()
			key := uint64(0)
			for b.Loop() {
				key++
				backend.PickHash(key)
			}
		})
	}
}
