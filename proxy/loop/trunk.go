//go:build linux

package loop

import (
	"slices"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h2"
	"github.com/lintel-dev/lintel/router"
)

// trunk is a connection to an endpoint that speaks HTTP/2: many calls, each of another
// flight. As with a mux, what is written gathers in the codec and goes out once a turn.
// What an endpoint sends is read whatever waits to be written: it may want to get rid of
// that first.
type trunk struct {
	conn
	agenda
	endpoint *router.Endpoint
	list     *trunkList
	codec    h2.Conn
	head     h2.Request // that is being written

	calls   map[uint32]*call
	unread  []byte  // what the codec could not use yet
	waiters []*call // those that wait for the connection, or for the endpoint's settings
	free    []*call

	born    time.Time
	retired bool // it is too old for more calls, and not counted any more
	settled bool // the endpoint's settings have come
	served  bool // it has answered a request, if only with a reset
	dirty   bool // it is in loop.dirty

	connecting bool

	timer   timer
	heard   int64 // when the endpoint sent something
	asked   int64 // when it was asked whether it is there; never if it has answered
	idle    int64 // when the last call ended
	relaxed int64
}

// newTrunk is a connection that is being opened.
func newTrunk(l *loop, list *trunkList, endpoint *router.Endpoint) *trunk {
	t := &trunk{endpoint: endpoint, list: list, calls: map[uint32]*call{}, born: l.clock}
	t.heard, t.idle, t.relaxed, t.asked = l.now, l.now, l.now, never
	t.timer.at, t.timer.fire = never, t.expire
	t.codec.Init(h2.Client, exchange.UpstreamHTTP2(l.settings))
	return t
}

// hasRoom reports whether the connection takes one more call. From the time when it is too
// old for that it does not count for the limit of connections, so that another can take
// its place.
func (t *trunk) hasRoom() bool {
	if !t.retired && t.loop.clock.Sub(t.born) >= t.loop.settings.UpstreamMaxAge {
		t.retired = true
		t.endpoint.ReleaseConnection()
		t.soil()
	}
	return !t.retired && t.fd >= 0 && !t.ended && t.codec.CanOpen()
}

// take returns a call for f, which has an endpoint now.
func (t *trunk) take(f *flight) *call {
	var c *call
	if last := len(t.free) - 1; last >= 0 {
		c = t.free[last]
		t.free = t.free[:last]
	} else {
		c = &call{t: t}
		c.codec = &t.codec
	}
	c.flight = f
	return c
}

// adopt makes a call known whose stream is open.
func (t *trunk) adopt(c *call) {
	if len(t.calls) == 0 {
		t.heard = t.loop.now // of silence before nobody knows
	}
	t.calls[c.id] = c
	if t.due() < t.timer.at {
		t.arm()
	}
	t.soil()
}

// left forgets a call that has ended.
func (t *trunk) left(c *call) {
	t.leave(c)
	if c.waits {
		t.waiters = slices.DeleteFunc(t.waiters, func(other *call) bool { return other == c })
	}
	c.restart(0)
	c.shrink()
	if cap(c.arrived) > headSize {
		c.arrived = nil
	}
	clear(c.fields)
	clear(c.trailer)
	*c = call{outflow: c.outflow, t: t, heads: c.heads[:0], fields: c.fields[:0], arrived: c.arrived[:0], trailer: c.trailer[:0]}
	if len(t.free) < int(h2.DefaultSettings().MaxConcurrentStreams) {
		t.free = append(t.free, c)
	}
	if len(t.calls) == 0 {
		t.idle = t.loop.now
		if t.connecting && len(t.waiters) == 0 {
			t.close()
			return
		}
	}
	t.soil()
}

func (t *trunk) ready() {
	if t.connecting {
		t.conclude()
		return
	}
	t.soil() // there may be room for what waits
	for range piecesPerTurn {
		data, outcome := t.readBehind(t.unread)
		switch outcome {
		case dry:
			return
		case end, breach:
			t.fail()
			return
		}
		if !t.takeIn(data) {
			return
		}
	}
	t.loop.resume(&t.conn)
}

// takeIn acts on what was read, and reports whether to read more.
func (t *trunk) takeIn(data []byte) (goesOn bool) {
	now := t.loop.now
	t.heard, t.asked = now, never
	for {
		n, e, err := t.codec.Next(data)
		data = data[n:]
		if err != nil {
			t.fail()
			return false
		}
		if e.Kind == h2.None {
			break
		}
		t.on(&e)
	}
	t.unread = append(t.unread[:0], data...)
	if now-t.relaxed >= int64(relaxInterval) {
		t.relaxed = now
		t.codec.Relax()
	}
	t.soil()
	t.goOn()
	return t.fd >= 0
}

