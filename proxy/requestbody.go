package proxy

import (
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
	f       *flight
	decoder h1.Body
	begun   bool // what is buffered was decoded
	used    int  // bytes of the connection's unread input that belong to the body

	received atomic.Int64 // payload bytes, framing not counted

	// Of the goroutine. It owns the fields from decoder on, the connection's
	// reads and the upstream's writes until it has sent on done.
	running  bool
	ended    atomic.Bool // set before the send on done
	stopping atomic.Bool
	done     chan struct{}
	touched  bool           // it read something
	halted   bool           // it was stopped before the end
	refused  bool           // the upstream did not take all of it
	cause    exchange.Cause // why it ended; exchange.CauseNone too when the upstream does not read on
	left     []byte
}

// reset readies b for the next request.
func (b *requestBody) reset() {
	b.begun, b.used = false, 0
	b.running, b.touched, b.halted, b.refused, b.cause = false, false, false, false, exchange.CauseNone
	b.received.Store(0)
	b.ended.Store(false)
	b.stopping.Store(false)
	b.left = b.left[:0]
	b.decoder.Reset(h1.NoBody, 0, b.f.Settings.Limits)
}

// start goes to the beginning of the body; it is called again for each attempt.
func (b *requestBody) start() {
	r := b.f.Request
	b.decoder.Reset(r.Framing, r.Length, b.f.Settings.Limits)
	b.begun, b.used = false, 0
	b.received.Store(0)
}

// appendBuffered appends what came with the head, as it goes upstream.
func (b *requestBody) appendBuffered(dst []byte) ([]byte, exchange.Cause) {
	dst, n, cause := b.encode(dst, b.f.c.in.unread())
	b.used, b.begun = n, true
	return dst, cause
}

// encode appends the payload in p with upstream framing, and returns how many
// bytes of p belong to the body.
func (b *requestBody) encode(dst, p []byte) ([]byte, int, exchange.Cause) {
	used := 0
	for !b.decoder.Done() {
		n, data, err := b.decoder.Next(p[used:])
		if err != nil {
			return dst, used, exchange.CauseBadRequest
		}
		used += n
		if len(data) > 0 {
			b.received.Add(int64(len(data)))
			if b.f.Request.Framing == h1.Chunked {
				dst = h1.AppendChunk(dst, data)
			} else {
				dst = append(dst, data...)
			}
		}
		if b.f.TooLarge(b.received.Load()) {
			return dst, used, exchange.CauseBodyTooLarge
		}
		if n == 0 || used == len(p) && !b.decoder.Done() {
			break
		}
	}
	if b.decoder.Done() && b.f.Request.Framing == h1.Chunked {
		b.f.DropRequestTrailers(&b.decoder)
		dst = h1.AppendLastChunk(dst, b.decoder.Trailers())
	}
	return dst, used, exchange.CauseNone
}

// complete reports whether all of the body was read. No goroutine may run.
func (b *requestBody) complete() bool { return b.decoder.Done() }

// replayable reports whether all that was read of the body is still there.
func (b *requestBody) replayable() bool { return !b.touched }

// pump starts to forward what is left of the body.
func (b *requestBody) pump(up *upstream) {
	if b.done == nil {
		b.done = make(chan struct{}, 1)
	}
	b.running = true
	b.ended.Store(false)
	go b.forward(up)
}

// forward is the goroutine that pump starts; halt waits for it.
func (b *requestBody) forward(up *upstream) {
	buf, out := b.f.c.server.bodies.get(), b.f.c.server.outputs.get()
	cause := b.copy(up, *buf, (*out)[:0])
	b.f.c.server.bodies.put(buf)
	b.f.c.server.outputs.put(out)
	b.cause = cause
	if cause != exchange.CauseNone {
		// The upstream cannot get the rest. This also ends the wait for its response.
		up.conn.Close()
	}
	b.ended.Store(true)
	b.done <- struct{}{}
}

// copy forwards until the body ends, or the upstream does not take it: then the
// response may still come, and decides.
func (b *requestBody) copy(up *upstream, buf, out []byte) exchange.Cause {
	c := b.f.c
	limit := b.f.Settings.BodyTimeout
	for !b.decoder.Done() {
		c.readBy.extend(time.Now(), limit)
		if b.stopping.Load() {
			return exchange.CauseNone
		}
		n, err := c.conn.Read(buf)
		if n == 0 {
			if isTimeout(err) {
				if b.stopping.Load() {
					return exchange.CauseNone
				}
				return exchange.CauseClientStalled
			}
			return exchange.CauseClientGone
		}
		b.touched = true
		encoded, used, cause := b.encode(out[:0], buf[:n])
		if cause != exchange.CauseNone {
			return cause
		}
		b.left = append(b.left, buf[used:n]...)
		up.writeBy.extend(time.Now(), limit)
		if _, err := up.conn.Write(encoded); err != nil {
			b.refused = true
			return exchange.CauseNone
		}
	}
	return exchange.CauseNone
}

// halt ends the goroutine, if one runs, and closes the upstream unless the body
// was forwarded to its end.
func (b *requestBody) halt() {
	if !b.running {
		return
	}
	select {
	case <-b.done:
	default:
		b.halted = true
		b.stopping.Store(true)
		b.f.up.conn.Close()
		_ = b.f.c.conn.SetReadDeadline(past)
		<-b.done
		b.stopping.Store(false)
		b.f.c.readBy.forget()
	}
	b.running = false
}

// await gives the client some time to finish a body whose response it got
// already, and reports whether it did.
func (b *requestBody) await() bool {
	if !b.running {
		return b.complete()
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
		return b.complete() && b.cause == exchange.CauseNone
	case <-timer.C:
		b.halt()
		return false
	}
}

// canSettle guesses whether settle will succeed.
func (b *requestBody) canSettle() bool {
	if b.complete() {
		return true
	}
	r := b.f.Request
	// A client that waits for 100 (Continue) may or may not send the body after
	// another answer (RFC 9110 §10.1.1): the connection cannot be trusted.
	return b.f.continued && !b.halted && (r.Framing == h1.Chunked || r.Length <= maxSettle)
}

// settle takes the body out of the connection's input after the response, and
// reads on to its end if that is not far. No goroutine may run.
func (b *requestBody) settle() {
	f, c := b.f, b.f.c
	if !b.begun {
		_, b.cause = b.appendBuffered(f.out[:0])
	}
	c.in.r += b.used
	c.in.push(b.left)
	if !b.decoder.Done() {
		c.readBy.exactly(time.Now().Add(exchange.LingerTimeout))
	}
	for total := 0; !b.decoder.Done() && total < maxSettle; {
		n, err := c.conn.Read(*f.resFrom)
		if n == 0 || err != nil {
			break
		}
		total += n
		_, used, cause := b.encode(f.out[:0], (*f.resFrom)[:n])
		if cause != exchange.CauseNone {
			break
		}
		c.in.push((*f.resFrom)[used:n])
	}
	if !b.decoder.Done() {
		f.Keep = false
	}
}
