//go:build linux

package loop

import (
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// flight is the exchange in flight on a client connection: what it means is the
// [exchange.Exchange], and the rest is what moving its bytes needs. A loop lends
// flights out. Times are those of the loop.
//
// A method that ends the exchange, or may do so, is the last thing that its caller
// does with the flight, or stage is looked at after it.
type flight struct {
	exchange.Exchange

	loop     *loop
	down     client
	wire     *downstream // down, if that is an HTTP/1.1 connection
	timer    *timer
	own      timer  // the timer of a stream
	up       server // nil while there is no attempt
	request  h1.Request
	response h1.Response
	body     requestBody
	plain    h1Body     // of HTTP/1.1
	payload  h1.Body    // of the response
	framing  h1.Framing // how the client learns where that ends
	tried    []*router.Endpoint
	pipe     pipe
	piped    int       // bytes in pipe
	spliced  *upstream // up, while pipe is used

	web        exchange.GRPCWeb // what the client speaks, if that is not what the upstream does
	coded      exchange.Base64  // of the request, with exchange.GRPCWebText
	translates bool             // the response is one of gRPC, and web is set

	stage stage
	// deadline ends the exchange, attemptBy the attempt at an upstream, stageBy the
	// stages that have a limit of their own; never when there is none.
	deadline  int64
	attemptBy int64
	stageBy   int64
	progress  int64 // when the upstream was last known to do something
	interims  int   // 1xx responses of this attempt

	continued bool // the client does not wait for 100 (Continue)
	headless  bool // there was no proper request
	answered  bool // a final status is decided, and maybe sent
	responded bool // the upstream sent something in this attempt
	unsent    bool // nothing of this attempt reached the upstream
	cut       bool // only a part of what came first in this attempt reached it
	sending   bool // the upstream has not taken everything yet
	surplus   bool // bytes came behind the response
	done      bool // the response was made to its end
	told      bool // the upstream of a tunnel knows that the client has ended
}

// stage is how far an exchange has come.
type stage uint8

const (
	over       stage = iota // the flight is in nobody's hands, or about to leave
	connecting              // waits for a connection
	awaiting                // ... for the head of the response
	delivering              // ... for more of its body
	splicing                // as delivering, see splice.go
	uploading               // the response is sent, the request's body is not
	flushing                // waits for the client to take the rest
	tunnelling              // both sides speak another protocol, see tunnel.go
)

// keptFlights bounds the free flights of a loop: as many as heads.
const keptFlights = keptBytes / headSize

// borrow returns a flight for a connection's next request.
func (l *loop) borrow(down client, client *exchange.Client) *flight {
	var f *flight
	if last := len(l.flights) - 1; last >= 0 {
		f = l.flights[last]
		l.flights[last] = nil
		l.flights = l.flights[:last]
	} else {
		f = &flight{loop: l}
		f.Settings = l.settings
		f.Dates = l.config.Dates
		f.Pressure = l.config.Pressure
		f.Request = &f.request
		f.body.f = f
		f.own.at = never
		f.own.fire = f.expire
	}
	f.down = down
	f.Client = client
	f.timer = &f.own
	f.Forget()
	f.headless, f.answered, f.done = false, false, false
	f.tried = f.tried[:0]
	f.body.reset()
	f.deadline, f.attemptBy, f.stageBy = never, never, never
	f.web, f.translates = exchange.NoGRPCWeb, false
	return f
}

// giveBack takes a flight that nobody needs any more.
func (l *loop) giveBack(f *flight) {
	f.drop()
	f.dropPipe()
	l.wheel.stop(&f.own)
	f.down, f.wire, f.timer, f.stage = nil, nil, nil, over
	if len(l.flights) < keptFlights {
		l.flights = append(l.flights, f)
	}
}

// start does what was decided about a request whose head is complete.
func (f *flight) start(answer exchange.Answer) {
	if f.Rule != nil && f.Rule.Action.RequestTimeout > 0 {
		f.deadline = since(f.loop.now, f.Rule.Action.RequestTimeout)
	}
	f.attemptBy = f.deadline
	f.continued = !f.request.Expect100
	f.body.start()
	if answer.Status != 0 {
		f.answer(answer)
		return
	}
	f.web = f.TranslateGRPCWeb()
	if cause := f.Admit(); cause != exchange.CauseNone {
		f.fail(cause)
		return
	}
	f.connect(nil, exchange.CauseNoEndpoint)
}

// fail ends the exchange with the answer that a cause has, or by closing the
// connection when a response has begun or nobody is there to read one.
func (f *flight) fail(cause exchange.Cause) {
	answer := cause.Answer()
	if !f.answered && answer.Status != 0 {
		f.answer(answer)
		return
	}
	f.Report.Cause = cause
	f.Keep = false
	if cause == exchange.CauseClientGone {
		f.finish()
		return
	}
	if f.answered {
		if trailers := f.BrokenOff(cause); trailers != nil {
			f.done = f.breakOff(trailers)
		}
	}
	f.flush()
}

// answer writes a response of our own.
func (f *flight) answer(a exchange.Answer) {
	f.answered = true
	f.framing = h1.Length
	f.deadline = never // it may have passed, and this is why
	if a.Cause.Ends() || !f.down.settles() || f.down.drains() {
		f.Keep = false
	}
	if !f.down.answer(a) {
		f.Report.Cause = exchange.CauseClientGone
		f.finish()
		return
	}
	f.done = true
	f.flush()
}

// flush waits until the client has taken everything, and ends the exchange.
func (f *flight) flush() {
	if f.wire != nil && !f.Keep {
		f.wire.push() // the connection ends after it
	}
	if f.down.pending() > 0 {
		f.stage = flushing
		f.arm()
		return
	}
	f.finish()
}

// finish ends the exchange.
func (f *flight) finish() {
	f.stage = over
	if !f.done {
		f.Keep = false
	}
	f.Observe(f.body.received, f.loop.clock)
	if f.done {
		f.down.finish()
	} else {
		f.down.abort(f.Report.Cause)
	}
}

// leave ends the exchange because its connection is being closed, by us when it was drained.
func (f *flight) leave(cause exchange.Cause) {
	switch f.stage {
	case over:
		return // it was observed
	case tunnelling:
		f.leaveTunnel(cause)
	default:
		f.Report.Cause = exchange.CauseClientGone
	}
	f.Observe(f.body.received, f.loop.clock)
}

// clientReady goes on when the client's side can.
func (f *flight) clientReady() {
	if f.stage == flushing {
		if f.down.pending() == 0 {
			f.finish()
		}
		return
	}
	if f.body.running {
		f.pump()
	}
	if f.stage != over {
		f.receive()
	}
	f.await()
}

// await sets the timer, unless the exchange is over.
func (f *flight) await() {
	if f.stage == tunnelling {
		f.passEnds()
	}
	if f.stage != over {
		f.arm()
	}
}

// upstreamReady goes on when the upstream's side can.
func (f *flight) upstreamReady() {
	up := f.up
	if up.deaf() {
		f.cut = f.cut || f.sending
		f.body.refuse()
	}
	if f.sending && up.pending() == 0 {
		f.sending = false
		f.progress = f.loop.now
	}
	if f.body.running {
		f.pump()
	}
	if f.up == up {
		f.receive()
	}
	f.await()
}

// giveUp ends the exchange in any stage for a cause on the client's side.
func (f *flight) giveUp(cause exchange.Cause) {
	if f.stage == uploading || f.stage == flushing {
		f.done = false
		f.drop()
		if f.Report.Cause == exchange.CauseNone {
			f.Report.Cause = cause
		}
		f.finish()
		return
	}
	f.attemptFails(cause)
}

// since returns a limit after a time, or never.
func since(from int64, limit time.Duration) int64 { return from + int64(limit) }
