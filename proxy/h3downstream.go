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

	"github.com/quic-go/quic-go/http3"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// h3Downstream serves one exchange on a stream of an HTTP/3 connection.
type h3Downstream struct {
	c       *h3Connection
	w       http.ResponseWriter
	control *http.ResponseController
	sent    *http.Request // as http3 has read it
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
	tunnel  *h3Tunnel
}

func newH3Downstream(c *h3Connection, w http.ResponseWriter, r *http.Request) *h3Downstream {
	d := &h3Downstream{c: c, w: w, control: http.NewResponseController(w), sent: r, ctx: r.Context(), client: c.client()}
	d.readBy = deadline{set: d.control.SetReadDeadline}
	d.writeBy = deadline{set: d.control.SetWriteDeadline}
	d.flight.init(c.server, d, &d.client)
	d.flight.Request = &d.request
	return d
}

// serve does the exchange, and reports whether the client got a whole response.
func (d *h3Downstream) serve() bool {
	f := &d.flight
	f.begin()
	d.ignore = context.AfterFunc(d.ctx, func() { f.cancel(d.c.endedBy()) })
	defer d.ignore()
	defer d.giveBack()
	if err := d.readHead(); err != nil {
		d.refuse(err)
		return !d.aborted
	}
	f.run(d.c.socket.table())
	if d.tunnel != nil {
		_ = d.tunnel.Close() // it says nothing that matters by now
	}
	return !d.aborted
}

// refuse answers a head that is malformed or was not complete in time.
func (d *h3Downstream) refuse(err error) {
	switch bad, ok := errors.AsType[*h1.Error](err); {
	case ok:
		d.flight.refuse(exchange.Answer{Status: bad.Status, Cause: exchange.CauseBadRequest})
	case isTimeout(err):
		d.flight.refuse(exchange.CauseClientStalled.Answer())
	default:
		d.aborted = true
	}
}

func (d *h3Downstream) giveBack() {
	if d.bufFrom != nil {
		d.c.server.bodies.put(d.bufFrom)
		d.bufFrom, d.buf = nil, nil
	}
	if d.headBuf != nil {
		d.c.server.heads.put(d.headBuf)
		d.headBuf = nil
	}
}

// next implements downstream.
func (d *h3Downstream) next() ([]byte, error) {
	if d.r < d.n {
		data := d.buf[d.r:d.n]
		d.r = d.n
		return data, nil
	}
	return nil, d.failed
}

// await implements downstream.
func (d *h3Downstream) await(limit time.Duration) error {
	d.readBy.extend(time.Now(), limit)
	if d.stopped.Load() {
		return errInterrupted
	}
	return d.read()
}

