package proxy

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// flight is the exchange in flight on a connection, used again for the next: what
// it means is the [exchange.Exchange], and the rest is what moving its bytes needs.
type flight struct {
	exchange.Exchange

	c *connection

	// deadline ends the exchange, attemptBy the attempt at an upstream; far away
	// when there is none.
	deadline  time.Time
	attemptBy time.Time

	body     requestBody
	tried    []*router.Endpoint
	up       *upstream
	response h1.Response
	payload  h1.Body // of the response
	res      input   // bytes from the upstream
	limited  io.LimitedReader
	out      []byte  // bytes for the client
	resFrom  *[]byte // the pooled buffers of res and out
	outFrom  *[]byte

	sent      time.Time // when the head of the attempt went upstream
	progress  time.Time // when the upstream was last known to do something
	answered  bool      // a final status is decided, and maybe sent
	responded bool      // the upstream sent something in this attempt
	continued bool      // the client does not wait for 100 (Continue)
	unsent    bool      // nothing of this attempt reached the upstream
	cut       bool      // only a part of what came first in this attempt did
	closed    bool      // the upstream has finished sending, in order
	ended     bool      // the response was sent to its end
}

// init readies f for the life of a connection.
func (f *flight) init(c *connection) {
	f.c = c
	f.Settings = &c.server.settings
	f.Client = &c.client
	f.Dates = &c.server.dates
	f.Pressure = &c.server.pressure
	f.Request = &c.request
	f.body.f = f
}

// run does one exchange, and reports whether another may follow.
func (f *flight) run() bool {
	f.begin()
	defer f.releaseBuffers()
	err := f.c.readHead()
	f.borrowBuffers()
	if err != nil {
		f.refuseHead(err)
		return false
	}
	f.start()
	f.decide()
	f.finish()
	return f.Keep
}

// begin forgets the exchange before.
func (f *flight) begin() {
	f.Forget()
	f.up = nil
	f.answered, f.responded, f.ended = false, false, false
	f.tried = f.tried[:0]
	f.body.reset()
}

// borrowBuffers gets what the exchange reads and writes through. It does so once
// the head is there, since a client can take its time for that.
func (f *flight) borrowBuffers() {
	f.resFrom = f.c.server.bodies.get()
	f.outFrom = f.c.server.outputs.get()
	f.res = newInput(*f.resFrom)
	f.out = (*f.outFrom)[:0]
}

// releaseBuffers gives the buffers back, if that was not done before.
func (f *flight) releaseBuffers() {
	if f.resFrom == nil {
		return
	}
	f.c.server.bodies.put(f.resFrom)
	f.c.server.outputs.put(f.outFrom)
	f.resFrom, f.outFrom = nil, nil
	f.res, f.out = input{}, nil
}

// start notes what the head says.
func (f *flight) start() {
	now := time.Now()
	f.Begin(now)
	f.deadline = now.Add(exchange.Forever)
	f.attemptBy = f.deadline
	f.continued = !f.Request.Expect100
	f.body.start()
}

// refuseHead answers a head that could not be read, if there is a point in it.
func (f *flight) refuseHead(err error) {
	f.Report.Start = time.Now()
	if bad, ok := errors.AsType[*h1.Error](err); ok {
		f.answer(exchange.Answer{Status: bad.Status, Cause: exchange.CauseBadRequest})
	} else if isTimeout(err) && !f.c.draining.Load() {
		f.answer(exchange.CauseClientStalled.Answer())
	} else {
		return
	}
	f.observe()
	f.c.linger()
}

// decide finds the Rule and does what it says.
func (f *flight) decide() {
	answer := f.Decide(f.c.socket.table())
	f.deadline = f.Deadline()
	if answer.Status != 0 {
		f.answer(answer)
		return
	}
	f.forward()
}

// finish ends the exchange on the downstream side: what is left of the request
// body is read or given up, and the connection is ready for the next request.
func (f *flight) finish() {
	if !f.ended {
		f.Keep = false
	}
	f.observe()
	if f.Keep {
		f.body.settle()
	}
	if f.ended && !f.Keep && f.sendsOn() {
		f.c.linger()
	}
}

// sendsOn reports whether the client may still be sending: the rest of its body,
// or requests behind this one, since it does not expect us to close.
func (f *flight) sendsOn() bool {
	if f.Report.Status == http.StatusSwitchingProtocols {
		return false
	}
	return !f.body.complete() || f.Request.KeepAlive
}

func (f *flight) observe() { f.Observe(f.body.received.Load(), time.Now()) }

// write sends f.out and then p to the client.
func (f *flight) write(p []byte) exchange.Cause {
	if len(f.out) > 0 {
		if len(p) > 0 && len(p) <= cap(f.out)-len(f.out) {
			f.out = append(f.out, p...)
			p = nil
		}
		if cause := f.send(f.out); cause != exchange.CauseNone {
			return cause
		}
		f.out = f.out[:0]
	}
	if len(p) > 0 {
		return f.send(p)
	}
	return exchange.CauseNone
}

func (f *flight) send(p []byte) exchange.Cause {
	c := f.c
	c.writeBy.within(time.Now(), f.Settings.BodyTimeout, f.deadline)
	_, err := c.conn.Write(p)
	switch {
	case err == nil:
		return exchange.CauseNone
	case !isTimeout(err):
		return exchange.CauseClientGone
	case time.Now().Before(f.deadline):
		return exchange.CauseClientStalled
	default:
		return exchange.CauseTimeout
	}
}
