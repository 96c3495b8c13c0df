package proxy

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// maxInterim bounds the 1xx responses before a final one: 102 (Processing) may
// come every few seconds, but not exchange.Forever.
const maxInterim = 100

// receive reads the response and sends it to the client, interim ones first.
func (f *flight) receive() exchange.Cause {
	for interim := 0; ; interim++ {
		if cause := f.receiveHead(); cause != exchange.CauseNone {
			return cause
		}
		status := f.response.Status
		switch {
		case status == http.StatusSwitchingProtocols:
			return f.upgrade()
		case status >= 200 && status < 300 && f.switches:
			return exchange.CauseUpstreamInvalid
		case status >= 200 && f.triesAgain(status):
			return causeTryAgain
		case status >= 200:
			return f.deliver()
		case interim == maxInterim:
			return exchange.CauseUpstreamInvalid
		case status != http.StatusContinue || !f.continued:
			if cause := f.relayInterim(); cause != exchange.CauseNone {
				return cause
			}
		}
	}
}

// receiveHead reads one head.
func (f *flight) receiveHead() exchange.Cause {
	for {
		found, err := f.up.head(&f.response, f.Request.Method)
		if err != nil {
			return f.receiveCause(err)
		}
		if found {
			f.responded = true // even where it was there at once
			return exchange.CauseNone
		}
		if cause := f.fill(f.Settings.ResponseHeaderTimeout); cause != exchange.CauseNone {
			return cause
		}
		f.responded = true
	}
}

// fill waits for more of the response. limit bounds how long the upstream may be
// silent.
func (f *flight) fill(limit time.Duration) exchange.Cause {
	now := f.progress // which is just now, or else silence sets it right
	for {
		err := f.up.await(now, f.awaitBy(limit, now))
		if err == nil {
			return exchange.CauseNone
		}
		if !isTimeout(err) {
			return f.receiveCause(err)
		}
		now = time.Now()
		if cause := f.silence(limit, now); cause != exchange.CauseNone {
			return cause
		}
	}
}

// awaitBy is when a wait for more of the response has to end, for silence to look.
func (f *flight) awaitBy(limit time.Duration, now time.Time) time.Time {
	latest := earlier(f.attemptBy, f.progress.Add(limit))
	if probe := f.progress.Add(exchange.ProbeInterval); now.Before(probe) {
		return earlier(latest, probe)
	}
	return latest
}

// receiveCause says why the response could not be read.
func (f *flight) receiveCause(err error) exchange.Cause {
	if _, malformed := errors.AsType[*h1.Error](err); malformed {
		return exchange.CauseUpstreamInvalid
	}
	f.unsent = f.unsent || isUnsent(err)
	return exchange.CauseUpstreamReset
}

// silence is called now and then while the upstream sends nothing. It looks at
// the clock, and whether the client still waits.
func (f *flight) silence(limit time.Duration, now time.Time) exchange.Cause {
	if !now.Before(f.attemptBy) {
		return exchange.CauseTimeout
	}
	// A client that has finished sending may wait, as long as in the express lane. Waits end
	// earlier than that, where a deadline was left from an exchange before.
	if now.Sub(f.progress) >= min(limit, exchange.ProbeInterval) && f.gone() {
		return exchange.CauseClientGone
	}
	if f.body.running && !f.body.ended.Load() {
		// The upstream has not got all of the request; its goroutine has its own
		// limits.
		f.progress = now
	}
	if now.Sub(f.progress) >= limit {
		return exchange.CauseTimeout
	}
	return f.encourage(now)
}

// encourage sends 100 (Continue) on behalf of an upstream that does not know it,
// or does not bother, so that the client sends its body. Passing on both the
// expectation and the upstream's own 100 lets the upstream refuse a body before
// it is sent (RFC 9110 §10.1.1); answering ourselves after a while helps clients
// that would wait exchange.Forever. Once the final response has begun it is too late: the
// client would take the 100 for a part of it.
func (f *flight) encourage(now time.Time) exchange.Cause {
	if f.continued || f.answered || now.Sub(f.sent) < exchange.ContinueTimeout {
		return exchange.CauseNone
	}
	f.continued = true
	return f.writeCause(f.down.interim(&h1.Response{Minor: 1, Status: http.StatusContinue}))
}

// relayInterim passes a 1xx on. HTTP/1.0 knows none (RFC 9110 §15.2).
func (f *flight) relayInterim() exchange.Cause {
	if f.Request.Minor == 0 {
		return exchange.CauseNone
	}
	if f.response.Status == http.StatusContinue {
		f.continued = true
	}
	return f.writeCause(f.down.interim(&f.response))
}

// deliver sends the final response to the client, as it comes.
func (f *flight) deliver() exchange.Cause {
	f.answered = true
	f.Report.Status = f.response.Status
	f.progress = time.Now()
	f.Report.UpstreamLatency = f.progress.Sub(f.Report.Start)
	if !f.continued {
		// The client may or may not send its body now.
		f.Keep = false
	}
	if f.down.draining() {
		f.Keep = false
	}
	cause := f.writeCause(f.down.head(&f.response, f.progress))
	f.response.Detach()
	if cause == exchange.CauseNone {
		cause = f.deliverBody()
	}
	f.ended = cause == exchange.CauseNone
	f.Report.Duration = time.Since(f.Report.Start)
	return cause
}

// deliverBody sends what of the body is there, and then what comes, without
// waiting for more than one read brought.
func (f *flight) deliverBody() exchange.Cause {
	for {
		ended, cause := f.passOn()
		if ended || cause != exchange.CauseNone {
			return cause
		}
		if down, up := f.spliceable(); up != nil {
			return f.splice(down, up)
		}
		if cause := f.fill(f.Settings.BodyTimeout); cause != exchange.CauseNone {
			return cause
		}
		f.progress = time.Now()
	}
}

// passOn sends the payload that is there, and reports whether that was all.
func (f *flight) passOn() (ended bool, cause exchange.Cause) {
	for {
		data, err := f.up.next()
		if len(data) > 0 {
			f.Report.Sent += int64(len(data))
			if err := f.down.write(data); err != nil {
				return false, f.writeCause(err)
			}
		}
		switch {
		case err == io.EOF:
			err = f.down.end(f.ResponseTrailers(f.up.trailers(), &f.response))
			if err == nil {
				err = f.down.flush()
			}
			return true, f.writeCause(err)
		case err != nil:
			_ = f.down.flush() // what came before the mistake
			return false, f.receiveCause(err)
		case len(data) == 0:
			return false, f.writeCause(f.down.flush())
		}
	}
}
