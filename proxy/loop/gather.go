//go:build linux

package loop

// What goes out over HTTP/1.1 and by relays gathers while it is small, and is sent together, one
// connection after the other, once those that are ready had their turn. A send wakes its receiver
// and runs through all of TCP on both sides: many in a row cost less each than between two
// exchanges, which they drive from the processor's caches. It does not wait for what takes long:
// connections that use up their budget, and handshakes.
//
// An exchange goes on as if what gathers was sent. Whoever sends more on the connection, reads
// the next request from it or ends it pushes that out first, so the order stays. A user whose peer
// turns out not to have taken all of it is made ready, as if its socket had changed.

const (
	// gatherSize is the largest piece that gathers: to copy a larger one costs what is saved.
	gatherSize = headSize
	// gatherMost is how many connections gather at most: the first one must not wait for long,
	// and what it sends should still be in the processor's cache.
	gatherMost = 64
	// gatherBytes is how much gathers at most: pieces are small mostly.
	gatherBytes = gatherMost * gatherSize / 4
)

// mayGather reports whether n bytes as they go over the wire may gather. A peer that has ended is
// written to at once, as it may be gone.
func (c *conn) mayGather(n int) bool {
	return c.writable && c.waiting == nil && !c.failed && !c.ended &&
		n <= gatherSize && n <= gatherBytes-len(c.loop.gathering)
}

// gather is send for what may go out as late as at the end of the turn.
func (c *conn) gather(p []byte) bool {
	p = c.seal(p)
	c.push()
	if len(p) == 0 || !c.mayGather(len(p)) {
		return c.sendRaw(p)
	}
	l := c.loop
	at := len(l.gathering)
	l.gathering = append(l.gathering, p...)
	c.waiting, c.untried = l.gathering[at:len(l.gathering):len(l.gathering)], true
	l.senders.add(task{c, c.epoch})
	return true
}

// push sends what gathers on the connection, if something does. What the kernel does not take
// waits in a buffer of its own.
func (c *conn) push() {
	if !c.untried {
		return
	}
	p := c.waiting
	c.waiting, c.untried = nil, false
	if n, ok := c.write(p); ok && n < len(p) {
		c.wait(p[n:])
	}
}

// sendSoon sends what gathers after a connection had its turn, before which so many waited to go
// on: when there is much, or when that one has used up its budget, which took long.
func (l *loop) sendSoon(waiting int) {
	if l.senders.len() >= gatherMost || l.again.len() > waiting {
		l.sendGathered()
	}
}

// current reports whether the connection is still the one that the task is for.
func (t task) current() bool { return t.conn.fd >= 0 && t.conn.epoch == t.epoch }

// sendGathered sends what gathers on all connections, and lets those go on that it concerns.
func (l *loop) sendGathered() {
	if l.senders.empty() {
		return
	}
	all := l.senders.take()
	for _, t := range all {
		if t.current() {
			t.conn.push()
		}
	}
	l.gathering = l.gathering[:0] // one that was closed has pushed
	for _, t := range all {
		if c := t.conn; t.current() && (c.failed || c.waiting != nil || c.readable) {
			c.user.ready()
		}
	}
	l.senders.done()
}
