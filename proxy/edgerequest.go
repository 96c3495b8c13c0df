package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/internal/edgewire"
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
	"github.com/lintel-dev/lintel/router"
)

// edgeRequest is the downstream side of a request that Cloudflare's edge has sent on a
// stream of QUIC. It is used again, with its flight.
type edgeRequest struct {
	readBody
	entry   *Entry
	stream  edgewire.Stream
	sent    *edgewire.Request
	ways    *Ways
	client  exchange.Client
	flight  flight
	request h1.Request
	written []byte  // the head as one of HTTP/1.1
	valid   bool    // it reads as what was sent
	headBuf *[]byte // where it is, unless that was too small; it is lent

	hangUp func()      // ends the exchange; made once
	ignore func() bool // stops watching whether the edge gives up; nil afterwards
	stray  bool        // hangUp may still be called

	out     []byte  // the head to send
	outFrom *[]byte // it is lent
	pending []byte  // payload to send behind it
	over    bool    // it is the last
	limit   time.Time
	writeBy deadline
	aborted bool
}

func newEdgeRequest(s *Server) *edgeRequest {
	r := new(edgeRequest)
	r.init(s, r.bodyEnded, func(at time.Time) error { return r.stream.SetReadDeadline(at) })
	r.hangUp = func() { r.flight.cancel(exchange.CauseClientGone) }
	r.writeBy = deadline{set: func(at time.Time) error { return r.stream.SetWriteDeadline(at) }}
	return r
}

// ServeRequest serves a request that Cloudflare's edge has sent over QUIC, in the way of a
// tunnel's connectors: [edgewire] has the words. It returns when nothing of it is used any
// more, and reports false if the edge must see that the response is not complete. It does not
// close the stream, but for CloseWrite.
func (e *Entry) ServeRequest(stream edgewire.Stream, sent *edgewire.Request) bool {
	r, ok := e.server.edgeRequests.Get().(*edgeRequest)
	if !ok {
		r = newEdgeRequest(e.server)
	}
	r.begin(e, stream, sent)
	r.serve()
	complete := !r.aborted
	r.giveBack()
	if !r.stray {
		e.server.edgeRequests.Put(r)
	}
	return complete
}

// begin readies r for a request.
func (r *edgeRequest) begin(e *Entry, stream edgewire.Stream, sent *edgewire.Request) {
	r.entry, r.stream, r.sent, r.ways = e, stream, sent, e.ways.Load()
	r.from, r.length = stream, 0
	r.over, r.aborted, r.limit = false, false, time.Time{}
	r.writeBy.forget()
	r.headBuf = r.server.heads.get()
	var v visitor
	r.written, r.valid = r.appendHead((*r.headBuf)[:0], &v)
	r.client = e.client(r.ways, &v)
	f := &r.flight
	f.Request = &r.request
	f.init(e.server, r, &r.client)
	f.canceled, f.switches = exchange.CauseNone, sent.WebSocket
	f.begin()
}

// giveBack forgets all that is not r's own.
func (r *edgeRequest) giveBack() {
	r.forget()
	if r.headBuf != nil {
		r.server.heads.put(r.headBuf)
		r.headBuf = nil
	}
	r.giveBackOut()
	r.stream, r.sent, r.from, r.pending, r.written = nil, nil, nil, nil, nil
}

func (r *edgeRequest) giveBackOut() {
	if r.outFrom != nil {
		r.server.outputs.put(r.outFrom)
		r.out, r.outFrom = nil, nil
	}
}

// serve does the exchange.
func (r *edgeRequest) serve() {
	if !r.entry.enter(r) {
		r.put(&h2.Response{Status: http.StatusServiceUnavailable, Length: -1})
		r.over = true
		_ = r.flush() // the edge may be gone
		return
	}
	defer r.entry.leave(r)
	r.ignore = context.AfterFunc(r.stream.Context(), r.hangUp)
	defer r.heedless()
	err := r.readHead()
	if err == nil && r.ways.Guard != nil && r.ways.Guard(outline(&r.request)) != nil {
		r.entry.bar(&r.client)
	}
	switch bad, malformed := errors.AsType[*h1.Error](err); {
	case err == nil:
		r.flight.run(r.entry.table())
	case malformed:
		r.flight.refuse(exchange.Answer{Status: bad.Status, Cause: exchange.CauseBadRequest})
	case isTimeout(err):
		r.flight.refuse(exchange.CauseClientStalled.Answer())
	default:
		r.aborted = true
	}
}

// heedless stops watching whether the edge gives up.
func (r *edgeRequest) heedless() {
	if r.ignore != nil {
		r.stray = !r.ignore()
		r.ignore = nil
	}
}

// cut implements cutter.
func (r *edgeRequest) cut() {
	r.flight.cancel(exchange.CauseDrained)
	r.interrupt()
	_ = r.stream.SetDeadline(past)
}

