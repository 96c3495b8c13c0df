//go:build linux

package loop

import (
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// Relay is a connection that is relayed: two sockets, and bytes both ways until both of them
// have ended (RFC 9110 §7.8). While something waits to be written to one side, the other
// is not read; while nothing does, the relay holds no buffer.
type Relay struct {
	pair     Pair
	loop     *loop
	client   side
	upstream side
	timer    timer
	half     bool  // one side has ended, and the other knows
	progress int64 // when something was read last, or a side ended, in the loop's time
	over     bool
	cause    exchange.Cause // of over
	done     chan struct{}  // closed with over
}

// side is one of the two.
type side struct {
	conn
	relay    *Relay
	finished bool  // no read brings more, and the other side was told
	deaf     bool  // it takes nothing any more, but what it has sent still comes
	passed   int64 // bytes for it, those that wait too
	left     int   // of these so many may not be taken yet: they are lost when a write fails

	pipe  pipe // for what goes to it while that is much; see splice in this file
	piped int  // bytes in it
}

// waits is how many bytes wait for the kernel to take them.
func (s *side) waits() int { return s.pending() + s.piped }

// Relay relays between two sockets until they end, [Relay.Cut] is called or Run has
// ended.
func (g *Group) Relay(p Pair) *Relay {
	l := g.nextLoop()
	r := &Relay{pair: p, loop: l, done: make(chan struct{})}
	r.client.relay, r.upstream.relay = r, r
	r.timer.at, r.timer.fire = never, r.expire
	if !l.box.put(r.start) {
		closeDescriptor(p.Client)
		closeDescriptor(p.Upstream)
		r.cause = exchange.CauseDrained
		close(r.done)
	}
	return r
}

// Wait waits until both sockets are closed, and returns how many bytes went to each. It
// may be called by one goroutine at a time.
func (r *Relay) Wait() (toUpstream, toClient int64) {
	<-r.done
	return r.upstream.gone(), r.client.gone()
}

// Cause says why the relay has ended, [exchange.CauseNone] if both sides have in order. It
// is called after Wait.
func (r *Relay) Cause() exchange.Cause { return r.cause }

// Cut closes both sockets. It does not wait; any goroutine may call it.
func (r *Relay) Cut() { r.loop.box.put(r.cut) }

func (r *Relay) cut() { r.end(exchange.CauseDrained) }

// gone is how many bytes the kernel has taken, as far as it is known: over TLS what waits is
// longer than it was.
func (s *side) gone() int64 { return max(0, s.passed-int64(s.left)) }

// start begins with what either side had sent before.
func (r *Relay) start() {
	r.client.fd, r.upstream.fd = -1, -1
	opened := r.client.open(r.loop, &r.client, r.pair.Client)
	if !r.upstream.open(r.loop, &r.upstream, r.pair.Upstream) || !opened {
		r.end(exchange.CauseOverload)
		return
	}
	r.progress = r.loop.now
	r.client.writable, r.upstream.writable = true, true
	pending, early := r.pair.Pending, r.pair.Early
	r.pair.Pending, r.pair.Early = nil, nil
	if r.pair.Session != nil {
		r.client.secure = &secure{session: r.pair.Session}
		if sealed := r.pair.Sealed; len(sealed) > 0 {
			r.client.secure.sealed = append(r.loop.pieces.get(len(sealed)), sealed...)
			r.loop.resume(&r.client.conn)
		}
		r.pair.Sealed = nil
	}
	if r.upstream.pass(pending) && r.client.pass(early) {
		r.arm()
	}
}

// pass sends p to the side, or lets it wait. It reports false when the relay is over
// because the side takes nothing any more.
func (s *side) pass(p []byte) (goesOn bool) {
	if s.deaf {
		return true
	}
	if s.push(); !s.failed { // else that is lost, and p is not passed on
		s.passed += int64(len(p))
		s.left = s.unsent() + len(p)
		s.gather(p)
	}
	return !s.failed || s.relay.fails(s, s.failure)
}

// ready implements user: a side can be read, or the other one because this has got rid of
// what waited.
func (s *side) ready() {
	r := s.relay
	if s.failed && !s.deaf && !r.fails(s, s.failure) {
		return
	}
	if r.move(s, r.other(s)) && r.move(r.other(s), s) {
		r.arm()
	}
}

// fails is called when s can be written no more, and reports whether the relay goes on. An
// upstream may have closed all of its connection after its last words, which are still to
// be read: EPIPE says that its end had come before the reset. Nobody gets then what the
// client goes on to send.
func (r *Relay) fails(s *side, errno unix.Errno) (goesOn bool) {
	if s == &r.client || s.finished || errno != unix.EPIPE {
		r.end(r.faultOf(s))
		return false
	}
	s.deaf, s.failed = true, true
	s.passed, s.left = s.passed-int64(s.left), 0
	s.discard()
	s.dropPipe()
	return true
}

// faultOf is the cause when s was reset. An upstream that has finished may do that: the
// client has got all there was.
func (r *Relay) faultOf(s *side) exchange.Cause {
	switch {
	case s == &r.client:
		return exchange.CauseClientGone
	case s.finished:
		return exchange.CauseNone
	}
	return exchange.CauseUpstreamReset
}

func (r *Relay) other(s *side) *side {
	if s == &r.client {
		return &r.upstream
	}
	return &r.client
}

// move passes on what one side has sent, as far as the other takes it. It reports false
// when the relay is over.
func (r *Relay) move(from, to *side) (goesOn bool) {
	for range piecesPerTurn {
		if to.pipe != (pipe{}) {
			if dry, goesOn := r.splice(from, to); dry || !goesOn {
				return goesOn
			}
			continue
		}
		if from.finished || to.pending() > 0 || !from.mayRead() {
			return true
		}
		n, outcome := from.read(r.loop.shared)
		if outcome != some {
			return r.stopped(from, to, outcome)
		}
		r.progress = r.loop.now
		if !to.pass(r.loop.shared[:n]) {
			return false
		}
		if to.deaf {
			continue
		}
		if n == len(r.loop.shared) && to.pending() == 0 && from.secure == nil && to.secure == nil {
			to.pipe = r.loop.takePipe() // there is much to be moved; without a pipe as before
		}
	}
	r.loop.resume(&from.conn)
	return true
}

// stopped is what follows a read of from that brought nothing. It reports false when the
// relay is over.
func (r *Relay) stopped(from, to *side, outcome outcome) (goesOn bool) {
	switch outcome {
	case end:
		if from.secure != nil && !from.secure.over {
			r.end(r.faultOf(from)) // TLS without a goodbye: it may not be all
			return false
		}
		if to.push(); to.failed && !to.deaf && !r.fails(to, to.failure) {
			return false
		}
		if to.pending() > 0 {
			return true // the end is read again after that
		}
		return r.finish(from, to)
	case breach:
		r.end(r.faultOf(from))
		return false
	default:
		return true
	}
}

// splice moves one piece inside the kernel, which costs less than half: while a side sends
// faster than it is read, what it sends does not pass through our memory. Once it has sent
// no more for now the pipe goes back. It reports dry when there is nothing to do now.
func (r *Relay) splice(from, to *side) (dry, goesOn bool) {
	if to.piped == 0 {
		if !from.readable {
			to.dropPipe()
			return true, true
		}
		n, errno := move(from.fd, to.pipe.w, pipeSize)
		switch {
		case errno == unix.EINTR:
			return false, true
		case errno == unix.EAGAIN:
			from.readable = false
			to.dropPipe()
			return true, true
		case errno != 0:
			r.end(r.faultOf(from))
			return true, false
		case n == 0:
			to.dropPipe()
			return true, r.finish(from, to)
		}
		r.progress, to.moved = r.loop.now, r.loop.now
		to.piped, to.passed = n, to.passed+int64(n)
	}
	for to.piped > 0 {
		if !to.writable {
			return true, true
		}
		n, errno := move(to.pipe.r, to.fd, to.piped)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			to.writable = false
		case errno != 0:
			to.left = to.piped
			return false, r.fails(to, errno)
		default:
			to.piped -= n
			to.moved = r.loop.now
		}
	}
	return false, true
}

