package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// carrier is what a request came by that a library has read: a connection of HTTP/3, or
// an [Entry].
type carrier interface {
	// table is what the next request is routed by.
	table() *router.Table
	// leaves reports whether no more requests are wanted.
	leaves() bool
	// endedBy says why an exchange is over that has not come to its end.
	endedBy() exchange.Cause
	// bodyFault says why the body could not be read: an *h1.Error if it is malformed.
	bodyFault(err error) error
	// agree sends the head of a response that agrees to an upgrade, and returns the
	// stream that carries it from then on.
	agree(d *servedDownstream, res *h1.Response) (net.Conn, error)
}

// servedDownstream serves one exchange whose request was read by a library that serves
// HTTP, and whose response it writes.
type servedDownstream struct {
	carrier carrier
	server  *Server
	w       http.ResponseWriter
	control *http.ResponseController
	sent    *http.Request // as the library has read it
	offer   string        // the protocol that the client wants to go on with, or ""
	ctx     context.Context
	client  exchange.Client
	flight  flight
	request h1.Request
	headBuf *[]byte     // what request aliases, unless it was too small; it is lent
	ignore  func() bool // stops watching whether the client gives up

	// The request's body: buf[r:n] was read and not handed out yet. What was handed out
	// stays in buf until that is full, so that it can be sent again.
	buf     []byte
	bufFrom *[]byte // it is lent
	r, n    int
	total   int64 // bytes read
	lost    bool  // what was handed out cannot be handed out again
	failed  error // what next says after buf[:n]
	last    []h1.Field
	readBy  deadline
	stopped atomic.Bool

	limit   time.Time // no write may last beyond
	writeBy deadline
	aborted bool
	ended   bool // trailers stand in w's Header
	tunnel  net.Conn
}

func newServedDownstream(s *Server, c carrier, client exchange.Client, w http.ResponseWriter, r *http.Request) *servedDownstream {
	d := &servedDownstream{carrier: c, server: s, w: w, control: http.NewResponseController(w), sent: r, ctx: r.Context(), client: client}
	d.readBy = deadline{set: d.control.SetReadDeadline}
	d.writeBy = deadline{set: d.control.SetWriteDeadline}
	d.flight.init(s, d, &d.client)
	d.flight.Request = &d.request
	return d
}

// serve does the exchange, and reports whether the client got a whole response.
func (d *servedDownstream) serve() bool {
	f := &d.flight
	f.begin()
	f.switches = d.offer != ""
	d.ignore = context.AfterFunc(d.ctx, func() { f.cancel(d.carrier.endedBy()) })
	defer d.ignore()
	defer d.giveBack()
	if err := d.readHead(); err != nil {
		d.refuse(err)
		return !d.aborted
	}
	f.run(d.carrier.table())
	if d.tunnel != nil {
		_ = d.tunnel.Close() // it says nothing that matters by now
	}
	return !d.aborted
}

// refuse answers a head that is malformed or was not complete in time.
func (d *servedDownstream) refuse(err error) {
	switch bad, ok := errors.AsType[*h1.Error](err); {
	case ok:
		d.flight.refuse(exchange.Answer{Status: bad.Status, Cause: exchange.CauseBadRequest})
	case isTimeout(err):
		d.flight.refuse(exchange.CauseClientStalled.Answer())
	default:
		d.aborted = true
	}
}

func (d *servedDownstream) giveBack() {
	if d.bufFrom != nil {
		d.server.bodies.put(d.bufFrom)
		d.bufFrom, d.buf = nil, nil
	}
	if d.headBuf != nil {
		d.server.heads.put(d.headBuf)
		d.headBuf = nil
	}
}

// next implements downstream.
func (d *servedDownstream) next() ([]byte, error) {
	if d.r < d.n {
		data := d.buf[d.r:d.n]
		d.r = d.n
		return data, nil
	}
	return nil, d.failed
}

// await implements downstream.
func (d *servedDownstream) await(limit time.Duration) error {
	d.readBy.extend(time.Now(), limit)
	if d.stopped.Load() {
		return errInterrupted
	}
	return d.read()
}

// read reads more of the body, and returns when there is some, or an error for which
// isTimeout holds. Others are for next.
func (d *servedDownstream) read() error {
	if d.bufFrom == nil {
		d.bufFrom = d.server.bodies.get()
		d.buf = *d.bufFrom
	}
	if d.n == len(d.buf) {
		d.r, d.n, d.lost = 0, 0, true
	}
	for d.failed == nil {
		n, err := d.sent.Body.Read(d.buf[d.n:])
		d.n += n
		d.total += int64(n)
		switch {
		case isTimeout(err):
			// It may have stopped inside a frame's head, of which it remembers nothing.
			d.lost, d.failed = true, err
			return err
		case err == io.EOF:
			d.failed = d.takeTrailers()
		case err != nil:
			d.failed = d.carrier.bodyFault(err)
		}
		if d.failed == nil && d.total == d.sent.ContentLength {
			d.failed = io.EOF // without waiting for the end of the stream
		}
		if n > 0 {
			return nil
		}
	}
	return nil
}

