//go:build linux

package loop

import (
	"testing"
	"time"
)

// handshakes notes one handshake of 200 µs every so often, for a while.
func handshakes(e *effort, now int64, every, long time.Duration) int64 {
	const takes = int64(200 * time.Microsecond)
	for end := now + int64(long); now < end; now += int64(every) {
		e.add(now, now+takes)
	}
	return now
}

func TestEffort(t *testing.T) {
	for _, c := range []struct {
		name        string
		every, long time.Duration
		heavy       bool
	}{
		{"one", time.Second, time.Second, false},
		{"two at once", 200 * time.Microsecond, 400 * time.Microsecond, false},
		{"ten at once", 200 * time.Microsecond, 2 * time.Millisecond, true},
		{"1,000 a second", time.Second / 1000, time.Second, false},
		{"2,000 a second", time.Second / 2000, time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e effort
			now := handshakes(&e, int64(time.Hour), c.every, c.long)
			if e.heavy(now) != c.heavy {
				t.Errorf("heavy: %t after %v", !c.heavy, time.Duration(e.left(now)))
			}
		})
	}
}

// A loop that only did handshakes for long is soon as it was.
func TestEffortIsForgotten(t *testing.T) {
	var e effort
	now := handshakes(&e, 0, 200*time.Microsecond, time.Minute)
	if now += int64(20 * time.Millisecond); e.heavy(now) {
		t.Errorf("%v are left 20 ms later", time.Duration(e.left(now)))
	}
}
