package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// outliers returns a Backend of n endpoints that ejects by o.
func outliers(n int, o Outlier) *Backend {
	b := NewBackendWith("default/shop:80", BackendSettings{Outlier: o})
	b.SetEndpoints(addresses(0, n))
	return b
}

// report reports outcomes, in letters: s for Success, e for ServerError, g for GatewayError.
func report(e *Endpoint, outcomes string, now time.Time) {
	for _, o := range outcomes {
		e.Report(map[rune]Outcome{'s': Success, 'e': ServerError, 'g': GatewayError}[o], now)
	}
}

func TestReport(t *testing.T) {
	both := Outlier{Errors: 5, GatewayErrors: 3}
	for _, tt := range []struct {
		name     string
		outlier  Outlier
		outcomes string
		want     bool
	}{
		{"off", Outlier{}, "gggggggggg", false},
		{"negative", Outlier{Errors: -1, GatewayErrors: -1}, "gggg", false},
		{"not enough", Outlier{Errors: 5}, "eeee", false},
		{"enough", Outlier{Errors: 5}, "eeeee", true},
		{"of both kinds", Outlier{Errors: 5}, "egege", true},
		{"a success between", Outlier{Errors: 5}, "eeeeseeee", false},
		{"enough after a success", Outlier{Errors: 5}, "eeseeeee", true},
		{"one is enough", Outlier{Errors: 1}, "e", true},
		{"gateway errors", Outlier{GatewayErrors: 3}, "ggg", true},
		{"server errors alone", Outlier{GatewayErrors: 3}, "eeeeeeee", false},
		{"a server error between", Outlier{GatewayErrors: 3}, "ggegg", false},
		{"a success between gateway errors", both, "ggsgg", false},
		{"the first of two limits", both, "eggg", true},
		{"the other of two limits", both, "ggegg", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1_000_000, 0)
			b := outliers(4, tt.outlier)
			e := b.Endpoints()[1]
			report(e, tt.outcomes, now)
			if e.Ejected(now) != tt.want {
				t.Errorf("ejected: %t, want %t", e.Ejected(now), tt.want)
			}
			if b.Endpoints()[0].Ejected(now) {
				t.Error("another endpoint is ejected")
			}
		})
	}
}

func TestOutcomeOf(t *testing.T) {
	for status, want := range map[int]Outcome{
		101: Success, 200: Success, 302: Success, 404: Success, 499: Success,
		500: ServerError, 501: ServerError, 502: GatewayError, 503: GatewayError, 504: GatewayError, 505: ServerError, 599: ServerError,
	} {
		if got := OutcomeOf(status); got != want {
			t.Errorf("%d: got %d, want %d", status, got, want)
		}
	}
}

func TestPickAvoidsEjectedEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := outliers(4, Outlier{Errors: OutlierErrors})
		all := b.Endpoints()
		before := placed(b, 100)
		report(all[0], "eeeee", time.Now())
		if counts := picks(b, 3000); counts[0] != 0 || slices.Min(counts[1:]) < 800 {
			t.Errorf("the first endpoint is ejected: %v", counts)
		}
		if slices.Contains(placed(b, 100), all[0]) {
			t.Error("a key has an ejected endpoint")
		}
		all[0].OK() // to connect is not what it failed to do
		if counts := picks(b, 1000); counts[0] != 0 {
			t.Errorf("a connection ended the ejection: %v", counts)
		}
		b.SetEndpoints(addresses(0, 5))
		if counts := picks(b, 1000); counts[0] != 0 {
			t.Errorf("another endpoint ended the ejection: %v", counts)
		}
		b.SetEndpoints(addresses(0, 4))
		if counts := picks(b, 1000, all[1:]...); counts[0] != 1000 {
			t.Errorf("there was no other endpoint: %v", counts)
		}
		time.Sleep(OutlierBase)
		if counts := picks(b, 4000); slices.Min(counts) < 800 {
			t.Errorf("after the ejection: %v", counts)
		}
		if !slices.Equal(placed(b, 100), before) {
			t.Error("keys did not come back")
		}
	})
}

// TestEjectionGrows: 30 s, 1, 2, 4 and 5 minutes while the endpoint fails again soon,
// and 30 s again after it was back for as long as it had been out.
func TestEjectionGrows(t *testing.T) {
	b := outliers(2, Outlier{Errors: 5})
	e := b.Endpoints()[0]
	now := time.Unix(1_000_000, 0)
	for _, want := range []time.Duration{30, 60, 120, 240, 300, 300} {
		report(e, "eeeee", now)
		report(e, "eeeeeeeeee", now.Add(want*time.Second-1)) // of exchanges from before
		if !e.Ejected(now.Add(want*time.Second - 1)) {
			t.Fatalf("it is back before %v", want*time.Second)
		}
		now = now.Add(want * time.Second)
		if e.Ejected(now) {
			t.Fatalf("it is not back after %v", want*time.Second)
		}
		report(e, "eeee", now)
		if e.Ejected(now) {
			t.Fatal("failures from before count")
		}
		report(e, "s", now) // between failures it answers well
		now = now.Add(want*time.Second - 1)
	}
	now = now.Add(time.Second)
	report(e, "eeeee", now)
	if !e.Ejected(now.Add(OutlierBase-1)) || e.Ejected(now.Add(OutlierBase)) {
		t.Error("it was in order for long, but is not ejected for the first time")
	}
}

