package proxy

import (
	"errors"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// maxSettle bounds the bytes of an unwanted request body that are read so that
// the connection can be used again: a few round trips. Above it, closing is
// cheaper.
const maxSettle = 256 << 10

// requestBody is the body of the request in flight. What of it was read together
// with the head goes upstream together with the head; for the rest a goroutine
// reads from the client and writes to the upstream, while the connection's own
// goroutine waits for the response.
type requestBody struct {
	f *flight

	received atomic.Int64 // payload bytes, framing not counted
	left     []byte       // payload of the downstream's that the upstream did not get yet
	sent     bool         // the upstream was given the end

	// Of the goroutine. It owns these fields, the downstream's payload and the
	// upstream's writes until it has sent on done.
	running  bool
	ended    atomic.Bool // set before the send on done
	stopping atomic.Bool
	done     chan struct{}
	halted   bool           // it was stopped before the end
	refused  bool           // the upstream did not take all of it
	cause    exchange.Cause // why it ended; exchange.CauseNone too when the upstream does not read on
}

// reset readies b for the next request.
func (b *requestBody) reset() {
	b.running, b.halted, b.refused, b.cause = false, false, false, exchange.CauseNone
	b.received.Store(0)
	b.ended.Store(false)
	b.stopping.Store(false)
}

// start goes to the beginning of the body; it is called again for each attempt.
func (b *requestBody) start() {
	b.received.Store(0)
	b.left, b.sent, b.refused = nil, false, false
}

// sendEarly gives the upstream what came together with the head, as far as it takes it
// at once: nobody reads the response meanwhile, which may be what it waits for.
func (b *requestBody) sendEarly(up upstream) exchange.Cause {
	return b.sendReady(up, up.room())
}

// sendReady gives what is there of the body to the upstream, up to room bytes, without
// waiting for the client.
func (b *requestBody) sendReady(up upstream, room int) exchange.Cause {
	down := b.f.down
	for {
		if n := min(len(b.left), room); n > 0 {
			if err := up.write(b.left[:n]); err != nil {
				b.refused = true
				return exchange.CauseNone
			}
			b.left, room = b.left[n:], room-n
		}
		if len(b.left) > 0 {
			return exchange.CauseNone
		}
		data, err := down.next()
		switch {
		case err == io.EOF:
			b.sent = true
			trailers := down.trailers()
			b.f.teeEnd(trailers)
			if err := up.end(b.f.RequestTrailers(trailers)); err != nil {
				b.refused = true
			}
			return exchange.CauseNone
		case err != nil:
			return readCause(err)
		case len(data) == 0:
			return exchange.CauseNone
		}
		received := b.received.Add(int64(len(data)))
		if b.f.TooLarge(received) {
			return exchange.CauseBodyTooLarge
		}
		b.f.tee(data, received)
		b.left = data
	}
}

// readCause says why payload of the request could not be read.
func readCause(err error) exchange.Cause {
	if _, malformed := errors.AsType[*h1.Error](err); malformed {
		return exchange.CauseBadRequest
	}
	if isTimeout(err) {
		return exchange.CauseClientStalled
	}
	return exchange.CauseClientGone
}

// pump starts to forward what is left of the body.
func (b *requestBody) pump(up upstream) {
	if b.done == nil {
		b.done = make(chan struct{}, 1)
	}
	b.running = true
	b.ended.Store(false)
	go b.forward(up)
}

// forward is the goroutine that pump starts; halt waits for it.
func (b *requestBody) forward(up upstream) {
	cause := b.copy(up)
	b.cause = cause
	if cause != exchange.CauseNone {
		// The upstream cannot get the rest. This also ends the wait for its response.
		up.cancel()
	}
	b.ended.Store(true)
	b.done <- struct{}{}
}

// copy forwards until the body ends, or the upstream does not take it: then the
// response may still come, and decides.
func (b *requestBody) copy(up upstream) exchange.Cause {
	for {
		cause := b.sendReady(up, math.MaxInt)
		if cause != exchange.CauseNone || b.refused {
			return cause
		}
		if err := up.flush(); err != nil {
			b.refused = true
			return exchange.CauseNone
		}
		if b.sent {
			return exchange.CauseNone
		}
		if err := b.f.down.await(b.f.Settings.BodyTimeout); err != nil {
			if b.stopping.Load() {
				return exchange.CauseNone
			}
			return readCause(err)
		}
	}
}

// halt ends the goroutine, if one runs, and the attempt unless the body was forwarded
// to its end.
func (b *requestBody) halt() {
	if !b.running {
		return
	}
	select {
	case <-b.done:
	default:
		b.halted = true
		b.stopping.Store(true)
		b.f.up.cancel()
		b.f.down.interrupt()
		<-b.done
		b.stopping.Store(false)
	}
	b.running = false
}

// await gives the client some time to finish a body whose response it got
// already, and reports whether it did.
func (b *requestBody) await() bool {
	if !b.running {
		return b.f.down.complete()
	}
	if !b.f.continued {
		// The client may never send it: it did not get its 100 (Continue).
		b.halt()
		return false
	}
	timer := time.NewTimer(exchange.LingerTimeout)
	defer timer.Stop()
	select {
	case <-b.done:
		b.running = false
		return b.f.down.complete() && b.cause == exchange.CauseNone
	case <-timer.C:
		b.halt()
		return false
	}
}

// canSettle guesses whether the rest of the body will come to its end soon, so that
// the connection can go on.
func (b *requestBody) canSettle() bool {
	if b.f.down.complete() {
		return true
	}
	r := b.f.Request
	// A client that waits for 100 (Continue) may or may not send the body after
	// another answer (RFC 9110 §10.1.1): the connection cannot be trusted.
	return b.f.continued && !b.halted && (r.Framing == h1.Chunked || r.Length <= maxSettle)
}
