//go:build linux

package loop

import (
	"sync"
	"sync/atomic"
)

// mailbox is the one way into a loop from other goroutines: functions that the loop
// calls in its next turn.
type mailbox struct {
	wake func() // makes a sleeping loop turn

	// sleeping and some let sender and loop pass by each other without the lock:
	// each writes its own and then reads the other's, so one of them notices.
	sleeping atomic.Bool // the loop waits, or is about to, in the kernel
	some     atomic.Bool // calls are there, or stopped is set

	mu      sync.Mutex    // guards what follows
	calls   queue[func()] // what was taken is the loop's alone
	stopped bool          // the loop is to end
	closed  bool          // nothing is taken any more
}

// put adds a function. It reports false when the loop has ended.
func (m *mailbox) put(call func()) bool {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	m.calls.add(call)
	m.mu.Unlock()
	m.notify()
	return true
}

// stop makes the loop end.
func (m *mailbox) stop() {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.notify()
}

func (m *mailbox) notify() {
	m.some.Store(true)
	if m.sleeping.Load() {
		m.wake()
	}
}

// take returns what is there, until done, and whether the loop is to go on. The loop calls
// it only while some is set, to save the lock.
func (m *mailbox) take() (calls []func(), goOn bool) {
	m.some.Store(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls.take(), !m.stopped
}

// done says that the loop has called what it took.
func (m *mailbox) done() { m.calls.done() }

// close makes put fail, and returns what was never taken.
func (m *mailbox) close() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return m.calls.take()
}
