package proxy

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// maxAttempts bounds the endpoints that get a request which may be repeated:
// a request that kills its server must not kill them all. It bounds the endpoints
// that are waited for in vain, too.
const maxAttempts = 3

// forward sends the request to an upstream and its answer back.
func (f *flight) forward() {
	f.chosen = f.rule.Action.Pick()
	if f.chosen == nil || f.chosen.Backend == nil {
		f.answer(CauseNoBackend)
		return
	}
	f.seen.Backend = f.chosen.Backend.Name
	f.gather()

	var again *router.Endpoint // the endpoint of a stale connection
	cause := CauseNoEndpoint
	for {
		if cause = f.connect(again, cause); cause != CauseNone {
			break
		}
		if cause = f.attempt(); cause == CauseNone {
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
	f.answer(cause)
}

// connect gets a connection to an endpoint: to again, a new one, or else to any
// that was not tried yet. When there is none, cause says why the last attempt
// failed. Endpoints that refuse cost little, so all of them may be tried.
func (f *flight) connect(again *router.Endpoint, cause Cause) Cause {
	for {
		if f.seen.Attempts > 0 && f.c.gone() {
			return CauseClientGone
		}
		endpoint := again
		if endpoint == nil {
			endpoint = f.chosen.Backend.Pick(f.tried...)
		}
		if endpoint == nil {
			return cause
		}
		endpoint.Acquire()
		f.seen.Upstream = endpoint.Addr
		f.startAttempt()
		if again == nil {
			if f.up = f.pooled(endpoint); f.up != nil {
				return CauseNone
			}
		}
		if f.up, cause = f.dial(endpoint); cause == CauseNone {
			return CauseNone
		}
		endpoint.Release()
		if cause == CauseTimeout || cause == CauseConnectTimeout && f.seen.Attempts >= maxAttempts {
			return cause
		}
		// Nothing was sent, so any method may go on to the next endpoint.
		f.tried = append(f.tried, endpoint)
		again = nil
	}
}

// startAttempt sets the clock of one attempt.
func (f *flight) startAttempt() {
	f.seen.Attempts++
	f.attemptBy = f.deadline
	if limit := f.rule.Action.BackendTimeout; limit > 0 {
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

func (f *flight) dial(endpoint *router.Endpoint) (*upstream, Cause) {
	now := time.Now()
	limit := min(f.settings.ConnectTimeout, f.attemptBy.Sub(now))
	up, err := f.c.server.pool.dial(endpoint, limit)
	if err == nil {
		endpoint.OK()
		return up, CauseNone
	}
	now = time.Now()
	if !now.Before(f.attemptBy) {
		return nil, CauseTimeout
	}
	endpoint.Fail(now)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, CauseConnectTimeout
	}
	return nil, CauseConnectRefused
}

// attempt sends the request over f.up and delivers the response.
func (f *flight) attempt() Cause {
	f.responded, f.unsent, f.cut, f.closed = false, false, false, false
	f.body.start()
	f.res.r, f.res.w = 0, 0

	head, cause := f.body.appendBuffered(f.appendRequest(f.out[:0]))
	if cause != CauseNone {
		return cause
	}
	now := time.Now()
	f.sent, f.progress = now, now
	f.up.writeBy.within(now, f.settings.BodyTimeout, f.attemptBy)
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

func writeFailure(err error) Cause {
	if isTimeout(err) {
		return CauseTimeout
	}
	return CauseUpstreamReset
}

// conclude ends an attempt: the connection goes back to the pool, or cause says
// what went wrong.
func (f *flight) conclude(cause Cause) Cause {
	if cause != CauseNone {
		f.body.halt()
		if f.body.cause != CauseNone {
			return f.body.cause // the reason behind it
		}
		return cause
	}
	if !f.body.await() {
		f.keep = false
		f.drop()
		return CauseNone
	}
	if f.reusable() {
		f.up.endpoint.Release()
		f.c.server.pool.put(f.up, f.progress)
		f.up = nil
		return CauseNone
	}
	f.drop()
	return CauseNone
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
func (f *flight) mayRepeatStale(cause Cause) bool {
	return cause == CauseUpstreamReset && f.up.reused && !f.responded && f.body.replayable() &&
		(f.unsent || idempotent(f.request.Method))
}

// mayRepeat reports whether the request may go to another endpoint.
func (f *flight) mayRepeat(cause Cause) bool {
	return cause == CauseUpstreamReset && !f.responded && f.body.replayable() &&
		idempotent(f.request.Method) && f.seen.Attempts < maxAttempts
}
