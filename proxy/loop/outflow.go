//go:build linux

package loop

import (
	"slices"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
)

// outflow is payload that goes out on a stream of HTTP/2, and what of it the peer leaves
// no room for.
type outflow struct {
	codec *h2.Conn
	id    uint32

	waiting []byte // what the peer leaves no room for, and then
	last    ending // what comes behind it
	trails  []h1.Field
	since   int64 // when that last got less, in the loop's time
}

// ending is how a message goes on behind what was given.
type ending uint8

const (
	open ending = iota
	closing
	trailing // with trailers
)

// restart makes o one for another stream, whose buffer it keeps.
func (o *outflow) restart(id uint32) {
	*o = outflow{codec: o.codec, id: id, waiting: o.waiting[:0]}
}

// shrink gives a large buffer up.
func (o *outflow) shrink() {
	o.trails = nil
	if cap(o.waiting) > headSize {
		o.waiting = nil
	}
}

func (o *outflow) pending() int { return len(o.waiting) }
func (o *outflow) stuck() int64 { return o.since }

// push gives payload, and maybe the end, to the codec; what that does not take waits. It
// reports false when the peer takes nothing any more.
func (o *outflow) push(p []byte, last ending, now int64) bool {
	o.last = last
	if len(o.waiting) > 0 {
		o.waiting = append(o.waiting, p...)
		o.trails = slices.Clone(o.trails)
		return true
	}
	n, ok := o.offer(p)
	if ok && n < len(p) {
		o.waiting = append(o.waiting, p[n:]...)
		o.trails = slices.Clone(o.trails) // they have to stay
		o.since = now
	}
	return ok
}

// pushOn gives what waits, and returns how much of it was taken. It reports false when the
// peer takes nothing any more.
func (o *outflow) pushOn(now int64) (n int, ok bool) {
	n, ok = o.offer(o.waiting)
	switch {
	case !ok:
		o.waiting = o.waiting[:0]
	case n > 0:
		o.since = now
		o.waiting = o.waiting[:copy(o.waiting, o.waiting[n:])]
	}
	return n, ok
}

// offer writes as much as there is room for, and the end behind all of it.
func (o *outflow) offer(p []byte) (int, bool) {
	fin := h2.More
	if o.last == closing {
		fin = h2.Last
	}
	n, err := o.codec.WriteData(o.id, p, fin)
	if err == nil && n == len(p) && o.last == trailing {
		err = o.codec.WriteTrailers(o.id, o.trails)
	}
	return n, err == nil
}
