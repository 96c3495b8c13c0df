//go:build linux

package loop

import (
	"sync"
	"testing"
)

// Whatever is put is called once, in order for each sender, and nothing is left lying
// while the loop sleeps.
func TestMailbox(t *testing.T) {
	const senders, each = 8, 2000
	wake := make(chan struct{}, 1)
	m := &mailbox{wake: func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}}
	var next [senders]int
	total := 0
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				m.put(func() {
					if next[s] != i {
						t.Errorf("sender %d: %d instead of %d", s, i, next[s])
					}
					next[s]++
					total++
				})
			}
		})
	}
	go func() {
		all.Wait()
		m.stop()
	}()
	for goOn := true; goOn; {
		m.sleeping.Store(true)
		if !m.some.Load() {
			<-wake
		}
		m.sleeping.Store(false)
		if m.some.Load() {
			var calls []func()
			calls, goOn = m.take()
			for _, call := range calls {
				call()
			}
			m.done()
		}
	}
	if total != senders*each {
		t.Errorf("%d calls", total)
	}
	if left := m.close(); len(left) != 0 || m.put(func() {}) {
		t.Errorf("%d left, or a closed mailbox takes more", len(left))
	}
}