// takeTrailers keeps the trailer section, which came with the end of the body.
func (d *servedDownstream) takeTrailers() error {
	d.last = d.last[:0]
	for _, name := range sortedNames(d.sent.Trailer) {
		for _, value := range d.sent.Trailer[name] {
			if !h1.ValidName(name) || !h1.ValidValue(value) {
				return &h1.Error{Status: http.StatusBadRequest, Reason: "trailer is malformed"}
			}
			if h1.Trailing(name) {
				d.last = append(d.last, h1.Field{Name: name, Value: value})
			}
		}
	}
	return io.EOF
}

func (d *servedDownstream) trailers() []h1.Field { return d.last }
func (d *servedDownstream) complete() bool       { return d.r == d.n && d.failed == io.EOF }
func (d *servedDownstream) replayable() bool     { return !d.lost }

func (d *servedDownstream) rewind() {
	d.r = 0
	d.resume()
}

// resume implements downstream. A read that was interrupted is lost, see read.
func (d *servedDownstream) resume() bool {
	if d.stopped.Swap(false) {
		d.readBy.forget()
	}
	return !isTimeout(d.failed)
}

func (d *servedDownstream) interrupt() {
	d.stopped.Store(true)
	_ = d.control.SetReadDeadline(past)
}

func (d *servedDownstream) bound(latest time.Time) { d.limit = latest }

// beforeWrite bounds the writes that follow.
func (d *servedDownstream) beforeWrite() {
	d.writeBy.within(time.Now(), d.server.settings.BodyTimeout, d.limit)
}

func (d *servedDownstream) interim(res *h1.Response) error {
	for field := range exchange.InterimFields(res) {
		d.add(field)
	}
	d.beforeWrite()
	d.w.WriteHeader(res.Status)
	clear(d.w.Header())
	return nil // the next write knows
}

// add adds a field to the head that is made. Names are such that the library sees no meaning
// in them other than it has to.
func (d *servedDownstream) add(field *router.Field) {
	name := textproto.CanonicalMIMEHeaderKey(field.Name)
	if name == "Trailer" {
		name = "trailer" // or the fields that it names would be taken for trailers
	}
	h := d.w.Header()
	h[name] = append(h[name], field.Value)
}

// addAll adds fields, and keeps the library from guessing a Content-Type.
func (d *servedDownstream) addAll(fields []router.Field) {
	for i := range fields {
		d.add(&fields[i])
	}
	if h := d.w.Header(); h["Content-Type"] == nil {
		h["Content-Type"] = nil
	}
}

func (d *servedDownstream) head(res *h1.Response, now time.Time) error {
	x := &d.flight.Exchange
	framing := x.Framing(res)
	d.addAll(x.ResponseFields(res, now))
	if framing == h1.Length {
		d.w.Header()["Content-Length"] = []string{strconv.FormatInt(res.Length, 10)}
	}
	d.w.WriteHeader(res.Status)
	return nil
}

// write implements downstream. The library keeps up to 4 KiB back until flush.
func (d *servedDownstream) write(p []byte) error {
	d.beforeWrite()
	_, err := d.w.Write(p)
	return err
}

// end implements downstream. Trailers go out when the stream is closed, after flush.
func (d *servedDownstream) end(trailers []h1.Field) error {
	if len(trailers) == 0 {
		return nil
	}
	if err := d.flush(); err != nil {
		return err
	}
	d.ended = true
	for _, field := range trailers {
		name := http.TrailerPrefix + field.Name // a copy, as those that head aliases may be gone by then
		d.w.Header()[name] = append(d.w.Header()[name], strings.Clone(field.Value))
	}
	return nil
}

func (d *servedDownstream) flush() error {
	d.beforeWrite()
	err := d.control.Flush()
	if !d.ended {
		clear(d.w.Header()) // it aliases buffers of the upstream, and the library looks at it later
	}
	return err
}

func (d *servedDownstream) answer(a exchange.Answer, now time.Time) error {
	x := &d.flight.Exchange
	fields, body := x.Answered(a, now)
	d.addAll(fields)
	if len(body) > 0 {
		d.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	d.w.WriteHeader(x.Report.Status)
	if len(body) > 0 && d.sent.Method != http.MethodHead {
		if err := d.write(body); err != nil {
			return err
		}
		x.Report.Sent = int64(len(body))
	}
	return d.flush()
}

func (d *servedDownstream) gone() bool     { return d.ctx.Err() != nil }
func (d *servedDownstream) draining() bool { return d.carrier.leaves() }

// finish implements downstream. The library tells the client that the rest of its body is not
// wanted.
func (d *servedDownstream) finish() {}

// abort implements downstream: the stream is reset.
func (d *servedDownstream) abort(exchange.Cause) { d.aborted = true }

// upgrade implements downstream.
func (d *servedDownstream) upgrade(res *h1.Response) (conn net.Conn, pending []byte, err error) {
	d.beforeWrite()
	conn, err = d.carrier.agree(d, res)
	if err != nil {
		return nil, nil, err
	}
	d.ignore() // from now on reading and writing tell
	_ = conn.SetDeadline(time.Time{})
	d.tunnel = conn
	return conn, nil, nil
}