// dropPipe gives the pipe back, or closes it when something is left in it.
func (s *side) dropPipe() {
	if s.pipe == (pipe{}) {
		return
	}
	s.loop.putPipe(s.pipe, s.piped)
	s.pipe, s.piped = pipe{}, 0
}

// finish tells one side that the other has ended. It reports false when both have, or it
// cannot be told.
func (r *Relay) finish(from, to *side) (goesOn bool) {
	if r.half {
		r.end(exchange.CauseNone)
		return false
	}
	from.finished, r.half = true, true
	switch {
	case to.deaf:
	case to.secure != nil:
		to.sayGoodbye()
	case !shutdownWrite(to.fd):
		r.end(r.faultOf(to))
		return false
	}
	r.progress = r.loop.now
	return true
}

// due returns when the relay ends if nothing happens, and why: a side does not take what
// waits for it, or is silent for too long.
func (r *Relay) due() (at int64, cause exchange.Cause) {
	at = never
	if r.client.waits() > 0 {
		at, cause = since(r.client.moved, r.pair.WriteLimit), exchange.CauseClientStalled
	}
	if r.upstream.waits() > 0 {
		if stalled := since(r.upstream.moved, r.pair.WriteLimit); stalled < at {
			at, cause = stalled, exchange.CauseTimeout
		}
	}
	if at != never {
		return at, cause
	}
	last := max(r.progress, r.client.moved, r.upstream.moved)
	if r.half {
		at, cause = since(last, r.pair.HalfClosedLimit), exchange.CauseIdle
	}
	if r.pair.IdleLimit > 0 {
		at, cause = min(at, since(last, r.pair.IdleLimit)), exchange.CauseIdle
	}
	return at, cause
}

func (r *Relay) arm() {
	r.client.left, r.upstream.left = r.client.unsent()+r.client.piped, r.upstream.unsent()+r.upstream.piped
	at, _ := r.due()
	r.loop.wheel.set(&r.timer, at)
}

func (r *Relay) expire() {
	if at, cause := r.due(); at <= r.loop.now {
		r.end(cause)
		return
	}
	r.arm()
}

// end closes both sockets, once. Who talks to a side that was reset is reset too.
func (r *Relay) end(cause exchange.Cause) {
	if r.over {
		return
	}
	r.over, r.cause = true, cause
	r.loop.wheel.stop(&r.timer)
	r.client.push()
	r.upstream.push()
	for _, s := range [...]*side{&r.client, &r.upstream} {
		if !s.failed { // else what waited is lost
			s.left = s.waits()
		}
		if s.loop != nil {
			s.dropPipe()
		}
		if s.fd >= 0 && (cause == exchange.CauseClientGone && s == &r.upstream || cause == exchange.CauseUpstreamReset && s == &r.client) {
			s.reset()
		}
		s.close()
	}
	close(r.done)
}

// cutRelays ends all relays of the loop.
func (l *loop) cutRelays() {
	for s := range usersOf[*side](l) {
		s.relay.cut()
	}
}
