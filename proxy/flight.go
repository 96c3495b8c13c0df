package proxy

import (
	"sync"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// flight is the exchange in flight between a downstream and an upstream, used again
// for the next: what it means is the [exchange.Exchange], and the rest is what moving
// its bytes needs. See [downstream] and [upstream].
type flight struct {
	exchange.Exchange

	server *Server
	down   downstream

	// deadline ends the exchange, attemptBy the attempt at an upstream; far away
	// when there is none.
	deadline  time.Time
	attemptBy time.Time

	body     requestBody
	mirrors  []*mirror // that get a copy of the body
	teed     int64     // bytes of the body that they were given
	replay   replay    // of the body, for a Rule that may want it again
	tried    []*router.Endpoint
	retries  int      // as a Rule's Retry counts
	paused   int      // the retry that was waited for last
	dropped  int      // the status of the response that was dropped last
	up       upstream // of the attempt; set and cleared by use alone
	response h1.Response

	sent      time.Time // when the head of the attempt went upstream
	progress  time.Time // when the upstream was last known to do something
	answered  bool      // a final status is decided, and maybe sent
	responded bool      // the upstream sent something in this attempt
	continued bool      // the client does not wait for 100 (Continue)
	unsent    bool      // nothing of this attempt reached the upstream
	cut       bool      // only a part of what came first in this attempt did
	ended     bool      // the response was sent to its end
	switches  bool      // the client accepts no success but an upgrade; set by the owner

	mu        sync.Mutex     // guards what cancel uses: canceled, and up against others
	canceled  exchange.Cause // why cancel was called, CauseNone before
	canceling upstream       // up, for cancel
}

// init readies f for the exchanges of one owner, one after the other.
func (f *flight) init(s *Server, down downstream, client *exchange.Client) {
	f.server, f.down = s, down
	f.Settings = &s.settings
	f.Client = client
	f.Dates = &s.dates
	f.Pressure = &s.pressure
	f.Ask = f.authorize
	f.body.f = f
}

// begin forgets the exchange before.
func (f *flight) begin() {
	f.Forget()
	f.answered, f.responded, f.ended = false, false, false
	f.teed = 0
	f.tried, f.retries, f.paused = f.tried[:0], 0, 0
	f.body.reset()
}

// run does the exchange of f.Request, whose head is complete. With Keep, another may
// follow on the connection.
func (f *flight) run(table *router.Table) {
	now := time.Now()
	f.Begin(now)
	if f.server.loops != nil {
		f.server.loops.Busy(now)
	}
	f.deadline = now.Add(exchange.Forever)
	f.attemptBy = f.deadline
	f.continued = !f.Request.Expect100
	f.down.rewind()

	f.replay.lost.Store(false)
	defer f.unkeep()
	answer := f.Decide(table)
	f.deadline = f.Deadline()
	f.down.bound(f.deadline)
	if answer.Status != 0 {
		f.answer(answer)
	} else {
		defer f.translate()()
		defer f.keepBody()()
		f.mirror()
		f.forward()
	}
	f.finish()
}

// refuse answers a request whose head could not be read; it ends the connection, if
// that has one request at a time.
func (f *flight) refuse(a exchange.Answer) {
	f.Report.Start = time.Now()
	f.deadline = f.Report.Start.Add(exchange.Forever)
	f.continued = true
	f.answer(a)
	f.Keep = false
	f.finish()
}

// finish ends the exchange on the downstream side.
func (f *flight) finish() {
	if !f.ended {
		f.Keep = false
	}
	f.forgetMirrors()
	f.Observe(f.body.received.Load(), time.Now())
	if f.ended {
		f.down.finish()
	} else {
		f.down.abort(f.Report.Cause)
	}
}

// cancel ends the exchange: its client is gone, or its connection is being closed. It may
// be called by any goroutine; the first cause counts.
func (f *flight) cancel(cause exchange.Cause) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.canceled == exchange.CauseNone {
		f.canceled = cause
	}
	if f.canceling != nil {
		f.canceling.cancel()
	}
}

// use makes up the upstream of the attempt; nil ends it.
func (f *flight) use(up upstream) {
	f.up = up
	f.mu.Lock()
	defer f.mu.Unlock()
	f.canceling = up
	if f.canceled != exchange.CauseNone && up != nil {
		up.cancel()
	}
}

// gone reports whether the client has given up, or may have: it has finished sending.
func (f *flight) gone() bool { return f.wasCanceled() || f.down.gone() }

func (f *flight) wasCanceled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.canceled != exchange.CauseNone
}

// fail ends the exchange with the answer that a cause has, or by breaking it off when
// a response has begun or nobody is there to read one.
func (f *flight) fail(cause exchange.Cause) {
	answer := cause.Answer()
	if f.answered || answer.Status == 0 {
		f.Report.Cause = cause
		f.Keep = false
		f.breakOff(cause)
		return
	}
	f.answer(answer)
}

// breakOff ends a response of gRPC that has begun; others just stop.
func (f *flight) breakOff(cause exchange.Cause) {
	if !f.answered {
		return
	}
	if trailers := f.BrokenOff(cause); trailers != nil {
		f.ended = f.down.end(trailers) == nil && f.down.flush() == nil
	}
}

// answer sends a response of our own.
func (f *flight) answer(a exchange.Answer) {
	f.answered = true
	f.deadline = f.Report.Start.Add(exchange.Forever) // it may have passed, and this is why
	f.down.bound(f.deadline)
	if a.Cause.Ends() || !f.body.canSettle() || f.down.draining() {
		f.Keep = false
	}
	if err := f.down.answer(a, time.Now()); err != nil {
		f.Report.Cause = f.writeCause(err)
		return
	}
	f.ended = true
}

// writeCause says why the client could not be sent something.
func (f *flight) writeCause(err error) exchange.Cause {
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
