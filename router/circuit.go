package router

import "sync/atomic"

// Circuit bounds what is under way to one Backend at the same time, so that a slow one
// fills up neither itself nor the gateway. What is over a limit is to be refused, not
// queued. 0 or less means no limit.
type Circuit struct {
	// MaxRequests bounds exchanges, MaxPending those among them that wait for a
	// connection.
	MaxRequests int
	MaxPending  int
	// MaxConnections bounds the open connections to one endpoint, idle ones included.
	MaxConnections int
}

// Acquire counts one exchange, which Release ends, and reports whether it may go on:
// if not, it is not counted, and must not be released.
func (b *Backend) Acquire() (ok bool) { return b.requests.acquire(b.settings.Circuit.MaxRequests) }

// Release ends an exchange that Acquire let pass.
func (b *Backend) Release() { b.requests.release(b.settings.Circuit.MaxRequests) }

// AcquirePending counts one exchange that waits for a connection, as Acquire does;
// ReleasePending ends its wait.
func (b *Backend) AcquirePending() (ok bool) { return b.pending.acquire(b.settings.Circuit.MaxPending) }

// ReleasePending ends a wait that AcquirePending let begin.
func (b *Backend) ReleasePending() { b.pending.release(b.settings.Circuit.MaxPending) }

// AcquireConnection counts one connection, from before it is opened, as
// [Backend.Acquire] does; ReleaseConnection ends it.
func (e *Endpoint) AcquireConnection() (ok bool) {
	return e.connections.acquire(e.backend.settings.Circuit.MaxConnections)
}

// ReleaseConnection ends a connection that AcquireConnection let open.
func (e *Endpoint) ReleaseConnection() {
	e.connections.release(e.backend.settings.Circuit.MaxConnections)
}

// Limited reports whether there is a limit to the open connections.
func (e *Endpoint) Limited() bool { return e.backend.settings.Circuit.MaxConnections > 0 }

// counter counts what is under way, if that is limited: without a limit the cores do
// not pass its memory around. A limit of 0 or less is none.
type counter struct{ n atomic.Int64 }

// acquire adds one, unless that would be over the limit. It never is over it for a
// moment, which would refuse others.
func (c *counter) acquire(limit int) (ok bool) {
	if limit <= 0 {
		return true
	}
	for {
		n := c.n.Load()
		if n >= int64(limit) {
			return false
		}
		if c.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (c *counter) release(limit int) {
	if limit > 0 {
		c.n.Add(-1)
	}
}
