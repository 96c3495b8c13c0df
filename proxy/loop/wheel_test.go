//go:build linux

package loop

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A wheel fires what a naive list would, never early, and at most a tick and the time
// between two turns late.
func TestWheelAgainstList(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const timers = 50
	w := newWheel()
	var now int64
	var all [timers]timer
	var want [timers]int64 // the deadline of each
	for i := range all {
		want[i] = never
		all[i].at = never
		all[i].fire = func() {
			if want[i] > now {
				t.Fatalf("timer %d fires at %d, before %d", i, now, want[i])
			}
			want[i] = never
		}
	}
	for range 200_000 {
		switch i := random.IntN(timers); random.IntN(10) {
		case 0:
			want[i] = never
			w.set(&all[i], never)
		case 1:
			want[i] = never
			w.stop(&all[i])
		case 2, 3, 4: // near and far, within a round and beyond
			want[i] = now + random.Int64N(int64(time.Millisecond)<<random.IntN(16))
			w.set(&all[i], want[i])
		default:
			step := random.Int64N(int64(20 * time.Millisecond))
			if random.IntN(1000) == 0 {
				step = random.Int64N(int64(time.Minute))
			}
			checkWait(t, w, now, want[:])
			now += step
			w.advance(now)
			for i, at := range want {
				if at <= now-int64(tick) {
					t.Fatalf("timer %d is %v late", i, time.Duration(now-at))
				}
			}
		}
	}
}

// checkWait checks that a loop that sleeps as long as the wheel says misses nothing.
func checkWait(t *testing.T, w *wheel, now int64, want []int64) {
	t.Helper()
	first := int64(never)
	for _, at := range want {
		first = min(first, at)
	}
	wait := w.wait(now)
	if first == never {
		return // it may wake for a timer that was taken away
	}
	if wait < 0 {
		t.Fatalf("sleeps forever with a timer due in %v", time.Duration(first-now))
	}
	if until := now + int64(wait)*int64(time.Millisecond); until > first+int64(tick)+int64(time.Millisecond) {
		t.Fatalf("sleeps %v past a deadline", time.Duration(until-first))
	}
}

// A deadline that moves away all the time costs no work on the ring.
func TestWheelMovesLazily(t *testing.T) {
	w := newWheel()
	tm := timer{at: never, fire: func() { t.Error("fired") }}
	w.set(&tm, int64(time.Minute))
	slot := tm.slot
	for i := range 100 {
		w.set(&tm, int64(time.Minute)+int64(i))
		if tm.slot != slot {
			t.Fatal("moved")
		}
	}
	w.set(&tm, never)
	w.advance(int64(time.Hour))
	if w.wait(int64(time.Hour)) != -1 {
		t.Error("an empty wheel has something to wait for")
	}
}

// A timer that fires may set itself and others, or take others away.
func TestWheelChangesWhileFiring(t *testing.T) {
	w := newWheel()
	fired := 0
	var first, other timer
	first.at, other.at = never, never
	other.fire = func() { t.Error("a timer fired that was taken away") }
	first.fire = func() {
		fired++
		w.stop(&other)
		if fired == 1 {
			w.set(&first, int64(100*time.Millisecond))
		}
	}
	w.set(&first, int64(10*time.Millisecond))
	w.set(&other, int64(10*time.Millisecond))
	w.advance(int64(50 * time.Millisecond))
	w.advance(int64(99 * time.Millisecond))
	if fired != 1 {
		t.Errorf("fired %d times", fired)
	}
	w.advance(int64(120 * time.Millisecond))
	if fired != 2 {
		t.Errorf("fired %d times", fired)
	}
}
