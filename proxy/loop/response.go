//go:build linux

package loop

import (
	"net/http"
	"slices"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// maxInterim bounds the 1xx responses before a final one: 102 (Processing) may come
// every few seconds, but not forever.
const maxInterim = 100

// receive reads the response and passes it on, unless the client is slower.
func (f *flight) receive() {
	switch f.stage {
	case awaiting, delivering:
	case splicing:
		f.splice()
		return
	case uploading:
		if !f.body.running && f.up.pending() == 0 {
			f.uploaded()
		}
		return
	default:
		return
	}
	up := f.up
	for range piecesPerTurn {
		if f.down.pending() > 0 {
			return
		}
		n, outcome := up.read(up.room())
		switch outcome {
		case dry:
			return
		case end, breach:
			f.upstreamEnds(outcome)
			return
		}
		if !f.take(up.added(n)) {
			return
		}
	}
	f.loop.resume(&up.conn)
}

// take goes on with bytes from the upstream, and reports whether to read more.
func (f *flight) take(data []byte) bool {
	if f.stage == awaiting {
		f.responded = true
		return f.readHeads(data)
	}
	f.progress = f.loop.now
	return f.passOn(nil, data)
}

// upstreamEnds is called when the upstream sends nothing any more.
func (f *flight) upstreamEnds(how outcome) {
	if f.stage == delivering && how == end && f.payload.EOF() == nil {
		// The body lasted until the upstream closed. A reset is no such end.
		f.passOn(nil, nil)
		return
	}
	f.attemptFails(exchange.CauseUpstreamReset)
}

// readHeads reads what data has of the response's head, and of interim ones before it.
func (f *flight) readHeads(data []byte) bool {
	for len(data) > 0 {
		n, err := f.response.Parse(data, f.Settings.Limits, f.request.Method)
		if err != nil {
			f.attemptFails(exchange.CauseUpstreamInvalid)
			return false
		}
		if n == 0 {
			f.up.keep(data)
			return true
		}
		head := data[:n]
		data = data[n:]
		switch status := f.response.Status; {
		case status == http.StatusSwitchingProtocols, status < 200 && f.interims == maxInterim:
			f.attemptFails(exchange.CauseUpstreamInvalid)
			return false
		case status >= 200:
			return f.deliver(head, data)
		case status != http.StatusContinue: // which nobody waits for
			if !f.relayInterim() {
				return false
			}
		}
		f.interims++
	}
	f.up.release()
	return true
}

// relayInterim passes a 1xx on. HTTP/1.0 knows none (RFC 9110 §15.2).
func (f *flight) relayInterim() bool {
	if f.request.Minor == 0 {
		return true
	}
	out := exchange.AppendInterim(f.loop.scratch[:0], &f.response)
	f.loop.scratch = out[:0]
	if !f.down.send(out) {
		f.attemptFails(exchange.CauseClientGone)
		return false
	}
	return true
}

// deliver sends the final response to the client: its head, and what came of the body.
func (f *flight) deliver(head, data []byte) bool {
	l := f.loop
	f.answered = true
	f.stage = delivering
	f.progress = l.now
	f.Report.Status = f.response.Status
	f.Report.UpstreamLatency = l.clock.Sub(f.Report.Start)
	f.payload.Reset(f.response.Framing, f.response.Length, f.Settings.Limits)
	f.framing = f.Framing(&f.response)
	if f.down.drains() {
		f.Keep = false
	}
	out := f.AppendResponse(l.scratch[:0], &f.response, f.framing, l.clock)
	l.scratch = out[:0]
	if !f.passOn(out, data) {
		return false
	}
	f.retain(head)
	f.up.release()
	if f.spliceable() {
		f.splice()
		return false
	}
	return true
}

// retain keeps what the trailers of the response will be compared with: its fields
// point into a buffer that is about to be used again.
func (f *flight) retain(head []byte) {
	if f.framing != h1.Chunked {
		return
	}
	if _, nominates := router.Lookup(f.response.Fields, "Connection"); nominates {
		// It was parsed before, so it is in order.
		_, _ = f.response.Parse(slices.Clone(head), f.Settings.Limits, f.request.Method)
	}
}

// passOn sends the payload in data behind head, and reports whether more is to come.
func (f *flight) passOn(head, data []byte) bool {
	var out []byte
	var err error
	if f.response.Framing == h1.Length {
		out, data = f.joined(head, data)
	} else {
		out, data, err = f.encoded(head, data)
	}
	if len(out) > 0 && !f.down.send(out) {
		f.attemptFails(exchange.CauseClientGone)
		return false
	}
	if err != nil {
		f.attemptFails(exchange.CauseUpstreamInvalid)
		return false
	}
	if !f.payload.Done() {
		return true
	}
	f.surplus = len(data) > 0
	f.delivered()
	return false
}

// joined returns head and the payload in data, which has a known length, in one piece,
// and what follows the payload. Where data stands in the loop's buffer nothing but the
// head is copied: to the room before it.
func (f *flight) joined(head, data []byte) (out, rest []byte) {
	n, piece, _ := f.payload.Next(data)
	rest = data[n:]
	f.Report.Sent += int64(len(piece))
	switch {
	case len(head) == 0:
		return piece, rest
	case len(piece) == 0:
		return head, rest
	}
	shared := f.loop.shared
	if at := cap(shared) - cap(data); f.up.partial == nil && at >= len(head) {
		copy(shared[at-len(head):], head)
		return shared[at-len(head) : at+len(piece)], rest
	}
	out = append(head, piece...)
	f.loop.scratch = out[:0]
	return out, rest
}

// encoded returns head and the payload in data as the client gets it, and what follows
// the payload.
func (f *flight) encoded(head, data []byte) (out, rest []byte, err error) {
	out = head
	if out == nil {
		out = f.loop.scratch[:0]
	}
	for len(data) > 0 && !f.payload.Done() && err == nil {
		var n int
		var piece []byte
		n, piece, err = f.payload.Next(data)
		data = data[n:]
		f.Report.Sent += int64(len(piece))
		if f.framing == h1.Chunked {
			out = h1.AppendChunk(out, piece)
		} else {
			out = append(out, piece...)
		}
	}
	if f.payload.Done() && f.framing == h1.Chunked {
		f.DropResponseTrailers(&f.payload, &f.response)
		out = h1.AppendLastChunk(out, f.payload.Trailers())
	}
	f.loop.scratch = out[:0]
	return out, data, err
}

// delivered ends the response. The rest of the request's body gets a little more time.
func (f *flight) delivered() {
	f.done = true
	f.Report.Duration = f.loop.clock.Sub(f.Report.Start)
	if f.body.running {
		f.stage = uploading
		f.stageBy = since(f.loop.now, exchange.LingerTimeout)
		f.arm()
		return
	}
	f.uploaded()
}

// uploaded ends the upstream's side of the exchange: the connection is for others now,
// or closed.
func (f *flight) uploaded() {
	f.body.halt()
	up := f.up
	if !f.body.complete() {
		f.Keep = false
	}
	if !f.reusable() {
		f.drop()
		f.flush()
		return
	}
	up.release()
	up.endpoint.Release()
	f.up = nil
	f.loop.put(up)
	f.flush()
}

// reusable reports whether the upstream connection can take another request.
func (f *flight) reusable() bool {
	return f.response.KeepAlive && f.response.Framing != h1.UntilClose && f.payload.Done() && !f.surplus &&
		f.body.complete() && !f.body.halted && !f.cut && f.up.pending() == 0 && !f.up.failed
}
