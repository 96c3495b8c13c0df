//go:build linux

package loop

import "github.com/lintel-dev/lintel/proxy/exchange"

// piecesPerTurn bounds what one connection may move in a turn, in reads: the others
// come next.
const piecesPerTurn = 8

// requestBody is the body of the request in flight. What of it was read together with
// the head goes upstream together with the head; the rest as it comes.
type requestBody struct {
	f        *flight
	received int64 // payload bytes, framing not counted
	running  bool  // the rest is read from the client and goes upstream
	touched  bool  // some of that was read: the body cannot be sent again
	halted   bool  // that ended before the body did
	progress int64 // when the client was last heard of
}

// reset readies b for the next request.
func (b *requestBody) reset() {
	b.received = 0
	b.running, b.touched, b.halted = false, false, false
}

// start goes to the beginning of the body; it is called again for each attempt.
func (b *requestBody) start() {
	b.received = 0
	b.f.coded = exchange.Base64{}
	b.f.down.rewind()
}

// run makes pump read the rest, if there is one.
func (b *requestBody) run() {
	b.running = !b.complete()
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
func (b *requestBody) complete() bool { return b.f.down.complete() }

// replayable reports whether all that was read of the body is still there.
func (b *requestBody) replayable() bool { return !b.touched }

// pump forwards what comes of the body, unless the upstream is slower.
func (f *flight) pump() {
	b, up := &f.body, f.up
	for range piecesPerTurn {
		if !b.running || up.pending() > 0 {
			return
		}
		out, outcome, cause := f.down.appendMore(f.loop.scratch[:0])
		f.loop.scratch = out[:0]
		switch {
		case outcome == dry:
			return
		case outcome != some:
			cause = exchange.CauseClientGone
		}
		if cause != exchange.CauseNone {
			f.bodyFails(cause)
			return
		}
		f.passUp(out)
	}
	f.down.resume()
}

// passUp sends a piece of the body upstream.
func (f *flight) passUp(out []byte) {
	b, up := &f.body, f.up
	b.progress = f.loop.now
	if !up.send(out) {
		b.refuse()
		return
	}
	f.sending = up.pending() > 0
	f.progress = f.loop.now
	if b.complete() {
		b.running = false
	}
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
