//go:build linux

package loop

import (
	"net/http"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// expiry is what a flight's next deadline is about.
type expiry uint8

const (
	connectExpiry  expiry = iota // the connection attempt
	attemptExpiry                // RequestTimeout or BackendTimeout
	silenceExpiry                // the upstream sends nothing
	readerExpiry                 // the client does not read
	senderExpiry                 // the client does not send its body
	receiverExpiry               // the upstream does not take the body
	leaverExpiry                 // the client has finished sending: does it wait?
	continueExpiry               // the client waits for 100 (Continue)
	stageExpiry                  // uploading
	tunnelExpiry                 // a side of a tunnel takes nothing, or says nothing more
)

// due returns when the flight has to do something although nothing happens.
func (f *flight) due() (int64, expiry) {
	at, what := f.attemptBy, attemptExpiry
	sooner := func(then int64, about expiry) {
		if then < at {
			at, what = then, about
		}
	}
	d, limit := f.down, f.Settings.BodyTimeout
	switch f.stage {
	case connecting:
		sooner(f.stageBy, connectExpiry)
	case uploading:
		return f.stageBy, stageExpiry
	case tunnelling:
		return f.tunnelDue(), tunnelExpiry
	case flushing:
		at = f.deadline
		sooner(since(d.stuck(), limit), readerExpiry)
	case awaiting, delivering, splicing:
		switch {
		case d.pending() > 0 || f.piped > 0:
			sooner(since(d.stuck(), limit), readerExpiry)
			return at, what
		case f.sending:
			sooner(since(f.up.stuck(), limit), receiverExpiry)
		case f.body.running:
			sooner(since(f.body.progress, limit), senderExpiry)
		case f.stage == awaiting:
			sooner(since(f.progress, f.Settings.ResponseHeaderTimeout), silenceExpiry)
		default:
			sooner(since(f.progress, limit), silenceExpiry)
		}
		if f.stage == awaiting && !f.continued {
			sooner(since(f.progress, exchange.ContinueTimeout), continueExpiry)
		}
		if d.left() && !f.body.running {
			sooner(since(f.progress, exchange.ProbeInterval), leaverExpiry)
		}
	}
	return at, what
}

// arm sets the timer to what is due next.
func (f *flight) arm() {
	at, _ := f.due()
	f.loop.wheel.set(f.timer, at)
}

// expire does what is due now, if it is.
func (f *flight) expire() {
	at, what := f.due()
	if at > f.loop.now {
		f.arm()
		return
	}
	switch what {
	case connectExpiry:
		f.connectFails(exchange.CauseConnectTimeout)
	case attemptExpiry:
		f.late()
	case silenceExpiry:
		if f.down.leaving() && !f.body.running {
			f.attemptFails(exchange.CauseClientGone)
			return
		}
		f.attemptFails(exchange.CauseTimeout)
	case readerExpiry:
		f.giveUp(exchange.CauseClientStalled)
	case senderExpiry:
		f.attemptFails(exchange.CauseClientStalled)
	case receiverExpiry:
		// The response may still come, and decides.
		f.cut = true
		f.sending = false
		f.progress = f.loop.now
		f.up.deafen()
		f.body.refuse()
		f.arm()
	case leaverExpiry:
		f.attemptFails(exchange.CauseClientGone)
	case continueExpiry:
		// The upstream does not know it, or does not bother.
		f.continued = true
		if !f.down.interim(&h1.Response{Status: http.StatusContinue}) {
			f.attemptFails(exchange.CauseClientGone)
			return
		}
		f.arm()
	case stageExpiry:
		f.uploaded()
	case tunnelExpiry:
		f.closeTunnel(exchange.CauseTimeout)
	}
}

// late ends an exchange, or an attempt, whose time is over.
func (f *flight) late() {
	switch f.stage {
	case connecting:
		f.connectFails(exchange.CauseTimeout)
	case flushing:
		f.giveUp(exchange.CauseTimeout)
	default:
		f.attemptFails(exchange.CauseTimeout)
	}
}
