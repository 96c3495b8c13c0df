//go:build linux

package loop

import (
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// maxSettle bounds the bytes of an unwanted request body that are read so that the
// connection can be used again: a few round trips. Above it, closing is cheaper.
const maxSettle = 256 << 10

// h1Body is how far the body of an HTTP/1.1 request was read. Its connection uses it.
type h1Body struct {
	decoder h1.Body
	begun   bool // what is buffered was decoded
	used    int  // bytes of the connection's unread input that belong to the body
	settled int  // bytes read of an unwanted body

	waiting int64 // since when the client is waited for; never while it is not
	pace    exchange.Pace
}

// reset readies b for the next request.
func (b *h1Body) reset(limits *h1.Limits) {
	b.begun, b.used, b.settled = false, 0, 0
	b.waiting, b.pace = never, exchange.Pace{}
	b.decoder.Reset(h1.NoBody, 0, limits)
}

func (d *downstream) rewind() {
	f := d.flight
	b := &f.plain
	b.decoder.Reset(f.request.Framing, f.request.Length, f.Settings.Limits)
	b.begun, b.used = false, 0
}

func (d *downstream) complete() bool { return d.flight.plain.decoder.Done() }

func (d *downstream) appendArrived(dst []byte) ([]byte, exchange.Cause) {
	b := &d.flight.plain
	dst, n, cause := d.encode(dst, d.in.unread())
	b.used, b.begun = n, true
	return dst, cause
}

func (d *downstream) appendMore(dst []byte) ([]byte, outcome, exchange.Cause) {
	n, outcome := d.read(d.loop.shared[headroom:])
	b := &d.flight.plain
	switch {
	case outcome == dry:
		b.waiting = min(b.waiting, d.loop.now)
		return dst, dry, exchange.CauseNone
	case outcome != some:
		return dst, outcome, exchange.CauseNone
	case b.waiting != never:
		wait := time.Duration(d.loop.now - b.waiting)
		b.waiting = never
		if b.pace.Waited(wait, n, d.loop.settings.MinBodyRate) {
			return dst, some, exchange.CauseClientStalled
		}
	}
	d.flight.body.touched = true
	piece := d.loop.shared[headroom : headroom+n]
	dst, used, cause := d.encode(dst, piece)
	if cause == exchange.CauseNone {
		d.in.push(piece[used:])
	}
	return dst, some, cause
}

// encode appends the payload in p with upstream framing, and returns how many bytes of
// p belong to the body.
func (d *downstream) encode(dst, p []byte) ([]byte, int, exchange.Cause) {
	f := d.flight
	decoder := &f.plain.decoder
	if decoder.Done() {
		return dst, 0, exchange.CauseNone
	}
	chunked := f.inChunks()
	used := 0
	for !decoder.Done() {
		n, data, err := decoder.Next(p[used:])
		if err != nil {
			return dst, used, exchange.CauseBadRequest
		}
		used += n
		data, ok := f.decoded(data)
		if !ok || decoder.Done() && f.coded.Partial() {
			return dst, used, exchange.CauseBadRequest
		}
		f.body.received += int64(len(data))
		if chunked {
			dst = h1.AppendChunk(dst, data)
		} else {
			dst = append(dst, data...)
		}
		if f.TooLarge(f.body.received) {
			return dst, used, exchange.CauseBodyTooLarge
		}
		if n == 0 || used == len(p) && !decoder.Done() {
			break
		}
	}
	if decoder.Done() && chunked {
		dst = h1.AppendLastChunk(dst, d.trailers())
	}
	return dst, used, exchange.CauseNone
}

func (d *downstream) trailers() []h1.Field {
	b := &d.flight.plain.decoder
	d.flight.DropRequestTrailers(b)
	return b.Trailers()
}

func (d *downstream) settles() bool {
	f := d.flight
	return d.complete() || !f.body.halted && (f.request.Framing == h1.Chunked || f.request.Length <= maxSettle)
}

// settle takes the body out of the input after the response, and reads on to its end
// if that is not far.
func (d *downstream) settle() {
	f := d.flight
	b := &f.plain
	if !b.begun {
		used, sound := b.skip(d.in.unread())
		if !sound {
			d.linger()
			return
		}
		b.begun, b.used = true, used
	}
	d.in.r += b.used
	if b.decoder.Done() {
		d.next()
		return
	}
	d.state = settling
	d.loop.wheel.set(&d.timer, since(d.loop.now, exchange.LingerTimeout))
	d.settleOn()
}

// skip throws away what p has of the body, and returns how many bytes that are, and
// whether they are sound.
func (b *h1Body) skip(p []byte) (used int, sound bool) {
	for !b.decoder.Done() {
		n, _, err := b.decoder.Next(p[used:])
		if err != nil {
			return used, false
		}
		if n == 0 {
			break
		}
		used += n
	}
	return used, true
}

// settleOn reads what comes of an unwanted body.
func (d *downstream) settleOn() {
	l, b := d.loop, &d.flight.plain
	for b.settled < maxSettle {
		n, outcome := d.read(l.shared)
		if outcome == dry {
			return
		}
		if outcome != some {
			break
		}
		b.settled += n
		used, sound := b.skip(l.shared[:n])
		if !sound {
			break
		}
		if b.decoder.Done() {
			d.in.push(l.shared[used:n])
			d.next()
			return
		}
	}
	d.linger()
}
