//go:build linux

package loop

import (
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
)

// stream is the client's side of an exchange over HTTP/2. A mux uses it again.
type stream struct {
	outflow // the response
	entry
	m      *mux
	flight *flight
	fields []h1.Field // of the request

	fresh   bool // its flight has not begun
	refusal int  // the status that a bad head is answered with, or 0
	reset   bool // the client has given it up

	body    []byte // payload that has come and the peer may not send anew
	given   int    // bytes of it that went upstream in this attempt
	trailer []h1.Field
	ended   bool // the client has sent all
	closed  bool // all of the body went upstream in this attempt

	pace exchange.Pace // of what the client takes

	socket exchange.WebSocket // that an extended CONNECT asks for
	tunnel bool               // it is open: payload goes as it comes, both ways
}

// begin takes the request that e tells of.
func (s *stream) begin(e *h2.Event) {
	d := s.m.d
	*s = stream{outflow: s.outflow, m: s.m, fields: s.fields, body: s.body[:0], trailer: s.trailer[:0]}
	s.restart(e.Stream)
	s.fresh, s.ended = true, e.End
	s.flight = d.loop.borrow(s, &d.client)
	if e.Kind == h2.HeadTooLarge {
		s.refusal = http.StatusRequestHeaderFieldsTooLarge
		return
	}
	s.translate(e.Request)
}

// translate fills the flight's request.
func (s *stream) translate(head *h2.Request) {
	r := &s.flight.request
	r.Fields = s.fields[:0]
	t := exchange.TranslateRequest(r, head, s.flight.Settings.Limits)
	s.fields = r.Fields
	s.socket, s.refusal = t.Socket, t.Refusal
}

// goOn continues the flight.
func (s *stream) goOn() {
	f := s.flight
	switch {
	case s.fresh:
		s.fresh = false
		s.start()
	case s.reset:
		f.giveUp(exchange.CauseClientGone)
	default:
		if s.pending() > 0 && !s.writeOn() {
			f.giveUp(exchange.CauseClientStalled)
			return
		}
		f.clientReady()
	}
}

// start decides about the request.
func (s *stream) start() {
	f := s.flight
	if s.refusal != 0 {
		f.Report.Start = f.loop.clock
		f.headless = true
		f.answer(exchange.Answer{Status: s.refusal, Cause: exchange.CauseBadRequest})
		return
	}
	f.Begin(f.loop.clock)
	answer := f.Decide(s.m.d.socket.Table())
	if f.Waits || f.Rule != nil && !f.Rule.Action.Plain() {
		// The configuration has changed since the connection came. A new one takes the
		// request, which nobody has acted on (RFC 9113 §8.7).
		s.m.codec.Reset(s.id, h2.RefusedStream)
		s.m.close(s)
		s.m.drain()
		return
	}
	f.start(answer)
	if s.reset && s.flight == f {
		f.giveUp(exchange.CauseClientGone)
	}
}

// release gives back what the stream holds.
func (s *stream) release() {
	s.m.codec.Consumed(s.id, len(s.body))
	s.body = s.body[:0]
	if cap(s.body) > headSize {
		s.body = nil
	}
	s.shrink()
	f := s.flight
	s.flight = nil
	s.m.leave(s)
	s.m.d.loop.giveBack(f)
}

// parted reports whether this is a tunnel in which neither side has more to say to the other.
func (s *stream) parted() bool { return s.parts() && s.ended }

// parts reports whether only the client has more to say.
func (s *stream) parts() bool { return s.tunnel && s.flight.payload.Done() && s.pending() == 0 }

// The request's body.

// receive takes payload, and maybe the end.
func (s *stream) receive(e *h2.Event) {
	s.body = append(s.body, e.Data...)
	s.trailer = append(s.trailer, e.Fields...)
	s.ended = s.ended || e.End
}

func (s *stream) rewind()        { s.given, s.closed = 0, s.flight.request.Framing == h1.NoBody }
func (s *stream) complete() bool { return s.closed }
func (s *stream) settles() bool  { return true }

func (s *stream) appendArrived(dst []byte) ([]byte, exchange.Cause) { return s.encode(dst) }

func (s *stream) appendMore(dst []byte) ([]byte, outcome, exchange.Cause) {
	if s.reset {
		return dst, end, exchange.CauseNone
	}
	// What went upstream before makes room now, as the client may wait for that.
	s.consume()
	if len(s.body) == 0 && !s.ended {
		return dst, dry, exchange.CauseNone
	}
	dst, cause := s.encode(dst)
	if !s.closed {
		s.consume()
	}
	return dst, some, cause
}

// consume lets the client send as much as went upstream, which cannot be sent again
// then.
func (s *stream) consume() {
	if s.given == 0 {
		return
	}
	s.flight.body.touched = true
	s.m.codec.Consumed(s.id, s.given)
	s.body = s.body[:copy(s.body, s.body[s.given:])]
	s.given = 0
	s.m.soil()
}

