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
	some     atomic.Bool // queue is not empty, or stopped is set

	mu      sync.Mutex // guards what follows
	queue   []func()
	stopped bool // the loop is to end
	closed  bool // nothing is taken any more
}

// put adds a function. It reports false when the loop has ended.
func (m *mailbox) put(call func()) bool {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	m.queue = append(m.queue, call)
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

// take returns what is there, in place of spare, and whether the loop is to go on.
// The caller calls it only while some is set, to save the lock.
func (m *mailbox) take(spare []func()) (queue []func(), goOn bool) {
	m.some.Store(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	queue, m.queue = m.queue, spare[:0]
	return queue, !m.stopped
}

// close makes put fail, and returns what was never taken.
func (m *mailbox) close() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return m.queue
}