// readHead fills r.request. The head was written as one of HTTP/1.1 and is parsed by the codec
// that reads all others, so that nothing is allowed here that is not allowed there, limits
// included. The error is an *h1.Error, or why the edge did not finish.
func (r *edgeRequest) readHead() error {
	if !r.valid {
		return &h1.Error{Status: http.StatusBadRequest, Reason: "field or target is malformed"}
	}
	n, err := r.request.Parse(r.written, r.server.settings.Limits)
	if err == nil && n != len(r.written) {
		err = &h1.Error{Status: http.StatusBadRequest, Reason: "head is malformed"}
	}
	if err != nil {
		r.request.Reset()
		return err
	}
	switch r.request.Framing {
	case h1.Chunked:
		r.length = -1
	case h1.Length:
		r.length = r.request.Length
	}
	if r.length == 0 {
		r.failed = io.EOF
	}
	return r.settle()
}

// settle finds out whether there is a body, if that is not known: methods that usually have
// none are worth the wait for what follows the head, since many servers refuse such a body.
func (r *edgeRequest) settle() error {
	if r.length >= 0 {
		return nil
	}
	switch r.request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete:
	default:
		return nil
	}
	r.readBy.exactly(time.Now().Add(r.server.settings.ReadHeaderTimeout))
	if err := r.read(); err != nil {
		return err
	}
	switch {
	case r.n > 0:
		return nil
	case r.failed == io.EOF:
		r.request.Framing = h1.NoBody
		return nil
	}
	return r.failed
}

// bodyEnded says what an error of the stream means for the body.
func (r *edgeRequest) bodyEnded(err error) error {
	if err == io.EOF && r.total < r.length {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *edgeRequest) bound(latest time.Time) { r.limit = latest }

// interim implements downstream. Interim responses do not reach clients.
func (r *edgeRequest) interim(*h1.Response) error { return nil }

func (r *edgeRequest) head(res *h1.Response, now time.Time) error {
	head := r.flight.ResponseHead(res, now)
	r.put(&head)
	return nil
}

// put puts together the head to send.
func (r *edgeRequest) put(head *h2.Response) {
	sized := head.Length >= 0 && head.Status != http.StatusNoContent
	count := 0
	for i := range head.Fields {
		if tells(&head.Fields[i]) {
			count++
		}
	}
	if sized {
		count++
	}
	if r.outFrom == nil {
		r.outFrom = r.server.outputs.get()
	}
	h := edgewire.BeginHead((*r.outFrom)[:0], head.Status, count, "")
	for i := range head.Fields {
		if field := &head.Fields[i]; tells(field) {
			h.Add(field.Name, field.Value)
		}
	}
	if sized {
		h.Add("Content-Length", strconv.FormatInt(head.Length, 10))
	}
	r.out = h.End()
}

// tells reports whether a field of a response goes to the edge as it is.
func tells(field *router.Field) bool {
	return !edgewire.Controls(field.Name) && (len(field.Name) != len("content-length") || !strings.EqualFold(field.Name, "content-length"))
}

// write implements downstream. It keeps p, as it may fit behind the head, and the end may
// follow.
func (r *edgeRequest) write(p []byte) error {
	var err error
	if len(r.pending) > 0 {
		err = r.send()
	}
	r.pending = p
	return err
}

// send writes the head and the payload that were kept.
func (r *edgeRequest) send() error {
	p := r.pending
	r.pending = nil
	if len(r.out) > 0 {
		if len(r.out)+len(p) <= cap(r.out) {
			r.out, p = append(r.out, p...), nil
		}
		err := r.writeOut(r.out)
		r.giveBackOut()
		if err != nil {
			return err
		}
	}
	return r.writeOut(p)
}

func (r *edgeRequest) writeOut(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	r.writeBy.within(time.Now(), r.server.settings.BodyTimeout, r.limit)
	_, err := r.stream.Write(p)
	return err
}

// end implements downstream. There are no trailers over QUIC.
func (r *edgeRequest) end([]h1.Field) error {
	r.over = true
	return nil
}

// flush implements downstream. The stream is ended at once, so that its end goes out with the
// last bytes.
func (r *edgeRequest) flush() error {
	err := r.send()
	if err == nil && r.over {
		r.heedless()
		err = r.stream.CloseWrite()
	}
	return err
}

func (r *edgeRequest) answer(a exchange.Answer, now time.Time) error {
	var head h2.Response
	head, r.pending = r.flight.AnsweredHead(a, now)
	r.put(&head)
	r.over = true
	return r.flush()
}

func (r *edgeRequest) gone() bool           { return !r.over && r.stream.Context().Err() != nil }
func (r *edgeRequest) draining() bool       { return false } // the control stream has told it
func (r *edgeRequest) finish()              {}
func (r *edgeRequest) abort(exchange.Cause) { r.aborted = true }

// upgrade implements downstream.
func (r *edgeRequest) upgrade(res *h1.Response) (conn net.Conn, pending []byte, err error) {
	fields := append(r.flight.SwitchFields(res),
		router.Field{Name: "Connection", Value: "Upgrade"}, router.Field{Name: "Upgrade", Value: res.Upgrade})
	r.put(&h2.Response{Status: http.StatusSwitchingProtocols, Fields: fields, Length: -1})
	if err := r.flush(); err != nil {
		return nil, nil, err
	}
	r.heedless() // from now on reading and writing tell
	_ = r.stream.SetDeadline(time.Time{})
	return r.stream, nil, nil
}