// read reads more of the body, and returns when there is some, or an error for which
// isTimeout holds. Others are for next.
func (d *h3Downstream) read() error {
	if d.bufFrom == nil {
		d.bufFrom = d.c.server.bodies.get()
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
			d.failed = bodyFault(err)
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

// bodyFault tells a malformed body from a client that has given up.
func bodyFault(err error) error {
	if _, ok := errors.AsType[*http3.Error](err); ok {
		return err
	}
	if errors.Is(err, net.ErrClosed) { // so says QUIC of every end of a connection
		return err
	}
	return &h1.Error{Status: http.StatusBadRequest, Reason: "body is malformed"}
}

// takeTrailers keeps the trailer section, which came with the end of the body.
func (d *h3Downstream) takeTrailers() error {
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

func (d *h3Downstream) trailers() []h1.Field { return d.last }
func (d *h3Downstream) complete() bool       { return d.r == d.n && d.failed == io.EOF }
func (d *h3Downstream) replayable() bool     { return !d.lost }

func (d *h3Downstream) rewind() {
	d.r = 0
	d.resume()
}

// resume implements downstream. A read that was interrupted is lost, see read.
func (d *h3Downstream) resume() bool {
	if d.stopped.Swap(false) {
		d.readBy.forget()
	}
	return !isTimeout(d.failed)
}

func (d *h3Downstream) interrupt() {
	d.stopped.Store(true)
	_ = d.control.SetReadDeadline(past)
}

func (d *h3Downstream) bound(latest time.Time) { d.limit = latest }

// beforeWrite bounds the writes that follow.
func (d *h3Downstream) beforeWrite() {
	d.writeBy.within(time.Now(), d.c.server.settings.BodyTimeout, d.limit)
}

func (d *h3Downstream) interim(res *h1.Response) error {
	for field := range exchange.InterimFields(res) {
		d.add(field)
	}
	d.beforeWrite()
	d.w.WriteHeader(res.Status)
	clear(d.w.Header())
	return nil // the next write knows
}

// add adds a field to the head that is made. Names are such that http3 sees no meaning
// in them other than it has to.
func (d *h3Downstream) add(field *router.Field) {
	name := textproto.CanonicalMIMEHeaderKey(field.Name)
	if name == "Trailer" {
		name = "trailer" // or the fields that it names would be taken for trailers
	}
	h := d.w.Header()
	h[name] = append(h[name], field.Value)
}

// addAll adds fields, and keeps http3 from guessing a Content-Type.
func (d *h3Downstream) addAll(fields []router.Field) {
	for i := range fields {
		d.add(&fields[i])
	}
	if h := d.w.Header(); h["Content-Type"] == nil {
		h["Content-Type"] = nil
	}
}

func (d *h3Downstream) head(res *h1.Response, now time.Time) error {
	x := &d.flight.Exchange
	framing := x.Framing(res)
	d.addAll(x.ResponseFields(res, now))
	if framing == h1.Length {
		d.w.Header()["Content-Length"] = []string{strconv.FormatInt(res.Length, 10)}
	}
	d.w.WriteHeader(res.Status)
	return nil
}

// write implements downstream. http3 keeps up to 4 KiB back until flush.
func (d *h3Downstream) write(p []byte) error {
	d.beforeWrite()
	_, err := d.w.Write(p)
	return err
}

// end implements downstream. Trailers go out when the stream is closed, after flush.
func (d *h3Downstream) end(trailers []h1.Field) error {
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

func (d *h3Downstream) flush() error {
	d.beforeWrite()
	err := d.control.Flush()
	if !d.ended {
		clear(d.w.Header()) // it aliases buffers of the upstream, and http3 looks at it later
	}
	return err
}

func (d *h3Downstream) answer(a exchange.Answer, now time.Time) error {
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

func (d *h3Downstream) gone() bool     { return d.ctx.Err() != nil }
func (d *h3Downstream) draining() bool { return d.c.draining.Load() }

// finish implements downstream. http3 tells the client that the rest of its body is not
// wanted.
func (d *h3Downstream) finish() {}

// abort implements downstream: the stream is reset.
func (d *h3Downstream) abort(exchange.Cause) { d.aborted = true }

// upgrade implements downstream: it accepts an extended CONNECT (RFC 9220).
func (d *h3Downstream) upgrade(res *h1.Response) (conn net.Conn, pending []byte, err error) {
	for _, field := range d.flight.SwitchFields(res) {
		if !strings.EqualFold(field.Name, "Sec-WebSocket-Accept") { // which is about our key
			d.add(&field)
		}
	}
	d.beforeWrite()
	d.w.WriteHeader(http.StatusOK)
	streamer, ok := d.w.(http3.HTTPStreamer)
	if !ok {
		return nil, nil, errors.ErrUnsupported
	}
	stream, err := streamer.HTTPStream()
	if err != nil {
		return nil, nil, err
	}
	d.ignore() // from now on reading and writing tell
	_ = stream.SetDeadline(time.Time{})
	d.tunnel = &h3Tunnel{Stream: stream, conn: d.c.conn}
	return d.tunnel, nil, nil
}
