package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// h1Downstream serves HTTP/1.1 on a connection, one exchange after the other.
type h1Downstream struct {
	c       *connection
	flight  flight
	request h1.Request
	headed  bool // a head was sent

	// The request's body: first what was read together with the head, then what await
	// reads into more.
	decoder  h1.Body
	begun    bool    // next was called
	used     int     // bytes of the connection's unread input that belong to the body
	more     input   // what await has read; its buffer is lent
	moreFrom *[]byte // that buffer
	touched  bool    // await has read something
	stopped  atomic.Bool
	pace     exchange.Pace

	limit   time.Time // no write may last beyond
	framing h1.Framing
	out     []byte  // to be sent
	outFrom *[]byte // its buffer, which is lent
	limited io.LimitedReader
}

func newH1Downstream(c *connection) *h1Downstream {
	d := &h1Downstream{c: c}
	d.flight.init(c.server, d, &c.client)
	d.flight.Request = &d.request
	return d
}

// serve does one exchange, and reports whether another may follow.
func (d *h1Downstream) serve() bool {
	f := &d.flight
	f.begin()
	d.begun, d.used, d.touched, d.headed = false, 0, false, false
	d.pace = exchange.Pace{}
	d.decoder.Reset(h1.NoBody, 0, f.Settings.Limits)
	defer d.giveBack()
	if err := d.c.readHead(&d.request); err != nil {
		d.refuse(err)
		return false
	}
	f.run(d.c.socket.table())
	return f.Keep
}

// refuse answers a head that could not be read, if there is a point in it.
func (d *h1Downstream) refuse(err error) {
	// Where the next request would begin is unknown.
	d.request.KeepAlive = true
	if bad, ok := errors.AsType[*h1.Error](err); ok {
		d.flight.refuse(exchange.Answer{Status: bad.Status, Cause: exchange.CauseBadRequest})
	} else if isTimeout(err) && !d.c.draining.Load() {
		d.flight.refuse(exchange.CauseClientStalled.Answer())
	}
}

// next implements downstream.
func (d *h1Downstream) next() ([]byte, error) {
	d.begun = true
	for !d.decoder.Done() {
		n, data, err := d.decoder.Next(d.ahead())
		if d.touched {
			d.more.r += n
		} else {
			d.used += n
		}
		if len(data) > 0 || err != nil {
			return data, err
		}
		if n == 0 {
			return nil, nil
		}
	}
	return nil, io.EOF
}

// ahead returns what was read and may belong to the body.
func (d *h1Downstream) ahead() []byte {
	if d.touched {
		return d.more.unread()
	}
	return d.c.in.unread()[d.used:]
}

