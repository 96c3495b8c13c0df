package exchange

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const rate = 64
	for _, test := range []struct {
		name  string
		wait  time.Duration // before each piece
		bytes int           // of each piece
		slow  int           // the piece that is too slow, from 1; 0 for none
	}{
		{"at the rate", time.Second, rate, 0},
		{"just below", time.Second, rate - 1, 30},
		{"a byte now and then", 10 * time.Second, 1, 3},
		{"a byte before each timeout", 59 * time.Second, 1, 1},
		{"large pieces seldom", 59 * time.Second, 4096, 0},
		{"bytes without a wait", 0, 1, 0},
		{"bytes that come fast", 10 * time.Millisecond, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p Pace
			slow := 0
			for i := range 10_000 {
				if p.Waited(test.wait, test.bytes, rate) {
					slow = i + 1
					break
				}
			}
			if slow != test.slow {
				t.Errorf("piece %d is too slow, want %d", slow, test.slow)
			}
		})
	}
}

// A fast beginning does not pay for what follows.
func TestPaceForgets(t *testing.T) {
	var p Pace
	if p.Waited(PaceGrace, 1<<30, 64) {
		t.Fatal("a fast client is too slow")
	}
	if p.Waited(PaceGrace/2, 1, 64) || !p.Waited(PaceGrace/2, 1, 64) {
		t.Error("a trickle behind it is not")
	}
}

func TestPaceUnlimited(t *testing.T) {
	for _, rate := range []int64{0, -1} {
		var p Pace
		if p.Waited(time.Hour, 0, rate) {
			t.Errorf("too slow at rate %d", rate)
		}
	}
}
