package router

import (
	"sync"
	"sync/atomic"
	"testing"
)

// gate is one of the limits of a Circuit.
type gate struct {
	name    string
	acquire func() bool
	release func()
}

func gates(c Circuit) []gate {
	b := NewBackendWith("default/shop:80", BackendSettings{Circuit: c})
	b.SetEndpoints(addresses(0, 2))
	e := b.Endpoints()[0]
	return []gate{
		{"requests", b.Acquire, b.Release},
		{"pending", b.AcquirePending, b.ReleasePending},
		{"connections", e.AcquireConnection, e.ReleaseConnection},
	}
}

func TestCircuit(t *testing.T) {
	limits := []int{3, 1, 2}
	for i, g := range gates(Circuit{MaxRequests: 3, MaxPending: 1, MaxConnections: 2}) {
		for range 3 { // filled and emptied
			for n := range limits[i] {
				if !g.acquire() {
					t.Errorf("%s: %d of %d were refused", g.name, n+1, limits[i])
				}
			}
			for range 2 { // a refusal is not counted
				if g.acquire() {
					t.Errorf("%s: more than %d", g.name, limits[i])
				}
			}
			g.release()
			if !g.acquire() {
				t.Errorf("%s: refused, though one was released", g.name)
			}
			for range limits[i] {
				g.release()
			}
		}
	}
}

func TestCircuitOfNoLimit(t *testing.T) {
	for _, limit := range []int{0, -1} {
		for _, g := range gates(Circuit{limit, limit, limit}) {
			for range 10_000 {
				if !g.acquire() {
					t.Fatalf("%s: refused with a limit of %d", g.name, limit)
				}
			}
		}
	}
}

func TestCircuitOfOneEndpoint(t *testing.T) {
	b := NewBackendWith("default/shop:80", BackendSettings{Circuit: Circuit{MaxConnections: 1}})
	b.SetEndpoints(addresses(0, 2))
	one, other := b.Endpoints()[0], b.Endpoints()[1]
	if !one.AcquireConnection() || one.AcquireConnection() || !other.AcquireConnection() {
		t.Error("the limit is not one of each endpoint")
	}
	b.SetEndpoints(addresses(0, 1))
	if one.AcquireConnection() {
		t.Error("the count did not stay")
	}
}

func TestCircuitConcurrently(t *testing.T) {
	const limit = 3
	for _, g := range gates(Circuit{limit, limit, limit}) {
		var inside, refused atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 2000 {
					if !g.acquire() {
						refused.Add(1)
						continue
					}
					if n := inside.Add(1); n > limit {
						t.Errorf("%s: %d at the same time", g.name, n)
					}
					inside.Add(-1)
					g.release()
				}
			})
		}
		wg.Wait()
		for range limit {
			if !g.acquire() {
				t.Errorf("%s: some were not released", g.name)
			}
		}
		if g.acquire() {
			t.Errorf("%s: some were released twice", g.name)
		}
	}
}

func BenchmarkCircuit(b *testing.B) {
	for i, name := range []string{"no-limit", "limit"} {
		b.Run(name, func(b *testing.B) {
			g := gates(Circuit{MaxRequests: i * 1000})[0]
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if g.acquire() {
						g.release()
					}
				}
			})
		})
	}
}
