package proxy

import (
	"io"
	"net"
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
)

// h2Stream is the downstream side of an exchange over HTTP/2. Streams are used again,
// with their flights.
type h2Stream struct {
	h2Flow
	h       *h2Downstream
	flight  flight
	request h1.Request
	refusal int // the status that a bad head is answered with, or 0

	out    h2.Response        // the head to send
	waits  bool               // it is not sent yet
	socket exchange.WebSocket // of extended CONNECT
}

// begin fills s for the request that e tells of.
func (s *h2Stream) begin(h *h2Downstream, e *h2.Event) {
	s.reset(&h.h2Link)
	s.h, s.id, s.ended = h, e.Stream, e.End
	s.rate = h.server.settings.MinBodyRate
	s.waits, s.refusal = false, 0
	s.socket = exchange.WebSocket{}
	f := &s.flight
	f.init(h.server, s, &h.c.client)
	f.canceled, f.switches = exchange.CauseNone, false
	f.Request = &s.request
	f.begin()
	if e.Kind == h2.HeadTooLarge {
		s.refusal = http.StatusRequestHeaderFieldsTooLarge
	} else {
		s.translate(e.Request)
	}
}

// translate fills s.request.
func (s *h2Stream) translate(head *h2.Request) {
	t := exchange.TranslateRequest(&s.request, head, s.link.server.settings.Limits)
	s.socket, s.refusal = t.Socket, t.Refusal
	s.flight.switches = s.socket.Key != ""
}

// run does the exchange.
func (s *h2Stream) run() {
	if s.refusal != 0 {
		s.flight.refuse(exchange.Answer{Status: s.refusal, Cause: exchange.CauseBadRequest})
	} else {
		s.flight.run(s.h.c.socket.table())
	}
	s.h.close(s)
}

// next implements downstream. What follows an extended CONNECT is the tunnel's.
func (s *h2Stream) next() ([]byte, error) {
	if s.socket.Key != "" {
		return nil, io.EOF
	}
	return s.h2Flow.next()
}

func (s *h2Stream) complete() bool { return s.socket.Key != "" || s.h2Flow.complete() }

func (s *h2Stream) trailers() []h1.Field {
	if s.socket.Key != "" {
		return nil
	}
	return s.h2Flow.trailers()
}

func (s *h2Stream) await(limit time.Duration) error { return s.waitFor(time.Now().Add(limit)) }
func (s *h2Stream) bound(latest time.Time)          { s.latest = latest }
func (s *h2Stream) draining() bool                  { return false } // GOAWAY has told it

func (s *h2Stream) gone() bool {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	return s.err != nil || s.link.err != nil
}

func (s *h2Stream) interim(res *h1.Response) error {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	head := exchange.InterimHead(res)
	err := s.codec().WriteResponse(s.id, &head)
	s.link.flush()
	return err
}

func (s *h2Stream) codec() *h2.Conn { return &s.link.codec }

// head implements downstream. The head is sent together with what follows, as its end
// may be the end of the stream.
func (s *h2Stream) head(res *h1.Response, now time.Time) error {
	s.out = s.flight.ResponseHead(res, now)
	s.waits = true
	return nil
}

// write implements downstream. It keeps p, as the end may follow.
func (s *h2Stream) write(p []byte) error {
	var err error
	if len(s.pending) > 0 {
		s.link.mu.Lock()
		err = s.sendPending(h2.More)
		s.link.mu.Unlock()
	}
	s.pending = p
	return err
}

// sendPending gives what was held back to the codec. mu is held.
func (s *h2Stream) sendPending(fin h2.Fin) error {
	p := s.pending
	s.pending = nil
	if s.waits {
		s.waits = false
		s.out.End = fin == h2.Last && len(p) == 0
		if err := s.codec().WriteResponse(s.id, &s.out); err != nil || s.out.End {
			return err
		}
	}
	if len(p) == 0 && fin == h2.More {
		return nil
	}
	_, err := s.send(p, fin)
	return err
}

func (s *h2Stream) end(trailers []h1.Field) error {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	err := s.sendEnd(trailers)
	s.told = err == nil
	return err
}

// sendEnd gives what was held back and the end to the codec. mu is held.
func (s *h2Stream) sendEnd(trailers []h1.Field) error {
	if len(trailers) == 0 {
		return s.sendPending(h2.Last)
	}
	if err := s.sendPending(h2.More); err != nil {
		return err
	}
	return s.codec().WriteTrailers(s.id, trailers)
}

// flush implements downstream. What fails behind the end of the response is no failure of that:
// a client that has got all may leave before we are back from sending it.
func (s *h2Stream) flush() error {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	err := s.sendPending(h2.More)
	s.link.flush()
	if err == nil && !s.told {
		err = s.failure()
	}
	return err
}

func (s *h2Stream) answer(a exchange.Answer, now time.Time) error {
	s.out, s.pending = s.flight.AnsweredHead(a, now)
	s.waits = true
	if err := s.end(nil); err != nil {
		return err
	}
	return s.flush()
}

// finish implements downstream. A client that still sends is told that nobody reads
// (RFC 9113 §8.1).
func (s *h2Stream) finish() {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if !s.ended {
		s.codec().Reset(s.id, h2.NoError)
	}
}

func (s *h2Stream) abort(cause exchange.Cause) {
	code := h2.InternalError
	switch cause {
	case exchange.CauseClientGone, exchange.CauseClientStalled:
		code = h2.Cancel
	}
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	s.codec().Reset(s.id, code)
}

func (s *h2Stream) upgrade(res *h1.Response) (conn net.Conn, pending []byte, err error) {
	if err := s.socket.Agreed(res); err != nil {
		return nil, nil, err
	}
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	head := s.flight.SwitchHead(res)
	if err = s.codec().WriteResponse(s.id, &head); err != nil {
		return nil, nil, err
	}
	s.link.flush()
	return &h2Tunnel{flow: &s.h2Flow}, nil, nil
}
