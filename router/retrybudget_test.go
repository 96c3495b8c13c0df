package router

import (
	"testing"
	"time"
)

func TestRetryBudget(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	allowed := func(b *Backend, tries int) (n int) {
		for range tries {
			if b.AllowRetry(at) {
				n++
			}
		}
		return n
	}
	none := NewBackend("a")
	none.CountRequest(at)
	if n := allowed(none, 1000); n != 1000 {
		t.Errorf("without a budget %d of 1000 retries", n)
	}
	b := NewBackendWith("a", BackendSettings{RetryBudget: RetryBudget{Interval: 10 * time.Second, Percent: 20, MinCount: 3, MinInterval: time.Second}})
	if n := allowed(b, 10); n != 3 {
		t.Errorf("without requests there are %d retries, want the least", n)
	}
	at = at.Add(30 * time.Second)
	for range 800 {
		b.CountRequest(at)
	}
	if n := allowed(b, 1000); n != 200 { // of 1000 in all
		t.Errorf("%d retries beside 800 requests, want 200", n)
	}
	at = at.Add(5 * time.Second)
	if n := allowed(b, 10); n != 3 {
		t.Errorf("%d retries of a spent budget, want the least", n)
	}
	at = at.Add(20 * time.Second)
	for range 8 {
		b.CountRequest(at)
	}
	if n := allowed(b, 10); n != 3 {
		t.Errorf("%d retries beside 8 requests, want the least, which is more than 2", n)
	}
}
