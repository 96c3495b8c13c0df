//go:build linux

package loop

import (
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
	"github.com/lintel-dev/lintel/router"
)

// call is the server's side of an exchange over HTTP/2: a stream of a trunk. A trunk uses
// it again.
type call struct {
	outflow // the request
	entry
	t        *trunk
	flight   *flight
	kept     bool // the connection had served before
	endsSoon bool // the request is its head alone
	socket   exchange.WebSocket

	waitsFor *router.Backend // that counts the wait for the connection; nil after it

	heads   []h2.Response // that have come: interim ones and the final one
	fields  []h1.Field    // of those
	arrived []byte        // payload that was not passed on
	trailer []h1.Field
	ended   bool // the endpoint has sent all
	fate    fate // and whether the stream is over before that
	shut    bool // nothing more is taken
	waits   bool // it is in t.waiters
}

// fate is what has become of a stream.
type fate uint8

const (
	alive   fate = iota
	reset        // by the endpoint, or with the connection
	refused      // the endpoint has done nothing with it (RFC 9113 §8.7)
	invalid      // what came was malformed
)

func (c *call) to() *router.Endpoint         { return c.t.endpoint }
func (c *call) served() bool                 { return c.kept }
func (c *call) chunks() bool                 { return false }
func (c *call) appendHead(dst []byte) []byte { return dst }
func (c *call) deaf() bool                   { return c.shut }
func (c *call) release()                     {}

// waited implements server.
func (c *call) waited() {
	if c.waitsFor != nil {
		c.waitsFor.ReleasePending()
		c.waitsFor = nil
	}
}

// begin opens the stream.
func (c *call) begin(out []byte) begun {
	t, f := c.t, c.flight
	c.kept = t.served
	if t.fd < 0 {
		return begunNothing
	}
	f.RequestHead(&t.head, "http", t.endpoint.Addr, c.socket)
	id, err := t.codec.OpenRequest(&t.head)
	if err != nil {
		return begunNothing
	}
	c.restart(id)
	c.endsSoon = t.head.End || c.socket.Key != ""
	t.adopt(c)
	switch {
	case !c.endsSoon && !c.send(out):
		return begunCut
	case c.pending() > 0:
		return begunPart
	}
	return begunWhole
}

// send implements server.
func (c *call) send(p []byte) bool {
	if c.shut {
		return false
	}
	f := c.flight
	last := open
	if f.stage != tunnelling && f.body.complete() {
		last = closing
		if c.trails = f.down.trailers(); len(c.trails) > 0 {
			last = trailing
		}
	}
	return c.write(p, last)
}

func (c *call) write(p []byte, last ending) bool {
	c.t.soil()
	if !c.push(p, last, c.t.loop.now) {
		c.deafen()
		return false
	}
	c.block()
	return true
}

// block waits for room, if something waits for that.
func (c *call) block() {
	if c.pending() > 0 {
		c.t.block(c)
	}
}

func (c *call) deafen() {
	c.shut = true
	c.waiting = c.waiting[:0]
}

// reset implements server: close does so over HTTP/2.
func (c *call) reset() {}

func (c *call) closeWrite() {
	if !c.shut {
		c.write(nil, closing)
	}
}

// The reader of the trunk notes what comes.

// gotHead notes a head.
func (c *call) gotHead(e *h2.Event) {
	if len(c.heads) > maxInterim {
		c.t.codec.Reset(c.id, h2.EnhanceYourCalm)
		c.over(invalid)
		return
	}
	head := *e.Response
	at := len(c.fields)
	c.fields = append(c.fields, head.Fields...)
	head.Fields = c.fields[at:len(c.fields):len(c.fields)]
	c.heads = append(c.heads, head)
	c.ended = c.ended || e.End
}

// gotPayload notes payload, and maybe the end.
func (c *call) gotPayload(e *h2.Event) {
	c.arrived = append(c.arrived, e.Data...)
	c.trailer = append(c.trailer, e.Fields...)
	c.ended = c.ended || e.End
}

// over notes that the stream is over.
func (c *call) over(why fate) {
	if c.fate == alive {
		c.fate = why
		c.deafen()
	}
}

// goOn lets the flight go on after that.
func (c *call) goOn() {
	if c.pending() > 0 {
		c.t.soil()
		if _, ok := c.pushOn(c.t.loop.now); !ok {
			c.deafen()
		}
		c.block()
	}
	c.flight.upstreamReady()
}

// The flight takes it.

// receive implements server.
func (c *call) receive() {
	f := c.flight
	for f.stage == awaiting && len(c.heads) > 0 {
		if f.down.pending() > 0 {
			return
		}
		if !c.takeHead() {
			return
		}
	}
	if f.stage != awaiting && (len(c.arrived) > 0 || c.ended) && !f.payload.Done() {
		if f.down.pending() > 0 {
			return
		}
		f.progress = f.loop.now
		if !c.pass(payload) {
			return
		}
	}
	if c.fate != alive {
		c.fail()
	}
}

// fail ends the attempt, as the stream is over before its end.
func (c *call) fail() {
	f := c.flight
	cause := exchange.CauseUpstreamReset
	switch c.fate {
	case refused:
		f.unsent = true
	case invalid:
		cause = exchange.CauseUpstreamInvalid
	}
	f.attemptFails(cause)
}

// takeHead acts on the first head, and reports whether to go on.
func (c *call) takeHead() bool {
	f := c.flight
	f.responded = true
	f.response.Reset()
	exchange.TranslateResponse(&f.response, &c.heads[0], f.request.Method, c.socket)
	c.heads = append(c.heads[:0], c.heads[1:]...)
	switch f.judge() {
	case headRefused:
		return false
	case headAgrees:
		return f.open(nil)
	case headFinal:
		f.translates = f.web != exchange.NoGRPCWeb && f.TranslateGRPC(&f.response)
		f.respond()
		f.payload.Reset(h1.UntilClose, 0, f.Settings.Limits)
		return c.pass(headToo)
	}
	return true
}

// pass passes on what has arrived, and reports whether more is to come. Where the payload
// ends is known once the endpoint has said so, whatever Content-Length says.
func (c *call) pass(what part) bool {
	f := c.flight
	data := c.arrived
	c.arrived = data[:0]
	c.t.consumed(c.id, len(data))
	if f.translates {
		sent := len(data)
		if data = f.encoded(data); c.ended {
			data = append(data, f.encoded(exchange.WebTrailers(f.ResponseTrailers(c.trailer, &f.response)))...)
		}
		f.Report.Sent -= int64(len(data) - sent) // which counts what came
	}
	if c.ended {
		f.payload.Reset(h1.Length, int64(len(data)), f.Settings.Limits)
	}
	return f.passOn(data, what)
}

// trailers implements server.
func (c *call) trailers() []h1.Field {
	f := c.flight
	if f.translates {
		return nil
	}
	c.trailer = f.ResponseTrailers(c.trailer, &f.response)
	return c.trailer
}

// put ends the call. Its stream is over, unless the endpoint wants to hear no more.
func (c *call) put() { c.close() }

// close implements server.
func (c *call) close() {
	if c.flight == nil {
		return
	}
	c.flight = nil
	c.waited()
	t := c.t
	if c.id != 0 {
		delete(t.calls, c.id)
		t.codec.Reset(c.id, h2.Cancel)
		t.consumed(c.id, len(c.arrived))
	}
	t.left(c)
}
