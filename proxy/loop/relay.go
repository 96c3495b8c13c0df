//go:build linux

package loop

// Relay is an upgraded connection: two sockets, and bytes both ways until both of them
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
	done     chan struct{} // closed with over
}

// side is one of the two.
type side struct {
	conn
	relay    *Relay
	finished bool  // no read brings more, and the other side was told
	passed   int64 // bytes for it, those that wait too
	left     int   // how many waited when it was last looked at
}

// Relay relays between two sockets until they end, [Relay.Cut] is called or Run has
// ended.
func (g *Group) Relay(p Pair) *Relay {
	l := g.loops[g.next.Add(1)%uint32(len(g.loops))]
	r := &Relay{pair: p, loop: l, done: make(chan struct{})}
	r.client.relay, r.upstream.relay = r, r
	r.timer.at, r.timer.fire = never, r.expire
	if !l.box.put(r.start) {
		closeDescriptor(p.Client)
		closeDescriptor(p.Upstream)
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

// Cut closes both sockets. It does not wait; any goroutine may call it.
func (r *Relay) Cut() { r.loop.box.put(r.end) }

// gone is how many bytes the kernel has taken, as far as it is known.
func (s *side) gone() int64 { return s.passed - int64(s.left) }

// start begins with what either side had sent before.
func (r *Relay) start() {
	r.client.fd, r.upstream.fd = -1, -1
	opened := r.client.open(r.loop, &r.client, r.pair.Client)
	if !r.upstream.open(r.loop, &r.upstream, r.pair.Upstream) || !opened {
		r.end()
		return
	}
	r.client.writable, r.upstream.writable = true, true
	pending, early := r.pair.Pending, r.pair.Early
	r.pair.Pending, r.pair.Early = nil, nil
	if !r.upstream.pass(pending) || !r.client.pass(early) {
		r.end()
		return
	}
	r.arm()
}

// pass sends p to the side, or lets it wait. It reports false when the side takes nothing
// any more.
func (s *side) pass(p []byte) bool {
	if !s.send(p) {
		return false
	}
	s.passed += int64(len(p))
	return true
}

// ready implements user: a side can be read, or the other one because this has got rid of
// what waited.
func (s *side) ready() {
	r := s.relay
	if s.failed || !r.move(s, r.other(s)) || !r.move(r.other(s), s) {
		r.end()
		return
	}
	r.arm()
}

func (r *Relay) other(s *side) *side {
	if s == &r.client {
		return &r.upstream
	}
	return &r.client
}

// move passes on what one side has sent, as far as the other takes it. It reports false
// when the relay is over.
func (r *Relay) move(from, to *side) bool {
	for range piecesPerTurn {
		if from.finished || to.pending() > 0 || !from.mayRead() {
			return true
		}
		n, outcome := from.read(r.loop.shared)
		switch outcome {
		case dry:
			return true
		case some:
			r.progress = r.loop.now
			if !to.pass(r.loop.shared[:n]) {
				return false
			}
		case end:
			return r.finish(from, to)
		case breach:
			return false
		}
	}
	r.loop.resume(&from.conn)
	return true
}

// finish tells one side that the other has ended. It reports false when both have, or it
// cannot be told.
func (r *Relay) finish(from, to *side) bool {
	if r.half || !shutdownWrite(to.fd) {
		return false
	}
	from.finished, r.half = true, true
	r.progress = r.loop.now
	return true
}

// due returns when the relay ends if nothing happens: a side does not take what waits for
// it, or is silent after the other has ended. Else silence may last.
func (r *Relay) due() int64 {
	at := int64(never)
	for _, s := range [...]*side{&r.client, &r.upstream} {
		if s.pending() > 0 {
			at = min(at, since(s.moved, r.pair.WriteLimit))
		}
	}
	if at == never && r.half {
		at = since(max(r.progress, r.client.moved, r.upstream.moved), r.pair.HalfClosedLimit)
	}
	return at
}

func (r *Relay) arm() {
	r.client.left, r.upstream.left = r.client.pending(), r.upstream.pending()
	r.loop.wheel.set(&r.timer, r.due())
}

func (r *Relay) expire() {
	if r.due() <= r.loop.now {
		r.end()
		return
	}
	r.arm()
}

// end closes both sockets, once.
func (r *Relay) end() {
	if r.over {
		return
	}
	r.over = true
	r.loop.wheel.stop(&r.timer)
	for _, s := range [...]*side{&r.client, &r.upstream} {
		if !s.failed { // else what waited is lost
			s.left = s.pending()
		}
		s.close()
	}
	close(r.done)
}

// cutRelays ends all relays of the loop.
func (l *loop) cutRelays() {
	for _, c := range l.conns {
		if c == nil {
			continue
		}
		if s, ok := c.user.(*side); ok {
			s.relay.end()
		}
	}
}