func TestEjectionTimesAreSettings(t *testing.T) {
	b := outliers(2, Outlier{Errors: 1, Base: time.Second, Max: 1500 * time.Millisecond})
	e := b.Endpoints()[0]
	now := time.Unix(1_000_000, 0)
	for _, want := range []time.Duration{time.Second, 1500 * time.Millisecond} {
		report(e, "e", now)
		if !e.Ejected(now.Add(want-1)) || e.Ejected(now.Add(want)) {
			t.Errorf("not ejected for %v", want)
		}
		now = now.Add(want)
	}
}

func TestMaxEjected(t *testing.T) {
	for _, tt := range []struct{ endpoints, percent, want int }{
		{1, 0, 0}, {2, 0, 1}, {3, 0, 1}, {4, 0, 2}, {10, 0, 5},
		{10, 10, 1}, {9, 10, 0}, {10, 100, 10}, {1, 100, 1}, {3, 99, 2},
	} {
		t.Run(fmt.Sprintf("%d percent of %d", tt.percent, tt.endpoints), func(t *testing.T) {
			b := outliers(tt.endpoints, Outlier{Errors: 5, MaxPercent: tt.percent})
			for _, e := range b.Endpoints() {
				report(e, "eeeeeeeee", time.Now())
			}
			if got := ejected(b, time.Now()); got != tt.want {
				t.Errorf("%d of %d are ejected, want %d", got, tt.endpoints, tt.want)
			}
			if b.Pick() == nil || b.PickHash(1) == nil {
				t.Error("there is no endpoint")
			}
		})
	}
}

func ejected(b *Backend, now time.Time) (n int) {
	for _, e := range b.Endpoints() {
		if e.Ejected(now) {
			n++
		}
	}
	return n
}

func TestPickTakesEjectedEndpointsIfAllAre(t *testing.T) {
	b := outliers(3, Outlier{Errors: 1, MaxPercent: 100})
	for _, e := range b.Endpoints() {
		report(e, "e", time.Now())
	}
	for i, count := range picks(b, 3000) {
		if count < 800 {
			t.Errorf("endpoint %d was picked %d times of 3000", i, count)
		}
	}
}

// TestEjectionInvariants holds after random reports, over a long time: no more are out
// than may be, and what Pick returns is not out while another is in.
func TestEjectionInvariants(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 6))
		synctest.Test(t, func(t *testing.T) {
			n := 1 + random.IntN(8)
			b := outliers(n, Outlier{Errors: 1 + random.IntN(3), GatewayErrors: random.IntN(2)})
			for range 2000 {
				report(b.Endpoints()[random.IntN(n)], string("seg"[random.IntN(3)]), time.Now())
				if out := ejected(b, time.Now()); out > n/2 {
					t.Fatalf("%d of %d are out", out, n)
				}
				if b.Pick().Ejected(time.Now()) || b.PickHash(random.Uint64()).Ejected(time.Now()) {
					t.Fatal("picked one that is out")
				}
				time.Sleep(time.Duration(random.IntN(10)) * time.Second)
			}
		})
	}
}

func TestReportConcurrently(t *testing.T) {
	b := outliers(4, Outlier{Errors: 2})
	now := time.Now()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 5000 {
				e := b.Pick()
				e.Report(Outcome(i%3), now)
			}
		})
	}
	wg.Wait()
	if out := ejected(b, now); out > 2 {
		t.Errorf("%d of 4 are out", out)
	}
}

// TestEjectionCountsOnce: exchanges that fail together make one ejection, not a longer
// one each.
func TestEjectionCountsOnce(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	b := outliers(4, Outlier{Errors: 1})
	e := b.Endpoints()[0]
	b.eject(e, now)
	b.eject(e, now) // by a Report that came before the endpoint was out
	if !e.Ejected(now.Add(OutlierBase-1)) || e.Ejected(now.Add(OutlierBase)) {
		t.Error("not ejected for the first time")
	}
}

func TestReportDoesNotAllocate(t *testing.T) {
	e := outliers(2, Outlier{Errors: 5}).Endpoints()[0]
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		e.Report(ServerError, now)
		e.Report(Success, now)
	}); n != 0 {
		t.Errorf("Report allocates %v times", n)
	}
}

func BenchmarkReport(b *testing.B) {
	for name, o := range map[string]Outlier{"off": {}, "on": {Errors: 5}} {
		b.Run(name, func(b *testing.B) {
			e := outliers(10, o).Endpoints()[0]
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				e.Report(Success, now)
			}
		})
	}
}
