package proxy

import (
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// maxAttempts bounds the endpoints that get a request which may be repeated:
// a request that kills its server must not kill them all. It bounds the endpoints
// that are waited for in vain, too.
const maxAttempts = 3

// maxUnsent bounds the attempts when endpoints do nothing with a request, as with one
// that comes while they end the connection: that costs them little.
const maxUnsent = 16

// forward sends the request to an upstream and the response back.
func (f *flight) forward() {
	f.Memory = exchangeMemory
	if f.Request.Framing != h1.NoBody {
		f.Memory += uploadMemory
	}
	if cause := f.Admit(); cause != exchange.CauseNone {
		f.fail(cause)
		return
	}
	var again *router.Endpoint // the endpoint of a stale connection
	cause := exchange.CauseNoEndpoint
	for {
		if cause = f.connect(again, cause); cause != exchange.CauseNone {
			break
		}
		if cause = f.attempt(); cause == exchange.CauseNone {
			return
		}
		stale := f.mayRepeatStale(cause)
		repeat := stale || f.mayRepeat(cause)
		endpoint := f.up.to()
		if cause == causeTryAgain {
			f.discard()
		} else {
			f.drop()
		}
		if !repeat {
			break
		}
		if again = nil; stale {
			again = endpoint
			continue
		}
		if !f.Chosen.Backend.AllowRetry(time.Now()) {
			cause = exchange.CauseRetryBudget
			break
		}
		f.tried = append(f.tried, endpoint)
		if f.retry() == nil {
			continue
		}
		f.retries++
		if interrupted := f.pause(); interrupted != exchange.CauseNone {
			cause = interrupted
			break
		}
	}
	f.giveUp(cause)
}

// connect gets a connection to an endpoint: to again, a new one, or else to any
// that was not tried yet. When there is none, cause says why the last attempt
// failed. Endpoints that refuse cost little, so all of them may be tried.
func (f *flight) connect(again *router.Endpoint, cause exchange.Cause) exchange.Cause {
	for {
		if f.Report.Attempts > 0 && f.gone() {
			return exchange.CauseClientGone
		}
		endpoint := again
		if endpoint == nil {
			endpoint = f.PickEndpoint(f.tried)
		}
		if endpoint == nil {
			if cause = f.startOver(cause); cause != exchange.CauseNone {
				return cause
			}
			cause = exchange.CauseNoEndpoint
			continue
		}
		endpoint.Acquire()
		f.Try(endpoint)
		f.startAttempt()
		var up upstream
		if again != nil && f.Chosen.Backend.Protocol() == router.HTTP1 {
			up, cause = f.dial(endpoint)
		} else {
			up, cause = f.reach(endpoint)
		}
		if cause == exchange.CauseNone {
			f.use(up)
			return exchange.CauseNone
		}
		endpoint.Release()
		if cause == exchange.CauseTimeout && !f.mayRetryDial() || !f.retryConnect(cause) {
			return cause
		}
		if f.retry() != nil && !f.Chosen.Backend.AllowRetry(time.Now()) {
			return exchange.CauseRetryBudget
		}
		// Nothing was sent, so any method may go on to the next endpoint.
		f.tried = append(f.tried, endpoint)
		again = nil
	}
}

// startAttempt sets the clock of one attempt.
func (f *flight) startAttempt() {
	f.attemptBy = f.deadline
	if limit := f.Rule.Action.BackendTimeout; limit > 0 {
		f.attemptBy = earlier(f.deadline, time.Now().Add(limit))
	}
}

// reach gets an upstream at endpoint: over a connection that is there, or a new one.
func (f *flight) reach(endpoint *router.Endpoint) (upstream, exchange.Cause) {
	if f.Chosen.Backend.Settings().ProxyProtocol != router.NoProxyProtocol {
		return f.introduce(endpoint)
	}
	if f.Chosen.Backend.Protocol() != router.HTTP1 {
		return f.upstreamOf(endpoint)
	}
	if up := f.pooled(endpoint); up != nil {
		return up, exchange.CauseNone
	}
	return f.dial(endpoint)
}

// pooled returns an idle connection, unless its peer has closed it. Whatever
// the peer has sent on it would be taken for the response to this request.
func (f *flight) pooled(endpoint *router.Endpoint) *h1Upstream {
	for {
		up := f.server.pool.get(endpoint)
		if up == nil || up.quiet() {
			return up
		}
		up.close()
	}
}

func (f *flight) dial(endpoint *router.Endpoint) (upstream, exchange.Cause) {
	if !f.Chosen.Backend.AcquirePending() {
		return nil, exchange.CauseCircuit
	}
	defer f.Chosen.Backend.ReleasePending()
	limit := min(f.Settings.ConnectTimeout, time.Until(f.attemptBy))
	up, err := f.server.pool.dial(endpoint, limit, nil)
	if err != nil {
		return nil, f.dialFailure(endpoint, err)
	}
	endpoint.OK()
	return up, exchange.CauseNone
}

// attempt sends the request over f.up and delivers the response.
func (f *flight) attempt() exchange.Cause {
	f.responded, f.unsent, f.cut = false, false, false
	f.down.rewind()
	f.body.start()
	f.up.bound(f.attemptBy)
	f.up.open(&f.Exchange)
	if cause := f.body.sendEarly(f.up); cause != exchange.CauseNone {
		return cause
	}
	f.sent = time.Now()
	f.progress = f.sent
	if err := f.up.flush(); err != nil {
		if f.unsent = isUnsent(err); f.unsent {
			return writeFailure(err)
		}
		// It may have answered before it closed, or without reading on.
		f.cut = true
	} else if !f.body.sent && !f.body.refused {
		f.body.pump(f.up)
	}
	return f.conclude(f.receive())
}

func writeFailure(err error) exchange.Cause {
	if isTimeout(err) {
		return exchange.CauseTimeout
	}
	return exchange.CauseUpstreamReset
}

// conclude ends an attempt: the connection goes back to the pool, or cause says
// what went wrong.
func (f *flight) conclude(cause exchange.Cause) exchange.Cause {
	if cause != exchange.CauseNone {
		f.body.halt()
		if f.body.cause != exchange.CauseNone {
			return f.body.cause // the reason behind it
		}
		if cause == exchange.CauseUpstreamReset && f.wasCanceled() {
			return exchange.CauseClientGone // so that we have reset it ourselves
		}
		return cause
	}
	if !f.body.await() {
		f.Keep = false
		f.drop()
		return exchange.CauseNone
	}
	if !f.reusable() {
		f.drop()
		return exchange.CauseNone
	}
	up := f.up
	f.use(nil)
	up.to().Release()
	if f.wasCanceled() { // and up with it: it is closed
		up.drop()
	} else {
		up.release(f.progress)
	}
	return exchange.CauseNone
}

// reusable reports whether the upstream connection can take another request, as far
// as the flight knows.
func (f *flight) reusable() bool {
	return f.down.complete() && !f.body.refused && !f.cut && f.response.Status != http.StatusSwitchingProtocols
}

// drop ends the attempt.
func (f *flight) drop() {
	up := f.up
	if up == nil {
		return
	}
	f.use(nil)
	up.to().Release()
	up.drop()
	f.response.Reset() // it may have got a part of a head
}

// mayRepeatStale reports whether the attempt can be made anew at the same endpoint: it
// did nothing with the request, or the connection was one that it had closed meanwhile.
func (f *flight) mayRepeatStale(cause exchange.Cause) bool {
	if cause != exchange.CauseUpstreamReset || f.responded || !f.down.replayable() {
		return false
	}
	return f.unsent && f.Report.Attempts < maxUnsent ||
		f.up.reused() && f.Idempotent() && f.Report.Attempts < maxAttempts
}

// mayRepeat reports whether the request may go to another endpoint.
func (f *flight) mayRepeat(cause exchange.Cause) bool {
	if f.retry() != nil {
		return f.mayRetry(cause)
	}
	return cause == exchange.CauseUpstreamReset && !f.responded && f.down.replayable() &&
		f.Idempotent() && f.Report.Attempts < maxAttempts
}