// await implements downstream.
func (d *h1Downstream) await(limit time.Duration) error {
	c := d.c
	start := time.Now()
	c.readBy.extend(start, limit)
	if d.stopped.Load() {
		return errInterrupted
	}
	if err := d.read(); err != nil {
		return err
	}
	if d.pace.Waited(time.Since(start), d.more.w, c.server.settings.MinBodyRate) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// read reads more of the body.
func (d *h1Downstream) read() error {
	if d.moreFrom == nil {
		d.moreFrom = d.c.server.bodies.get()
		d.more = newInput(*d.moreFrom)
	}
	n, err := d.c.conn.Read(d.more.buf)
	if n == 0 {
		return err
	}
	d.more.r, d.more.w = 0, n // next has used up what was there
	d.touched = true
	return nil
}

var errInterrupted = errors.New("interrupted")

func (d *h1Downstream) trailers() []h1.Field { return d.decoder.Trailers() }
func (d *h1Downstream) complete() bool       { return d.decoder.Done() }
func (d *h1Downstream) replayable() bool     { return !d.touched }

func (d *h1Downstream) rewind() {
	r := &d.request
	d.decoder.Reset(r.Framing, r.Length, d.c.server.settings.Limits)
	d.begun, d.used = false, 0
	d.resume()
}

func (d *h1Downstream) resume() bool {
	if d.stopped.Swap(false) {
		d.c.readBy.forget()
	}
	return true
}

func (d *h1Downstream) interrupt() {
	d.stopped.Store(true)
	_ = d.c.conn.SetReadDeadline(past)
}

func (d *h1Downstream) bound(latest time.Time) { d.limit = latest }

// room returns where to append what is to be sent.
func (d *h1Downstream) room() []byte {
	if d.outFrom == nil {
		d.outFrom = d.c.server.outputs.get()
		d.out = (*d.outFrom)[:0]
	}
	return d.out
}

func (d *h1Downstream) giveBack() {
	d.giveBackOut()
	if d.moreFrom != nil {
		d.c.server.bodies.put(d.moreFrom)
		d.moreFrom, d.more = nil, input{}
	}
}

func (d *h1Downstream) giveBackOut() {
	if d.outFrom != nil {
		d.c.server.outputs.put(d.outFrom)
		d.outFrom, d.out = nil, nil
	}
}

func (d *h1Downstream) interim(res *h1.Response) error {
	d.out = exchange.AppendInterim(d.room(), res)
	return d.flush()
}

func (d *h1Downstream) head(res *h1.Response, now time.Time) error {
	x := &d.flight.Exchange
	d.headed = true
	d.framing = x.Framing(res)
	d.out = x.AppendResponse(d.room(), res, d.framing, now)
	return nil
}

// write implements downstream. Small pieces go out together with what waits for
// flush, others by themselves.
func (d *h1Downstream) write(p []byte) error {
	chunked := d.framing == h1.Chunked
	if len(d.out) > 0 && cap(d.out)-len(d.out) < len(p)+chunkOverhead {
		if err := d.flush(); err != nil {
			return err
		}
	}
	switch {
	case chunked:
		d.out = h1.AppendChunk(d.room(), p)
		return nil
	case len(d.out) > 0:
		d.out = append(d.out, p...)
		return nil
	}
	return d.send(p)
}

// chunkOverhead bounds the bytes of framing around a chunk.
const chunkOverhead = 16 + 2*len("\r\n")

func (d *h1Downstream) end(trailers []h1.Field) error {
	if d.framing == h1.Chunked {
		d.out = h1.AppendLastChunk(d.room(), trailers)
	}
	return nil
}

func (d *h1Downstream) flush() error {
	if len(d.out) == 0 {
		return nil
	}
	err := d.send(d.out)
	d.out = d.out[:0]
	return err
}

func (d *h1Downstream) send(p []byte) error {
	c := d.c
	c.writeBy.within(time.Now(), c.server.settings.BodyTimeout, d.limit)
	_, err := c.conn.Write(p)
	return err
}

func (d *h1Downstream) answer(a exchange.Answer, now time.Time) error {
	d.out = d.flight.AppendAnswer(d.room(), a, now)
	return d.flush()
}

func (d *h1Downstream) upgrade(res *h1.Response) (conn net.Conn, pending []byte, err error) {
	d.out = d.flight.AppendSwitch(d.room(), res)
	if err := d.flush(); err != nil {
		return nil, nil, err
	}
	d.c.readBy.exactly(time.Time{})
	pending = append([]byte(nil), d.ahead()...) // sent behind the request
	d.giveBack()                                // the relay may last, and has smaller buffers
	return d.c.conn, pending, nil
}

func (d *h1Downstream) gone() bool     { return d.c.gone() }
func (d *h1Downstream) draining() bool { return d.c.draining.Load() }

// finish implements downstream: it readies the connection for the next request, or
// sees to it that the client gets all of the response before the connection ends.
func (d *h1Downstream) finish() {
	f := &d.flight
	d.giveBackOut() // what follows may take its time
	if f.Keep {
		f.Keep = d.settle()
	}
	if !f.Keep && d.sendsOn() {
		d.c.linger()
	}
}

// sendsOn reports whether the client may still be sending: the rest of its body, or
// requests behind this one, since it does not expect us to close.
func (d *h1Downstream) sendsOn() bool {
	return d.flight.Report.Status != http.StatusSwitchingProtocols && (!d.complete() || d.request.KeepAlive)
}

// settle takes the body out of the connection's input after the response, and reads on
// to its end if that is not far. It reports whether that was reached.
func (d *h1Downstream) settle() bool {
	c := d.c
	if !d.skip() {
		return false
	}
	if !d.complete() {
		c.readBy.exactly(time.Now().Add(exchange.LingerTimeout))
	}
	for total := 0; !d.complete(); {
		if total >= maxSettle {
			return false
		}
		n, err := d.readOn()
		if err != nil || !d.skip() {
			return false
		}
		total += n
	}
	c.in.r += d.used
	if d.touched {
		c.in.push(d.more.unread())
	}
	return true
}

// readOn reads more of a body that is skipped, in as little memory as there is: what was
// read before is not needed any more.
func (d *h1Downstream) readOn() (int, error) {
	if d.touched {
		err := d.read()
		return d.more.w, err
	}
	c := d.c
	c.in.r += d.used
	d.used = 0
	c.in.compact()
	n, err := c.conn.Read(c.in.room())
	c.in.w += n
	if n > 0 {
		err = nil
	}
	return n, err
}

// skip throws away what is there of the body, and reports whether it is sound.
func (d *h1Downstream) skip() bool {
	for {
		data, err := d.next()
		if err != nil {
			return err == io.EOF
		}
		if len(data) == 0 {
			return true
		}
	}
}

// abort implements downstream. A client takes what it has for all of a body that lasts
// until the connection closes, so it has to see a reset.
func (d *h1Downstream) abort(exchange.Cause) {
	if d.headed && d.framing == h1.UntilClose {
		d.c.reset()
	}
}