// on notes an event.
func (t *trunk) on(e *h2.Event) {
	c := t.calls[e.Stream]
	if c != nil && c.fate != alive {
		c = nil
	}
	switch e.Kind {
	case h2.ResponseHead:
		t.served = true
		if c != nil {
			c.gotHead(e)
			t.activate(c)
		}
	case h2.Data, h2.Trailers:
		if c == nil {
			t.codec.Consumed(e.Stream, len(e.Data))
			return
		}
		c.gotPayload(e)
		t.activate(c)
	case h2.StreamReset:
		t.served = true
		if c != nil {
			c.over(fateOf(e))
			t.activate(c)
		}
	case h2.SettingsChanged:
		t.settled = true
		t.unblock()
	case h2.Writable:
		t.unblock()
	}
}

// fateOf is what a StreamReset means. With those that were refused, and those that a GOAWAY
// has left out, the endpoint has done nothing (RFC 9113 §8.7).
func fateOf(e *h2.Event) fate {
	switch {
	case e.Code == h2.RefusedStream:
		return refused
	case e.Reason != "":
		return invalid
	}
	return reset
}

// goOn lets the active calls go on, and those that may begin.
func (t *trunk) goOn() {
	t.agenda.goOn()
	if t.settled && len(t.waiters) > 0 {
		t.admit()
	}
}

// consumed says that payload of a call was passed on, or thrown away.
func (t *trunk) consumed(id uint32, n int) {
	if n > 0 {
		t.codec.Consumed(id, n)
		t.soil()
	}
}

// soil makes the output go out at the end of the turn.
func (t *trunk) soil() {
	if !t.dirty && t.fd >= 0 && !t.connecting {
		t.dirty = true
		t.loop.dirty.add(t)
	}
}

// flush gives the output to the connection, unless something waits there already.
func (t *trunk) flush() {
	t.dirty = false
	if t.fd < 0 || t.pending() > 0 {
		return
	}
	if out := t.codec.Output(); len(out) > 0 {
		if !t.send(out) {
			t.fail()
			return
		}
		t.codec.Sent(len(out))
		if len(t.blocked) > 0 {
			t.unblock()
			t.goOn()
		}
	}
	if len(t.calls) == 0 && (t.retired || t.codec.Done()) {
		t.fail()
	}
}

// fail closes the connection, and with it all calls that are left.
func (t *trunk) fail() {
	if t.fd < 0 {
		return
	}
	t.codec.GoAway(h2.NoError)
	if out := t.codec.Output(); t.pending() == 0 && len(out) > 0 {
		t.send(out)
	}
	t.settled = true // nothing is to be waited for
	t.close()
	for _, c := range t.calls {
		c.over(reset)
		t.activate(c)
	}
	t.goOn()
}

// close closes the connection, which has no calls any more, or those that know it.
func (t *trunk) close() {
	if t.fd < 0 {
		return
	}
	l := t.loop
	l.wheel.stop(&t.timer)
	t.list.closed(t)
	t.conn.close()
	l.gauges.upstream--
	if !t.retired {
		t.endpoint.ReleaseConnection()
	}
}

// expire is called when something is due: a connection without calls ends after a while, and
// an endpoint that is silent although there are some is asked whether it is there.
func (t *trunk) expire() {
	now := t.loop.now
	switch {
	case now < t.due():
		if len(t.calls) == 0 {
			t.free = nil // of a busy time
		}
	case len(t.calls) == 0:
		t.codec.GoAway(h2.NoError)
		t.fail()
		return
	case t.asked != never:
		t.fail()
		return
	default:
		t.asked = now
		t.codec.Ping(0)
		t.soil()
	}
	t.arm()
}

// due is when expire has something to do.
func (t *trunk) due() int64 {
	switch {
	case len(t.calls) == 0:
		return since(t.idle, t.loop.settings.UpstreamIdleTimeout)
	case t.asked != never:
		return since(t.asked, exchange.UpstreamPing)
	}
	return since(t.heard, exchange.UpstreamPing)
}

func (t *trunk) arm() { t.loop.wheel.set(&t.timer, t.due()) }
