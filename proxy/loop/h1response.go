//go:build linux

package loop

import (
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// stuck is since when what waits does so.
func (d *downstream) stuck() int64  { return d.moved }
func (d *downstream) left() bool    { return d.ended }
func (d *downstream) leaving() bool { return d.ended || hungUp(d.fd) }
func (d *downstream) resume()       { d.loop.resume(&d.conn) }

// interim passes a 1xx on. HTTP/1.0 knows none (RFC 9110 §15.2).
func (d *downstream) interim(res *h1.Response) bool {
	if d.flight.request.Minor == 0 {
		return true
	}
	out := exchange.AppendInterim(d.loop.scratch[:0], res)
	d.loop.scratch = out[:0]
	return d.send(out)
}

// reply sends a piece of a response. It gathers when the connection goes on after it.
func (d *downstream) reply(out []byte) bool {
	if d.flight.Keep && d.complete() {
		return d.gather(out)
	}
	return d.send(out)
}

func (d *downstream) answer(a exchange.Answer) bool {
	out := d.flight.AppendAnswer(d.loop.scratch[:0], a, d.loop.clock)
	d.loop.scratch = out[:0]
	return d.reply(out)
}

func (d *downstream) pass(data []byte, what part) (rest []byte, result passed) {
	f := d.flight
	var head, out []byte
	var err error
	if what == headToo {
		f.framing = f.Framing(&f.response)
		head = f.AppendResponse(d.loop.scratch[:0], &f.response, f.framing, d.loop.clock)
		d.loop.scratch = head[:0]
	}
	if f.response.Framing == h1.Length {
		out, rest = d.joined(head, data)
	} else {
		out, rest, err = d.encoded(head, data)
	}
	if len(out) > 0 && !d.reply(out) {
		return rest, passedToNobody
	}
	if err != nil {
		return rest, passedUntil
	}
	return rest, passedOn
}

// joined returns head and the payload in data, which has a known length, in one piece,
// and what follows the payload. Where data stands in the loop's buffer nothing but the
// head is copied: to the room before it.
func (d *downstream) joined(head, data []byte) (out, rest []byte) {
	f := d.flight
	n, piece, _ := f.payload.Next(data)
	rest = data[n:]
	f.Report.Sent += int64(len(piece))
	switch {
	case len(head) == 0:
		return piece, rest
	case len(piece) == 0:
		return head, rest
	}
	shared := d.loop.shared
	if at := cap(shared) - cap(data); at >= len(head) && sameArray(shared, data) {
		copy(shared[at-len(head):], head)
		return shared[at-len(head) : at+len(piece)], rest
	}
	out = append(head, piece...)
	d.loop.scratch = out[:0]
	return out, rest
}

// sameArray reports whether two slices have the same last byte, beyond their length.
func sameArray(a, b []byte) bool {
	a, b = a[:cap(a)], b[:cap(b)]
	return len(b) > 0 && &a[len(a)-1] == &b[len(b)-1]
}

// encoded returns head and the payload in data as the client gets it, and what follows
// the payload.
func (d *downstream) encoded(head, data []byte) (out, rest []byte, err error) {
	f := d.flight
	out = head
	if out == nil {
		out = d.loop.scratch[:0]
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
		out = h1.AppendLastChunk(out, f.trailers())
	}
	d.loop.scratch = out[:0]
	return out, data, err
}

// Upgrades over HTTP/1.1 are the full lane's.
func (d *downstream) switches() bool           { return false }
func (d *downstream) agrees(*h1.Response) bool { return false }
func (d *downstream) agree(*h1.Response) bool  { return false }

// breakOff implements client. Over HTTP/1.1 there is no gRPC, but gRPC-Web.
func (d *downstream) breakOff(trailers []h1.Field) bool {
	return d.flight.framing == h1.Chunked && d.send(h1.AppendLastChunk(nil, trailers))
}

// finish deals with what is left of the request's body, and readies the connection for
// the next request or closes it.
func (d *downstream) finish() {
	switch {
	case d.flight.Keep:
		d.settle()
	case d.sendsOn():
		d.linger()
	default:
		d.close()
	}
}

// sendsOn reports whether the client may still be sending: the rest of its body, or
// requests behind this one, since it does not expect us to close.
func (d *downstream) sendsOn() bool {
	f := d.flight
	return f.headless || !d.complete() || f.request.KeepAlive
}

// abort closes the connection.
func (d *downstream) abort(exchange.Cause) {
	if f := d.flight; f.answered && f.framing == h1.UntilClose {
		d.reset() // else the client takes what it has for all of it
	}
	d.close()
}
