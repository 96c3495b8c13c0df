package proxy

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// maxAttempts bounds the endpoints that get a request which may be repeated:
// a request that kills its server must not kill them all. It bounds the endpoints
// that are waited for in vain, too.
const maxAttempts = 3

// forward sends the request to an upstream and the response back.
func (f *flight) forward() {
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
		endpoint := f.up.endpoint
		f.drop()
		if !repeat {
			break
		}
		if again = nil; stale {
			again = endpoint
		} else {
			f.tried = append(f.tried, endpoint)
		}
	}
	f.fail(cause)
}

// connect gets a connection to an endpoint: to again, a new one, or else to any
// that was not tried yet. When there is none, cause says why the last attempt
// failed. Endpoints that refuse cost little, so all of them may be tried.
func (f *flight) connect(again *router.Endpoint, cause exchange.Cause) exchange.Cause {
	for {
		if f.Report.Attempts > 0 && f.c.gone() {
			return exchange.CauseClientGone
		}
		endpoint := again
		if endpoint == nil {
			endpoint = f.Chosen.Backend.Pick(f.tried...)
		}
		if endpoint == nil {
			return cause
		}
		endpoint.Acquire()
		f.Report.Upstream = endpoint.Addr
		f.startAttempt()
		if again == nil {
			if f.up = f.pooled(endpoint); f.up != nil {
				return exchange.CauseNone
			}
		}
		if f.up, cause = f.dial(endpoint); cause == exchange.CauseNone {
			return exchange.CauseNone
		}
		endpoint.Release()
		if cause == exchange.CauseTimeout || cause == exchange.CauseConnectTimeout && f.Report.Attempts >= maxAttempts {
			return cause
		}
		// Nothing was sent, so any method may go on to the next endpoint.
		f.tried = append(f.tried, endpoint)
		again = nil
	}
}

// startAttempt sets the clock of one attempt.
func (f *flight) startAttempt() {
	f.Report.Attempts++
	f.attemptBy = f.deadline
	if limit := f.Rule.Action.BackendTimeout; limit > 0 {
		f.attemptBy = earlier(f.deadline, time.Now().Add(limit))
	}
}

// pooled returns an idle connection, unless its peer has closed it. Whatever
// the peer has sent on it would be taken for the response to this request.
func (f *flight) pooled(endpoint *router.Endpoint) *upstream {
	for {
		up := f.c.server.pool.get(endpoint)
		if up == nil || up.quiet() {
			return up
		}
		up.close()
	}
}

func (f *flight) dial(endpoint *router.Endpoint) (*upstream, exchange.Cause) {
	now := time.Now()
	limit := min(f.Settings.ConnectTimeout, f.attemptBy.Sub(now))
	up, err := f.c.server.pool.dial(endpoint, limit)
	if err == nil {
		endpoint.OK()
		return up, exchange.CauseNone
	}
	now = time.Now()
	if !now.Before(f.attemptBy) {
		return nil, exchange.CauseTimeout
	}
	endpoint.Fail(now)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, exchange.CauseConnectTimeout
	}
	return nil, exchange.CauseConnectRefused
}

// attempt sends the request over f.up and delivers the response.
func (f *flight) attempt() exchange.Cause {
	f.responded, f.unsent, f.cut, f.closed = false, false, false, false
	f.body.start()
	f.res.r, f.res.w = 0, 0

	head, cause := f.body.appendBuffered(f.AppendRequest(f.out[:0], f.up.endpoint.Addr))
	if cause != exchange.CauseNone {
		return cause
	}
	now := time.Now()
	f.sent, f.progress = now, now
	f.up.writeBy.within(now, f.Settings.BodyTimeout, f.attemptBy)
	n, err := f.up.conn.Write(head)
	f.out = head[:0]
	if err != nil {
		if f.unsent = n == 0; f.unsent {
			return writeFailure(err)
		}
		// It may have answered before it closed, or without reading on.
		f.cut = true
	} else if !f.body.complete() {
		f.body.pump(f.up)
	}
	cause = f.receive()
	return f.conclude(cause)
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
		return cause
	}
	if !f.body.await() {
		f.Keep = false
		f.drop()
		return exchange.CauseNone
	}
	if f.reusable() {
		f.up.endpoint.Release()
		f.c.server.pool.put(f.up, f.progress)
		f.up = nil
		return exchange.CauseNone
	}
	f.drop()
	return exchange.CauseNone
}

// drop closes the upstream connection.
func (f *flight) drop() {
	if f.up == nil {
		return
	}
	f.up.close()
	f.up.endpoint.Release()
	f.up = nil
	f.response.Reset() // it may have got a part of a head
}

// mayRepeatStale reports whether the attempt failed because the pool's
// connection had been closed meanwhile, and can be made anew.
func (f *flight) mayRepeatStale(cause exchange.Cause) bool {
	return cause == exchange.CauseUpstreamReset && f.up.reused && !f.responded && f.body.replayable() &&
		(f.unsent || f.Idempotent())
}

// mayRepeat reports whether the request may go to another endpoint.
func (f *flight) mayRepeat(cause exchange.Cause) bool {
	return cause == exchange.CauseUpstreamReset && !f.responded && f.body.replayable() &&
		f.Idempotent() && f.Report.Attempts < maxAttempts
}
