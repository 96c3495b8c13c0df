package router

import (
	"sync"
	"time"
)

// RetryBudget bounds the retries to one Backend by how many of its requests they are
// (GEP-3388), so that retries do not bring down what begins to fail. The zero RetryBudget
// bounds nothing.
type RetryBudget struct {
	// Interval is that in which requests are counted; 0 is no budget. Of these, retries
	// included, Percent may be retries.
	Interval time.Duration
	Percent  int
	// MinCount retries in MinInterval are allowed in any case.
	MinCount    int
	MinInterval time.Duration
}

// budget counts for a RetryBudget. Retries are rare and requests are not, but only Backends
// with a budget count any.
type budget struct {
	mu       sync.Mutex // guards what follows; held for a few additions
	requests window
	retries  window
	lately   window // retries, for MinCount
}

// CountRequest counts an exchange that begins.
func (b *Backend) CountRequest(now time.Time) {
	limit := &b.settings.RetryBudget
	if limit.Interval <= 0 {
		return
	}
	b.budget.mu.Lock()
	defer b.budget.mu.Unlock()
	b.budget.requests.add(now, limit.Interval)
}

// AllowRetry reports whether there is room for one more retry in the budget, and counts it
// then.
func (b *Backend) AllowRetry(now time.Time) bool {
	limit := &b.settings.RetryBudget
	if limit.Interval <= 0 {
		return true
	}
	b.budget.mu.Lock()
	defer b.budget.mu.Unlock()
	retries := b.budget.retries.sum(now, limit.Interval) + 1
	all := b.budget.requests.sum(now, limit.Interval) + retries
	if retries*100 > all*int64(limit.Percent) && b.budget.lately.sum(now, limit.MinInterval) >= int64(limit.MinCount) {
		return false
	}
	b.budget.retries.add(now, limit.Interval)
	b.budget.lately.add(now, limit.MinInterval)
	return true
}

// windowSlots is in how many parts a window moves: what is forgotten at once is a tenth.
const windowSlots = 10

// window counts what was in the last interval, which is the same in all calls.
type window struct {
	newest int64 // number of the newest slot since 1970
	counts [windowSlots]int64
}

func (w *window) add(now time.Time, interval time.Duration) {
	w.counts[w.move(now, interval)%windowSlots]++
}

func (w *window) sum(now time.Time, interval time.Duration) (total int64) {
	w.move(now, interval)
	for _, n := range w.counts {
		total += n
	}
	return total
}

// move forgets what is too old, and returns the slot of now.
func (w *window) move(now time.Time, interval time.Duration) int64 {
	slot := now.UnixNano() / max(1, int64(interval)/windowSlots)
	for next := max(w.newest+1, slot-windowSlots+1); next <= slot; next++ {
		w.counts[next%windowSlots] = 0
	}
	w.newest = max(w.newest, slot)
	return w.newest
}
