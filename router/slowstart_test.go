package router

import (
	"testing"
	"testing/synctest"
	"time"
)

const testWindow = time.Minute

func slowBackend(n int) *Backend {
	b := NewBackendWith("default/shop:80", BackendSettings{SlowStart: testWindow, Outlier: Outlier{Errors: 1}})
	b.SetEndpoints(addresses(0, n))
	return b
}

// checkShare expects the last endpoint of b to get a part of what would be its share of
// 40,000 Picks. Five standard deviations are less than 0.06 of it for up to 5 endpoints.
func checkShare(t *testing.T, b *Backend, want float64) {
	t.Helper()
	const n = 40_000
	counts := picks(b, n)
	fair := float64(n) / float64(len(counts))
	if got := float64(counts[len(counts)-1]) / fair; got < want-0.06 || got > want+0.06 {
		t.Errorf("the last endpoint gets %.3f of its share, want %.3f; all: %v", got, want, counts)
	}
}

func TestSlowStartRampsUp(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		synctest.Test(t, func(t *testing.T) {
			b := slowBackend(n - 1)
			checkShare(t, b, 1) // the first ones come all at once
			b.SetEndpoints(addresses(0, n))
			checkShare(t, b, 0.1)
			time.Sleep(testWindow / 2)
			b.SetEndpoints(addresses(0, n)) // does not begin anew
			checkShare(t, b, 0.55)
			time.Sleep(testWindow/2 - time.Nanosecond)
			checkShare(t, b, 1)
			time.Sleep(time.Nanosecond)
			checkShare(t, b, 1)
			if b.Endpoints()[n-1].hold.Load() != nil {
				t.Error("a slow start that is over still costs time")
			}
		})
	}
}

func TestSlowStartOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slowBackend(2)
		b.SetEndpoints(addresses(0, 5))
		counts := picks(b, 40_000)
		for i, count := range counts {
			if i < 2 && (count < 17_000 || count > 19_500) || i >= 2 && (count < 1000 || count > 1700) {
				t.Fatalf("three of five are new: %v", counts)
			}
		}
		b.SetEndpoints(addresses(2, 3)) // those alone are left
		for i, count := range picks(b, 3000) {
			if count < 800 {
				t.Errorf("endpoint %d of three that are all new was picked %d times of 3000", i, count)
			}
		}
	})
}

func TestSlowStartNotWithoutOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slowBackend(0)
		b.SetEndpoints(addresses(0, 2))
		b.SetEndpoints(nil)
		b.SetEndpoints(addresses(0, 1))
		for _, e := range b.Endpoints() {
			if e.hold.Load() != nil {
				t.Error("slow start of an endpoint that has all the exchanges")
			}
		}
		off := backendOf(1)
		off.SetEndpoints(addresses(0, 2))
		checkShare(t, off, 1)
	})
}

func TestSlowStartAfterEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slowBackend(3)
		b.Endpoints()[2].Report(ServerError, time.Now())
		checkShare(t, b, 0)
		time.Sleep(OutlierBase - time.Nanosecond)
		checkShare(t, b, 0)
		time.Sleep(time.Nanosecond)
		checkShare(t, b, 0.1)
		time.Sleep(testWindow / 2)
		checkShare(t, b, 0.55)
		time.Sleep(testWindow / 2)
		checkShare(t, b, 1)
	})
}

// TestSlowStartUnderLoad has exchanges in flight, of which the new endpoint has few: it
// must not get more for that.
func TestSlowStartUnderLoad(t *testing.T) {
	const inflight, n = 80, 40_000
	for _, elapsed := range []time.Duration{0, testWindow / 2} {
		synctest.Test(t, func(t *testing.T) {
			b := slowBackend(3)
			b.SetEndpoints(addresses(0, 4))
			time.Sleep(elapsed)
			fresh := b.Endpoints()[3]
			var busy []*Endpoint // in the order in which they end
			got := 0
			for range n {
				e := b.Pick()
				e.Acquire()
				if e == fresh {
					got++
				}
				if busy = append(busy, e); len(busy) > inflight {
					busy[0].Release()
					busy = busy[1:]
				}
			}
			// Its weight among four, of which three have the weight 1.
			w := 0.1 + 0.9*float64(elapsed)/float64(testWindow)
			want := w / (3 + w)
			if share := float64(got) / n; share < want*0.7 || share > want*1.3 {
				t.Errorf("after %v it gets %.4f of all, want about %.4f", elapsed, share, want)
			}
		})
	}
}

func TestSlowStartLeavesKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slowBackend(3)
		b.SetEndpoints(addresses(0, 4))
		before := placed(b, 1000)
		time.Sleep(testWindow)
		for key, e := range placed(b, 1000) {
			if e != before[key] {
				t.Fatalf("key %d moved in slow start", key)
			}
		}
	})
}

func TestSlowStartTriesEach(t *testing.T) {
	b := slowBackend(1)
	b.SetEndpoints(addresses(0, 4))
	var tried []*Endpoint
	for e := b.Pick(); e != nil; e = b.Pick(tried...) {
		tried = append(tried, e)
	}
	if len(tried) != 4 {
		t.Errorf("tried %d of 4 endpoints", len(tried))
	}
}
