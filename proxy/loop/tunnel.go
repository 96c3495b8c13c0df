//go:build linux

package loop

import (
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// A stream that has opened a WebSocket by extended CONNECT (RFC 8441) is a tunnel from then
// on: what the client sends on it goes upstream as it is, and what the upstream sends comes
// as payload, until both have ended. Silence may last. Its connection goes on with other
// streams.

// open makes the exchange a tunnel, as the response agrees to the upgrade. data is what the
// upstream has said behind its head. It reports whether to read more.
func (f *flight) open(data []byte) bool {
	l := f.loop
	f.answered, f.Keep, f.continued = true, false, true
	f.Report.Status = f.response.Status
	f.Report.UpstreamLatency = l.clock.Sub(f.Report.Start)
	f.deadline, f.attemptBy = never, never
	if !f.down.agree(&f.response) {
		f.attemptFails(exchange.CauseClientGone)
		return false
	}
	f.response.Detach()
	f.payload.Reset(h1.UntilClose, 0, f.Settings.Limits)
	f.Lighten()
	l.config.Stats.Upgraded.Add(1)
	f.stage, f.told = tunnelling, false
	f.progress = l.now
	f.body.run()
	if len(data) > 0 && !f.passOn(data, payload) {
		return false
	}
	f.up.release()
	f.pump()
	return f.stage == tunnelling
}

// passEnds tells the upstream that the client has ended, and ends the tunnel once both have
// and everything is passed on.
func (f *flight) passEnds() {
	up := f.up
	if f.body.running || up.pending() > 0 && !up.deaf() {
		return
	}
	if !f.told {
		f.told = true
		f.progress = f.loop.now
		up.closeWrite() // it may have closed
	}
	if f.payload.Done() && f.down.pending() == 0 {
		f.closeTunnel(exchange.CauseNone)
	}
}

// tunnelDue returns when the tunnel ends if nothing happens: a side does not take what waits
// for it, or one has ended and the other is silent.
func (f *flight) tunnelDue() int64 {
	limit := f.Settings.BodyTimeout
	switch {
	case f.down.pending() > 0:
		return since(f.down.stuck(), limit)
	case f.sending:
		return since(f.up.stuck(), limit)
	case f.told, f.payload.Done():
		return since(f.progress, exchange.HalfClosedTimeout)
	}
	return never
}

// closeTunnel ends the tunnel. A client that was not told of the upstream's end sees that it
// was cut, and so does an upstream whose client is gone.
func (f *flight) closeTunnel(cause exchange.Cause) {
	f.loop.config.Stats.Upgraded.Add(-1)
	f.done = f.payload.Done() && f.down.pending() == 0
	f.body.halt()
	if cause == exchange.CauseClientGone {
		f.up.reset()
	}
	f.drop()
	f.finish()
}

// leaveTunnel is leave for a tunnel.
func (f *flight) leaveTunnel(cause exchange.Cause) {
	f.loop.config.Stats.Upgraded.Add(-1)
	if cause == exchange.CauseDrained {
		f.Report.Cause = cause
	} else {
		f.up.reset()
	}
}
