package router

import (
	"math/rand/v2"
	"testing"
	"time"
)

func weighted(weights ...int) *Action {
	a := &Action{}
	for _, w := range weights {
		a.Backends = append(a.Backends, WeightedBackend{Weight: w})
	}
	return a
}

// index returns the place of a Backend of a, or -1 for nil.
func (a *Action) index(b *WeightedBackend) int {
	for i := range a.Backends {
		if &a.Backends[i] == b {
			return i
		}
	}
	return -1
}

func TestPickByWeight(t *testing.T) {
	const picks = 100_000
	a := weighted(90, 0, 10)
	rng := rand.New(rand.NewPCG(1, 2))
	var counts [3]int
	for range picks {
		counts[a.index(a.at(rng.IntN(100)))]++
	}
	if counts[1] != 0 {
		t.Errorf("weight 0 was picked %d times", counts[1])
	}
	// Five standard deviations of a binomial distribution: 5 × √(n·0.9·0.1) ≈ 474.
	if off := counts[0] - picks*9/10; off < -474 || off > 474 {
		t.Errorf("weight 90 of 100 was picked %d times of %d", counts[0], picks)
	}
}

func TestPickDividesExactly(t *testing.T) {
	a := weighted(2, 0, 3, -4, 1)
	var counts [5]int
	for point := range 6 {
		counts[a.index(a.at(point))]++
	}
	if want := [5]int{2, 0, 3, 0, 1}; counts != want {
		t.Errorf("got %v, want %v", counts, want)
	}
}

func TestPickEdges(t *testing.T) {
	for _, tt := range []struct {
		name    string
		weights []int
		want    int
	}{
		{"no backends", nil, -1},
		{"one", []int{7}, 0},
		{"one of weight 0", []int{0}, -1},
		{"all of weight 0", []int{0, 0}, -1},
		{"one of two", []int{0, 1}, 1},
		{"negative", []int{-1, 1}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := weighted(tt.weights...)
			for range 100 {
				if got := a.index(a.Pick()); got != tt.want {
					t.Fatalf("got %d, want %d", got, tt.want)
				}
			}
		})
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	a := weighted(90, 10)
	if n := testing.AllocsPerRun(100, func() { a.Pick() }); n != 0 {
		t.Errorf("Pick allocates %v times", n)
	}
}

func TestPlain(t *testing.T) {
	h2c := NewBackendWith("default/h2c:80", BackendSettings{Protocol: H2C})
	https := NewBackendWith("default/https:443", BackendSettings{Protocol: HTTPS, TLS: &BackendTLS{ServerName: "a"}})
	to := func(backends ...*Backend) Action {
		var a Action
		for _, b := range backends {
			a.Backends = append(a.Backends, WeightedBackend{Backend: b, Weight: 1})
		}
		return a
	}
	filtered := to(backendOf(1))
	filtered.RequestHeaders, filtered.Rewrite = &HeaderFilter{Remove: []string{"a"}}, &Rewrite{Hostname: "b"}
	filtered.RequestTimeout, filtered.BackendTimeout = time.Second, time.Second
	for _, tt := range []struct {
		name   string
		action Action
		want   bool
	}{
		{"nothing", Action{}, true},
		{"status", Action{Status: 500}, true},
		{"redirect", Action{Redirect: &Redirect{}}, true},
		{"filters and timeouts", filtered, true},
		{"unresolved", to(nil), true},
		{"two Backends", to(backendOf(1), backendOf(1)), true},
		{"h2c", to(h2c), true},
		{"PROXY protocol", to(NewBackendWith("default/app:80", BackendSettings{ProxyProtocol: ProxyProtocolV2})), false},
		{"h2c with few connections", to(NewBackendWith("default/h2c:80", BackendSettings{Protocol: H2C, Circuit: Circuit{MaxConnections: 1}})), false},
		{"one of two https", to(backendOf(1), https), false},
		{"https", to(https), false},
	} {
		if got := tt.action.Plain(); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}
