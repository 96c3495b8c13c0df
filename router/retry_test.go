package router

import (
	"testing"
	"time"
)

func TestRetryPause(t *testing.T) {
	for _, test := range []struct {
		backoff time.Duration
		n       int
		jitter  float64
		want    time.Duration
	}{
		{0, 1, 0, DefaultBackoff},
		{0, 3, 0, 4 * DefaultBackoff},
		{time.Second, 1, 0, time.Second},
		{time.Second, 2, 0.5, 2500 * time.Millisecond},
		{time.Second, 4, 0, 8 * time.Second},
		{time.Second, 5, 0, 10 * time.Second},
		{time.Second, 1 << 30, 1, 15 * time.Second},
	} {
		if got := (&Retry{Backoff: test.backoff}).Pause(test.n, test.jitter); got != test.want {
			t.Errorf("%v, retry %d: %v, want %v", test.backoff, test.n, got, test.want)
		}
	}
}
