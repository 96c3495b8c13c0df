//go:build linux

package loop

import "iter"

// maxResting is how many coroutines a loop keeps for later while it is busy: their stacks
// have grown already.
const maxResting = 64

// coroutine does handshakes, one after the other, in the turns of its loop: it runs while
// the loop waits for it, and the other way round. Changing between them is a matter of the
// Go runtime alone, without its scheduler.
type coroutine struct {
	job   *handshake // nil between two
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
}

// coroutine returns one that has nothing to do.
func (l *loop) coroutine() *coroutine {
	if n := len(l.resting); n > 0 {
		c := l.resting[n-1]
		l.resting[n-1], l.resting = nil, l.resting[:n-1]
		return c
	}
	c := &coroutine{}
	c.next, c.stop = iter.Pull(c.run)
	return c
}

// rest keeps one that is done.
func (l *loop) rest(c *coroutine) {
	if len(l.resting) == maxResting {
		c.stop()
		return
	}
	l.resting = append(l.resting, c)
}

// stopCoroutines ends those that rest. A loop that has nothing to do keeps none.
func (l *loop) stopCoroutines() {
	for i, c := range l.resting {
		l.resting[i] = nil
		c.stop()
	}
	l.resting = l.resting[:0]
}

// run is the coroutine.
func (c *coroutine) run(yield func(struct{}) bool) {
	c.yield = yield
	for {
		h := c.job
		h.shaken = h.in.Socket.Shake(wire{h})
		c.job = nil
		if !yield(struct{}{}) {
			return
		}
	}
}

// resume lets the coroutine run until it pauses, which it reports, or its job is done.
func (c *coroutine) resume() (paused bool) {
	c.next()
	return c.job != nil
}

// pause lets the loop go on. It is called on the coroutine, which is resumed until its job
// is done: see [handshake.end].
func (c *coroutine) pause() { c.yield(struct{}{}) }
