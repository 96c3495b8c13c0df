//go:build linux

package loop

import (
	"golang.org/x/sys/unix"
)

// user is what a connection belongs to. ready is called when its readiness has
// changed, after what waits to be written was tried again.
type user interface{ ready() }

// conn is a connected, or connecting, socket of a loop, and what waits to be written
// to it.
type conn struct {
	loop  *loop
	user  user
	fd    int    // -1 when closed
	epoch uint32 // tells the users of a descriptor number apart in a batch of events

	secure *secure // nil for plaintext

	readable bool // a read may bring something
	writable bool // a write may take something
	ended    bool // the peer has finished sending, or all is over
	broken   bool // all is over: both directions are
	failed   bool // a write has failed: nothing more goes out

	failure unix.Errno // why it has

	waiting []byte // what the kernel did not take, waiting[taken:]
	taken   int
	untried bool  // that stands in loop.gathering, and the kernel was not asked yet; see gather.go
	moved   int64 // when the kernel last took something of that, in the loop's time
}

// open registers a descriptor, which is closed if that fails.
func (c *conn) open(l *loop, u user, fd int) bool {
	c.loop, c.user, c.fd = l, u, fd
	l.epoch++
	c.epoch = l.epoch
	if err := l.poller.add(fd, c.epoch); err != nil {
		closeDescriptor(fd)
		c.fd = -1
		return false
	}
	l.watch(c)
	return true
}

// adopt makes c what other was, whose user knows nothing more of the descriptor.
func (c *conn) adopt(other *conn, u user) {
	secure := c.secure
	*c = *other
	c.secure, c.user = secure, u
	c.loop.watch(c)
	other.fd = -1
}

// close closes the descriptor, once.
func (c *conn) close() {
	if c.fd < 0 {
		return
	}
	c.push()
	if c.secure != nil {
		if c.waiting == nil {
			c.sayGoodbye()
		}
		c.secure.discard(c.loop)
	}
	c.loop.forget(c)
	closeDescriptor(c.fd)
	c.fd = -1
	c.discard()
}

// reset closes the connection so that the peer sees an error.
func (c *conn) reset() {
	c.push()
	resetOnClose(c.fd)
	c.failed = true // no close_notify either
}

// discard gives up what waits.
func (c *conn) discard() {
	if c.waiting != nil {
		c.loop.pieces.put(c.waiting)
		c.waiting, c.taken, c.untried = nil, 0, false
	}
}

// note takes what epoll says.
func (c *conn) note(events uint32) {
	const over = unix.EPOLLHUP | unix.EPOLLERR
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|over) != 0 {
		c.readable = true
	}
	if events&(unix.EPOLLRDHUP|over) != 0 {
		c.ended = true
	}
	if events&over != 0 {
		c.broken = true
	}
	if events&(unix.EPOLLOUT|over) != 0 {
		c.writable = true
	}
}

// act does what has become possible.
func (c *conn) act() {
	c.push()
	if c.waiting != nil && c.writable {
		c.flush()
	}
	c.user.ready()
}

// outcome is what a read came to.
type outcome uint8

const (
	some   outcome = iota // bytes
	dry                   // none now
	end                   // none any more, in order
	breach                // none any more, by a reset or another error
)

// mayRead reports whether a read may bring something, or the end.
func (c *conn) mayRead() bool { return c.readable || c.secure.buffered() }

// read reads into p, which has room.
func (c *conn) read(p []byte) (int, outcome) {
	if c.secure != nil {
		return c.readSecure(p)
	}
	return c.readRaw(p)
}

// readBehind reads to behind what a codec of HTTP/2 has left of what came before, in one piece.
func (c *conn) readBehind(left []byte) ([]byte, outcome) {
	if len(left) > headroom {
		return nil, breach // it leaves less than a frame's header
	}
	shared := c.loop.shared
	n, outcome := c.read(shared[headroom:])
	from := headroom - len(left)
	copy(shared[from:], left)
	return shared[from : headroom+n], outcome
}

// readRaw reads from the socket.
func (c *conn) readRaw(p []byte) (int, outcome) {
	if !c.readable {
		return 0, dry
	}
	n, errno := readSocket(c.fd, p)
	switch {
	case errno == unix.EAGAIN:
		c.readable = false
		return 0, dry
	case errno == unix.EINTR:
		return c.readRaw(p)
	case errno != 0, n == 0 && c.failure == unix.ECONNRESET:
		return 0, breach // the kernel tells of a reset once, and maybe in a write
	case n == 0:
		return 0, end
	}
	if n < len(p) && !c.ended {
		c.readable = false // what comes after this makes a new event
	}
	return n, some
}

// send writes p after what waits. What the kernel does not take waits too, so a
// caller that does not look at pending needs memory. It reports false when the
// connection takes nothing any more.
func (c *conn) send(p []byte) bool {
	return c.sendRaw(c.seal(p))
}

// sendRaw is send for bytes as they go over the wire.
func (c *conn) sendRaw(p []byte) bool {
	c.push()
	if c.failed {
		return false
	}
	if c.waiting == nil {
		n, ok := c.write(p)
		if !ok {
			return false
		}
		p = p[n:]
	}
	if len(p) > 0 {
		c.wait(p)
	}
	return true
}

// wait keeps p for later.
func (c *conn) wait(p []byte) {
	if c.waiting == nil {
		c.waiting = c.loop.pieces.get(len(p))
		c.moved = c.loop.now
	}
	c.waiting = append(c.waiting, p...)
}

// write gives the kernel what it takes of p. Nothing may wait.
func (c *conn) write(p []byte) (int, bool) {
	total := 0
	if !c.writable {
		return 0, true
	}
	for len(p) > 0 {
		n, errno := writeSocket(c.fd, p)
		switch {
		case errno == unix.EAGAIN:
			c.writable = false
			return total, true
		case errno == unix.EINTR:
			continue
		case errno != 0:
			c.failed, c.failure = true, errno
			return total, false
		}
		total += n
		p = p[n:]
		if len(p) > 0 {
			c.writable = false // its buffer is full, and it tells when there is room
			return total, true
		}
	}
	return total, true
}

// flush writes what waits.
func (c *conn) flush() {
	if c.failed {
		return
	}
	n, ok := c.write(c.waiting[c.taken:])
	if n > 0 {
		c.taken += n
		c.moved = c.loop.now
	}
	if !ok || c.taken == len(c.waiting) {
		c.discard()
	}
}

// pending is how many bytes wait for the kernel to take them. What gathers does not.
func (c *conn) pending() int {
	if c.untried {
		return 0
	}
	return c.unsent()
}

// unsent is how many bytes the kernel has not taken, what gathers among them.
func (c *conn) unsent() int { return len(c.waiting) - c.taken }
