package proxy

import (
	"io"
	"math/rand/v2"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// A Rule with a [router.Retry] says how often and when a request is tried again; the bounds
// of forward.go are for all others. What of the request's body was sent has to be there
// still: the downstream keeps it, see replay.go.

// causeTryAgain ends an attempt whose answer is one that the Rule wants tried again. It is
// no cause to be told.
const causeTryAgain exchange.Cause = "try again"

// retry is that of the Rule, or nil.
func (f *flight) retry() *router.Retry { return f.Rule.Action.Retry }

// retriesLeft reports whether the Rule allows one more attempt.
func (f *flight) retriesLeft() bool { return f.retries < f.retry().Attempts }

// triesAgain reports whether a response is dropped in favour of another attempt. The body
// may still be under way to the endpoint.
func (f *flight) triesAgain(status int) bool {
	return f.retry() != nil && f.retriesLeft() && f.retry().Has(status) && !f.replay.lost.Load()
}

// mayRetry is mayRepeat for a Rule with a Retry.
func (f *flight) mayRetry(cause exchange.Cause) bool {
	if f.answered || !f.retriesLeft() || !f.down.replayable() {
		return false
	}
	switch cause {
	case causeTryAgain:
		return true
	case exchange.CauseUpstreamReset:
		return f.unsent || !f.responded && f.repeats(cause)
	case exchange.CauseTimeout:
		return time.Now().Before(f.deadline) && f.repeats(cause)
	}
	return false
}

// repeats reports whether the request may be repeated although it may have had an effect.
func (f *flight) repeats(cause exchange.Cause) bool {
	return f.Idempotent() || f.retry().Has(cause.Answer().Status)
}

// pause waits before a retry.
func (f *flight) pause() exchange.Cause {
	f.paused = f.retries
	until := earlier(time.Now().Add(f.retry().Pause(f.retries, rand.Float64())), f.deadline)
	for left := time.Until(until); left > 0; left = time.Until(until) {
		time.Sleep(min(left, exchange.ProbeInterval))
		if f.gone() {
			return exchange.CauseClientGone
		}
	}
	if !time.Now().Before(f.deadline) {
		return exchange.CauseTimeout
	}
	return exchange.CauseNone
}

// startOver makes endpoints that were tried be tried once more. It returns cause, why the
// last attempt failed, when that is not to be.
func (f *flight) startOver(cause exchange.Cause) exchange.Cause {
	if f.retry() == nil || len(f.tried) == 0 {
		return cause
	}
	f.tried = f.tried[:0]
	if f.paused == f.retries {
		return exchange.CauseNone
	}
	return f.pause()
}

// mayRetryDial reports whether there is time for a retry after the BackendTimeout ended
// the wait for a connection.
func (f *flight) mayRetryDial() bool {
	return f.retry() != nil && time.Now().Before(f.deadline)
}

// retryConnect counts a retry after a connection could not be opened, and reports whether
// there may be one.
func (f *flight) retryConnect(cause exchange.Cause) bool {
	if f.retry() == nil {
		return cause != exchange.CauseConnectTimeout || f.Report.Attempts < maxAttempts
	}
	if !f.retriesLeft() {
		return false
	}
	f.retries++
	return true
}

// discard ends an attempt whose response is not passed on. If that is there to its end the
// connection can be used again.
func (f *flight) discard() {
	f.dropped = f.response.Status
	f.Retried(f.dropped, time.Now())
	for f.up != nil {
		data, err := f.up.next()
		if err == io.EOF && f.reusable() {
			up := f.up
			f.use(nil)
			up.to().Release()
			up.release(f.progress)
			return
		}
		if err != nil || len(data) == 0 {
			f.drop()
		}
	}
}

// giveUp answers after the last attempt.
func (f *flight) giveUp(cause exchange.Cause) {
	if cause == causeTryAgain {
		// The body turned out to be gone when its response was dropped already.
		f.answer(exchange.Answer{Status: f.dropped})
		return
	}
	f.fail(cause)
}