// encode appends the payload that did not go upstream yet.
func (s *stream) encode(dst []byte) ([]byte, exchange.Cause) {
	f := s.flight
	if s.closed {
		return dst, exchange.CauseNone
	}
	data := s.body[s.given:]
	s.given = len(s.body)
	data, ok := f.decoded(data)
	if !ok || s.ended && f.coded.Partial() {
		return dst, exchange.CauseBadRequest
	}
	f.body.received += int64(len(data))
	if !s.tunnel && f.TooLarge(f.body.received) {
		return dst, exchange.CauseBodyTooLarge
	}
	chunked := f.inChunks()
	if chunked {
		dst = h1.AppendChunk(dst, data)
	} else {
		dst = append(dst, data...)
	}
	if s.ended {
		s.closed = true
		if chunked {
			dst = h1.AppendLastChunk(dst, s.trailers())
		}
	}
	return dst, exchange.CauseNone
}

func (s *stream) trailers() []h1.Field {
	s.trailer = s.flight.RequestTrailers(s.trailer)
	return s.trailer
}

// The response.

func (s *stream) left() bool    { return s.reset || s.m.d.ended }
func (s *stream) leaving() bool { return s.left() || hungUp(s.m.d.fd) }
func (s *stream) drains() bool  { return false } // GOAWAY has told it
func (s *stream) resume()       { s.m.activate(s); s.m.d.loop.resume(&s.m.d.conn) }

func (s *stream) interim(res *h1.Response) bool {
	head := exchange.InterimHead(res)
	s.m.soil()
	return s.m.codec.WriteResponse(s.id, &head) == nil
}

func (s *stream) answer(a exchange.Answer) bool {
	head, body := s.flight.AnsweredHead(a, s.flight.loop.clock)
	if !s.head(&head) {
		return false
	}
	return head.End || s.write(body, closing)
}

func (s *stream) switches() bool { return s.socket.Key != "" }

func (s *stream) agrees(res *h1.Response) bool {
	return s.socket.Agreed(res) == nil
}

func (s *stream) agree(res *h1.Response) bool {
	s.tunnel, s.closed = true, false
	head := s.flight.SwitchHead(res)
	return s.head(&head)
}

func (s *stream) breakOff(trailers []h1.Field) bool {
	s.trails = trailers
	return s.write(nil, trailing)
}

// head sends the head of the final response.
func (s *stream) head(head *h2.Response) bool {
	s.m.soil()
	return s.m.codec.WriteResponse(s.id, head) == nil
}

func (s *stream) pass(data []byte, what part) (rest []byte, result passed) {
	f := s.flight
	var piece []byte // that was not given yet, as the end may follow it
	var err error
	var n int
	head := s.responseHead(what)
	for len(data) > 0 && !f.payload.Done() && err == nil {
		var next []byte
		n, next, err = f.payload.Next(data)
		data = data[n:]
		if len(next) == 0 {
			continue
		}
		f.Report.Sent += int64(len(next))
		if (head != nil || len(piece) > 0) && !s.give(&head, piece, open) {
			return data, passedToNobody
		}
		piece = next
	}
	last := open
	if f.payload.Done() {
		last = closing
		if s.trails = f.trailers(); len(s.trails) > 0 {
			last = trailing
		}
	}
	switch {
	case !s.give(&head, piece, last):
		return data, passedToNobody
	case err != nil:
		return data, passedUntil
	}
	return data, passedOn
}

// responseHead returns the head to send, or nil.
func (s *stream) responseHead(what part) *h2.Response {
	if what != headToo {
		return nil
	}
	head := &s.m.head
	*head = s.flight.ResponseHead(&s.flight.response, s.flight.loop.clock)
	return head
}

// give sends a head, if there is one, and what follows it.
func (s *stream) give(head **h2.Response, piece []byte, last ending) bool {
	if h := *head; h != nil {
		*head = nil
		h.End = last == closing && len(piece) == 0
		if !s.head(h) {
			return false
		}
		if h.End {
			return true
		}
	}
	if len(piece) == 0 && last == open {
		return true
	}
	return s.write(piece, last)
}

// write gives payload, and maybe the end, to the codec. What that does not take waits.
func (s *stream) write(p []byte, last ending) bool {
	s.m.soil()
	ok := s.push(p, last, s.m.d.loop.now)
	if s.pending() > 0 {
		s.m.block(s)
	}
	return ok
}

// writeOn gives what waits. It reports false when the client takes that too slowly.
func (s *stream) writeOn() bool {
	l := s.m.d.loop
	s.m.soil()
	wait := time.Duration(l.now - s.since)
	if n, ok := s.pushOn(l.now); ok && n > 0 && s.pace.Waited(wait, n, l.settings.MinBodyRate) {
		s.waiting = s.waiting[:0] // for nobody
		return false
	}
	if s.pending() > 0 {
		s.m.block(s)
	}
	return true
}

// finish ends the stream. A client that still sends is told that nobody reads (RFC
// 9113 §8.1).
func (s *stream) finish() {
	if !s.ended {
		s.m.codec.Reset(s.id, h2.NoError)
	}
	s.m.close(s)
}

func (s *stream) abort(cause exchange.Cause) {
	code := h2.InternalError
	if s.tunnel || cause == exchange.CauseClientGone || cause == exchange.CauseClientStalled {
		code = h2.Cancel
	}
	s.m.codec.Reset(s.id, code)
	s.m.close(s)
}
