package router

import (
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	// FailTimeout is how long an endpoint is avoided after its first failure: long
	// enough that a process that restarts costs few requests an attempt, short
	// enough that one lost SYN does not take an endpoint out for long.
	FailTimeout = time.Second
	// FailTimeoutMax bounds the time, which doubles with every failure that follows.
	FailTimeoutMax = 30 * time.Second
)

// Endpoint is one address of a Backend. Safe for concurrent use.
type Endpoint struct {
	Addr netip.AddrPort

	backend     *Backend
	hash        uint64 // of Addr
	inflight    atomic.Int64
	failed      atomic.Pointer[failure] // nil while the endpoint is in order
	hold        atomic.Pointer[hold]    // nil while it gets its full share
	connections counter
	streak      streak
	ejected     ejection // guarded by backend.ejecting
}

// newEndpoint returns an endpoint of b that is in order.
func newEndpoint(b *Backend, addr netip.AddrPort) *Endpoint {
	return &Endpoint{Addr: addr, backend: b, hash: hashAddress(addr)}
}

// failure is immutable.
type failure struct {
	until time.Time     // when the endpoint may be tried again
	last  time.Duration // from the failure to until
}

// Acquire counts one exchange that uses the endpoint, from before it connects;
// Release ends it.
func (e *Endpoint) Acquire() { e.inflight.Add(1) }

// Release takes one exchange off the count.
func (e *Endpoint) Release() { e.inflight.Add(-1) }

// Inflight is the number of exchanges that use the endpoint now.
func (e *Endpoint) Inflight() int { return int(e.inflight.Load()) }

// Fail says that the endpoint could not be reached: others are preferred for
// [FailTimeout], and twice as long after each further failure in a row, up to
// [FailTimeoutMax]. Failures of exchanges that were under way together count once.
func (e *Endpoint) Fail(now time.Time) {
	for {
		was := e.failed.Load()
		timeout := FailTimeout
		if was != nil {
			if now.Before(was.until) {
				return
			}
			timeout = min(2*was.last, FailTimeoutMax)
		}
		if e.failed.CompareAndSwap(was, &failure{now.Add(timeout), timeout}) {
			return
		}
	}
}

// OK says that the endpoint was reached.
func (e *Endpoint) OK() {
	if e.failed.Load() != nil {
		e.failed.Store(nil)
	}
}
