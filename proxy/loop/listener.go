//go:build linux

package loop

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// acceptsPerTurn bounds the connections that a listening socket brings in one turn: a
// flood of them must not keep the others waiting.
const acceptsPerTurn = 64

// Pauses after a failing accept, such as one without file descriptors left, and while the poller
// has no room.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// Listener is a listening socket of a loop.
type Listener struct {
	conn
	accepted func(fd int, peer, local netip.AddrPort)
	failed   func(err error, pause time.Duration)
	local    netip.AddrPort
	watched  bool // by the poller
	timer    timer
	pause    time.Duration // after the failure that comes next
	done     chan struct{} // closed when the loop has let go of the descriptor
}

// Listen lets a loop accept connections until [Listener.Close].
func (g *Group) Listen(in Listening) *Listener {
	t := &Listener{accepted: in.Accepted, failed: in.Failed, local: in.Local, pause: minAcceptPause, done: make(chan struct{})}
	if !in.Local.IsValid() || in.Local.Addr().IsUnspecified() {
		t.local = netip.AddrPort{}
	}
	t.loop = g.nextLoop()
	t.timer.at, t.timer.fire = never, t.ready
	if !t.loop.box.put(func() { t.start(in.FD) }) {
		close(t.done)
	}
	return t
}

// Close accepts what has connected already, and then no more. It waits for that.
func (t *Listener) Close() {
	if t.loop.box.put(t.end) { // or else the loop has ended, and with it this
		<-t.done
	}
}

// start makes the loop accept.
func (t *Listener) start(fd int) {
	l := t.loop
	l.epoch++
	t.user, t.fd, t.epoch = t, fd, l.epoch
	l.watch(&t.conn)
	t.ready()
}

// ready implements user.
func (t *Listener) ready() {
	if t.fd < 0 || t.timer.at != never {
		return // it pauses
	}
	if !t.watched {
		if err := t.loop.poller.add(t.fd, t.epoch); err != nil {
			t.rest(err)
			return
		}
		t.watched, t.readable = true, true
	}
	for range acceptsPerTurn {
		if !t.readable || !t.accept() {
			return
		}
	}
	t.loop.resume(&t.conn)
}

// accept takes a connection, and reports whether there may be another one.
func (t *Listener) accept() bool {
	fd, peer, errno := acceptSocket(t.fd)
	switch errno {
	case 0:
		t.pause = minAcceptPause
		local := t.local
		if !local.IsValid() {
			local = localAddress(fd)
		}
		t.accepted(fd, peer, local)
		return true
	case unix.EAGAIN:
		t.readable = false
		return false
	case unix.EINTR, unix.ECONNABORTED:
		return true
	}
	t.rest(errno)
	return false
}

// rest tells why there is a pause, after which the loop tries again.
func (t *Listener) rest(why error) {
	t.failed(why, t.pause)
	t.loop.wheel.set(&t.timer, t.loop.now+int64(t.pause))
	t.pause = min(2*t.pause, maxAcceptPause)
}

// end accepts what is left.
func (t *Listener) end() {
	if t.fd < 0 {
		return
	}
	t.loop.wheel.stop(&t.timer)
	for t.accept() {
	}
	t.shut()
}

// shut lets go of the descriptor.
func (t *Listener) shut() {
	t.loop.wheel.stop(&t.timer)
	t.loop.poller.remove(t.fd)
	t.loop.forget(&t.conn)
	t.fd = -1
	close(t.done)
}

// closeListeners ends those that nobody has closed.
func (l *loop) closeListeners() {
	for t := range usersOf[*Listener](l) {
		t.shut()
	}
}
