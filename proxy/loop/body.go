//go:build linux

package loop

import (
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// maxSettle bounds the bytes of an unwanted request body that are read so that the
// connection can be used again: a few round trips. Above it, closing is cheaper.
const maxSettle = 256 << 10

// piecesPerTurn bounds what one connection may move in a turn, in reads: the others
// come next.
const piecesPerTurn = 8

// requestBody is the body of the request in flight. What of it was read together with
// the head goes upstream together with the head; the rest as it comes.
type requestBody struct {
	f       *flight
	decoder h1.Body
	begun   bool // what is buffered was decoded
	used    int  // bytes of the connection's unread input that belong to the body

	received int64 // payload bytes, framing not counted
	running  bool  // the rest is read from the client and goes upstream
	touched  bool  // some of that was read: the body cannot be sent again
	halted   bool  // that ended before the body did
	progress int64 // when the client was last heard of
	settled  int   // bytes read of an unwanted body
}

// reset readies b for the next request.
func (b *requestBody) reset() {
	b.begun, b.used, b.received, b.settled = false, 0, 0, 0
	b.running, b.touched, b.halted = false, false, false
	b.decoder.Reset(h1.NoBody, 0, b.f.Settings.Limits)
}

// start goes to the beginning of the body; it is called again for each attempt.
func (b *requestBody) start() {
	r := b.f.Request
	b.decoder.Reset(r.Framing, r.Length, b.f.Settings.Limits)
	b.begun, b.used, b.received = false, 0, 0
}

// run makes pump read the rest, if there is one.
func (b *requestBody) run() {
	b.running = !b.decoder.Done()
	b.progress = b.f.loop.now
}

// halt makes an end of that.
func (b *requestBody) halt() {
	b.halted = b.halted || b.running
	b.running = false
}

// refuse makes an end of that because the upstream does not take more. Its response
// may still come, and decides.
func (b *requestBody) refuse() {
	if b.running {
		b.running = false
		b.f.progress = b.f.loop.now
	}
}

// complete reports whether all of the body was read.
func (b *requestBody) complete() bool { return b.decoder.Done() }

// replayable reports whether all that was read of the body is still there.
func (b *requestBody) replayable() bool { return !b.touched }

// appendBuffered appends what came with the head, as it goes upstream.
func (b *requestBody) appendBuffered(dst []byte) ([]byte, exchange.Cause) {
	dst, n, cause := b.encode(dst, b.f.down.in.unread())
	b.used, b.begun = n, true
	return dst, cause
}

// encode appends the payload in p with upstream framing, and returns how many bytes of
// p belong to the body.
func (b *requestBody) encode(dst, p []byte) ([]byte, int, exchange.Cause) {
	if b.decoder.Done() {
		return dst, 0, exchange.CauseNone
	}
	chunked := b.f.Request.Framing == h1.Chunked
	used := 0
	for !b.decoder.Done() {
		n, data, err := b.decoder.Next(p[used:])
		if err != nil {
			return dst, used, exchange.CauseBadRequest
		}
		used += n
		b.received += int64(len(data))
		if chunked {
			dst = h1.AppendChunk(dst, data)
		} else {
			dst = append(dst, data...)
		}
		if b.f.TooLarge(b.received) {
			return dst, used, exchange.CauseBodyTooLarge
		}
		if n == 0 || used == len(p) && !b.decoder.Done() {
			break
		}
	}
	if b.decoder.Done() && chunked {
		b.f.DropRequestTrailers(&b.decoder)
		dst = h1.AppendLastChunk(dst, b.decoder.Trailers())
	}
	return dst, used, exchange.CauseNone
}

// canSettle guesses whether settle will succeed.
func (b *requestBody) canSettle() bool {
	r := b.f.Request
	return b.complete() || !b.halted && (r.Framing == h1.Chunked || r.Length <= maxSettle)
}

// pump forwards what comes of the body, unless the upstream is slower.
func (f *flight) pump() {
	b, d, up := &f.body, f.down, f.up
	for range piecesPerTurn {
		if !b.running || up.pending() > 0 {
			return
		}
		n, outcome := d.read(f.loop.shared[headroom:])
		switch outcome {
		case dry:
			return
		case end, breach:
			f.bodyFails(exchange.CauseClientGone)
			return
		}
		b.touched = true
		b.progress = f.loop.now
		if cause := f.passUp(f.loop.shared[headroom : headroom+n]); cause != exchange.CauseNone {
			f.bodyFails(cause)
			return
		}
	}
	f.loop.resume(&d.conn)
}

// passUp sends a piece of the body upstream.
func (f *flight) passUp(piece []byte) exchange.Cause {
	b, up := &f.body, f.up
	out, used, cause := b.encode(f.loop.scratch[:0], piece)
	f.loop.scratch = out[:0]
	if cause != exchange.CauseNone {
		return cause
	}
	f.down.in.push(piece[used:])
	if !up.send(out) {
		b.refuse()
		return exchange.CauseNone
	}
	f.sending = up.pending() > 0
	f.progress = f.loop.now
	if b.decoder.Done() {
		b.running = false
	}
	return exchange.CauseNone
}

// bodyFails ends the attempt because the client's body does.
func (f *flight) bodyFails(cause exchange.Cause) {
	if f.stage == uploading {
		f.body.halt()
		f.uploaded()
		return
	}
	f.attemptFails(cause)
}

// settle takes the body out of the connection's input after the response, and reads on
// to its end if that is not far.
func (f *flight) settle() {
	b, d := &f.body, f.down
	if !b.begun {
		out, cause := b.appendBuffered(f.loop.scratch[:0])
		f.loop.scratch = out[:0]
		if cause != exchange.CauseNone {
			f.unsettled()
			return
		}
	}
	d.in.r += b.used
	if b.complete() {
		d.next()
		return
	}
	f.stage = settling
	f.stageBy = since(f.loop.now, exchange.LingerTimeout)
	f.settleOn()
}

// settleOn reads what comes of an unwanted body.
func (f *flight) settleOn() {
	b, d := &f.body, f.down
	for b.settled < maxSettle {
		n, outcome := d.read(f.loop.shared)
		if outcome == dry {
			f.arm()
			return
		}
		if outcome != some {
			break
		}
		b.settled += n
		out, used, cause := b.encode(f.loop.scratch[:0], f.loop.shared[:n])
		f.loop.scratch = out[:0]
		if cause != exchange.CauseNone {
			break
		}
		if b.complete() {
			d.in.push(f.loop.shared[used:n])
			f.stage = over
			d.next()
			return
		}
	}
	f.unsettled()
}

// unsettled gives the rest of the body up, and with it the connection.
func (f *flight) unsettled() {
	f.stage = over
	f.down.linger()
}
