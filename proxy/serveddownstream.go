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
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// servedDownstream serves one exchange over HTTP/3, whose request was read by the library, and
// whose response it writes.
type servedDownstream struct {
	readBody
	conn    *h3Connection
	w       http.ResponseWriter
	control *http.ResponseController
	sent    *http.Request      // as the library has read it
	offer   string             // the protocol that the client wants to go on with, or ""
	socket  exchange.WebSocket // that this is
	ctx     context.Context
	client  exchange.Client
	flight  flight
	request h1.Request
	headBuf *[]byte     // what request aliases, unless it was too small; it is lent
	ignore  func() bool // stops watching whether the client gives up

	limit   time.Time // no write may last beyond
	writeBy deadline
	aborted bool
	closing bool // trailers stand in w's Header
	tunnel  net.Conn
}

func newServedDownstream(c *h3Connection, w http.ResponseWriter, r *http.Request) *servedDownstream {
	d := &servedDownstream{conn: c, w: w, control: http.NewResponseController(w), sent: r, ctx: r.Context(), client: c.client()}
	d.init(c.server, d.bodyEnded, d.control.SetReadDeadline)
	d.from, d.length = r.Body, r.ContentLength
	d.writeBy = deadline{set: d.control.SetWriteDeadline}
	d.flight.init(c.server, d, &d.client)
	d.flight.Request = &d.request
	return d
}

// serve does the exchange, and reports whether the client got a whole response.
func (d *servedDownstream) serve() bool {
	f := &d.flight
	f.begin()
	f.switches = d.offer != ""
	d.ignore = context.AfterFunc(d.ctx, func() { f.cancel(d.conn.endedBy()) })
	defer d.ignore()
	defer d.giveBack()
	if err := d.readHead(); err != nil {
		d.refuse(err)
		return !d.aborted
	}
	f.run(d.conn.socket.table())
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
	d.forget()
	if d.headBuf != nil {
		d.server.heads.put(d.headBuf)
		d.headBuf = nil
	}
}

// bodyEnded says what an error of the body means.
func (d *servedDownstream) bodyEnded(err error) error {
	if err == io.EOF {
		return d.takeTrailers()
	}
	return d.conn.bodyFault(err)
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
	d.closing = true
	for _, field := range trailers {
		name := http.TrailerPrefix + field.Name // a copy, as those that head aliases may be gone by then
		d.w.Header()[name] = append(d.w.Header()[name], strings.Clone(field.Value))
	}
	return nil
}

func (d *servedDownstream) flush() error {
	d.beforeWrite()
	err := d.control.Flush()
	if !d.closing {
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
func (d *servedDownstream) draining() bool { return d.conn.draining.Load() }

// finish implements downstream. The library tells the client that the rest of its body is not
// wanted.
func (d *servedDownstream) finish() {}

// abort implements downstream: the stream is reset.
func (d *servedDownstream) abort(exchange.Cause) { d.aborted = true }

// upgrade implements downstream.
func (d *servedDownstream) upgrade(res *h1.Response) (conn net.Conn, pending []byte, err error) {
	d.beforeWrite()
	conn, err = d.conn.agree(d, res)
	if err != nil {
		return nil, nil, err
	}
	d.ignore() // from now on reading and writing tell
	_ = conn.SetDeadline(time.Time{})
	d.tunnel = conn
	return conn, nil, nil
}
