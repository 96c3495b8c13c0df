//go:build linux

package loop

import (
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// maxAttempts bounds the endpoints that get a request which may be repeated: a
// request that kills its server must not kill them all. It bounds the endpoints that
// are waited for in vain, too.
const maxAttempts = 3

// maxUnsent bounds the attempts when endpoints do nothing with a request, as with one
// that comes while they end the connection: that costs them little.
const maxUnsent = 16

// connect gets a connection to an endpoint and makes an attempt: to again, a new one,
// or else to any that was not tried yet. When there is none, cause says why the last
// attempt failed. Endpoints that refuse cost little, so all of them may be tried.
func (f *flight) connect(again *router.Endpoint, cause exchange.Cause) {
	for {
		if f.Report.Attempts > 0 && f.down.leaving() {
			f.fail(exchange.CauseClientGone)
			return
		}
		endpoint := again
		if endpoint == nil {
			endpoint = f.PickEndpoint(f.tried)
		}
		if endpoint == nil {
			f.fail(cause)
			return
		}
		endpoint.Acquire()
		f.Try(endpoint)
		f.startAttempt()
		switch {
		case f.Chosen.Backend.Protocol() == router.H2C:
			cause = f.call(endpoint)
		case again == nil && f.pooled(endpoint):
			f.attempt()
			return
		default:
			cause = f.dial(endpoint)
		}
		if cause == exchange.CauseNone {
			return
		}
		endpoint.Release()
		// Nothing was sent, so any method may go on to the next endpoint.
		f.tried = append(f.tried, endpoint)
		again = nil
	}
}

// dial begins to open a connection, on which the exchange goes on then. The cause says
// why there is none.
func (f *flight) dial(endpoint *router.Endpoint) exchange.Cause {
	backend := f.Chosen.Backend
	if !f.loop.acquire(endpoint) {
		return exchange.CauseCircuit
	}
	if !backend.AcquirePending() {
		endpoint.ReleaseConnection()
		return exchange.CauseCircuit
	}
	up, errno := f.loop.dial(endpoint)
	if up == nil {
		backend.ReleasePending()
		endpoint.ReleaseConnection()
		endpoint.Fail(f.loop.clock)
		return exchange.CauseConnectRefused
	}
	up.waitsFor = backend
	f.up, up.flight = up, f
	f.dialled(errno)
	return exchange.CauseNone
}

// startAttempt sets the clock of one attempt.
func (f *flight) startAttempt() {
	f.attemptBy = f.deadline
	if limit := f.Rule.Action.BackendTimeout; limit > 0 {
		f.attemptBy = min(f.deadline, since(f.loop.now, limit))
	}
}

// pooled takes an idle connection, if there is one.
func (f *flight) pooled(endpoint *router.Endpoint) bool {
	up := f.loop.get(endpoint)
	if up == nil {
		return false
	}
	f.up, up.flight = up, f
	return true
}

// dialled goes on once a connection attempt has begun.
func (f *flight) dialled(errno unix.Errno) {
	if errno == 0 {
		f.connected()
		return
	}
	f.stage = connecting
	f.stageBy = since(f.loop.now, f.Settings.ConnectTimeout)
	f.arm()
}

// connected makes the attempt on a new connection.
func (f *flight) connected() {
	f.up.waited()
	f.up.to().OK()
	f.attempt()
}

// refused is called when nobody takes the connection.
func (f *flight) refused() { f.connectFails(exchange.CauseConnectRefused) }

// connectFails goes on to the next endpoint.
func (f *flight) connectFails(cause exchange.Cause) {
	endpoint := f.up.to()
	f.drop()
	if f.loop.now >= f.attemptBy {
		cause = exchange.CauseTimeout
	} else {
		endpoint.Fail(f.loop.clock)
	}
	if cause == exchange.CauseTimeout || cause == exchange.CauseConnectTimeout && f.Report.Attempts >= maxAttempts {
		f.fail(cause)
		return
	}
	f.tried = append(f.tried, endpoint)
	f.connect(nil, cause)
}

// attempt sends the request over f.up.
func (f *flight) attempt() {
	f.responded, f.unsent, f.cut, f.sending, f.surplus = false, false, false, false, false
	f.interims = 0
	f.stage = awaiting
	f.body.start()
	l, up := f.loop, f.up

	head, cause := f.down.appendArrived(up.appendHead(l.scratch[:0]))
	l.scratch = head[:0]
	if cause != exchange.CauseNone {
		f.attemptFails(cause)
		return
	}
	f.progress = l.now
	switch up.begin(head) {
	case begunNothing:
		f.unsent = true
		f.attemptFails(exchange.CauseUpstreamReset)
		return
	case begunCut:
		// It may have answered before it closed, or without reading on.
		f.cut = true
	case begunPart:
		f.sending = true
		fallthrough
	default:
		f.body.run()
		f.pump()
	}
	if f.stage != over {
		f.arm()
	}
}

// attemptFails ends an attempt, and makes another if the request may be repeated.
func (f *flight) attemptFails(cause exchange.Cause) {
	if f.stage == tunnelling {
		f.closeTunnel(cause)
		return
	}
	f.body.halt()
	stale := f.mayRepeatStale(cause)
	repeat := stale || f.mayRepeat(cause)
	endpoint := f.up.to()
	f.drop()
	f.dropPipe()
	switch {
	case stale:
		f.connect(endpoint, cause)
	case repeat:
		f.tried = append(f.tried, endpoint)
		f.connect(nil, cause)
	default:
		f.fail(cause)
	}
}

// drop closes the upstream connection, if there is one.
func (f *flight) drop() {
	up := f.up
	if up == nil {
		return
	}
	f.up = nil
	up.close()
	up.to().Release()
	f.response.Reset() // it may have got a part of a head
}

// mayRepeatStale reports whether the attempt can be made anew at the same endpoint: it did
// nothing with the request, or the connection was one that it had closed meanwhile.
func (f *flight) mayRepeatStale(cause exchange.Cause) bool {
	if cause != exchange.CauseUpstreamReset || f.responded || !f.body.replayable() {
		return false
	}
	return f.unsent && f.Report.Attempts < maxUnsent ||
		f.up.served() && f.Idempotent() && f.Report.Attempts < maxAttempts
}

// mayRepeat reports whether the request may go to another endpoint.
func (f *flight) mayRepeat(cause exchange.Cause) bool {
	return cause == exchange.CauseUpstreamReset && !f.responded && f.body.replayable() &&
		f.Idempotent() && f.Report.Attempts < maxAttempts
}
