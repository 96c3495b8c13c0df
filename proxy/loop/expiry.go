//go:build linux

package loop

import "github.com/lintel-dev/lintel/proxy/exchange"

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
	stageExpiry                  // uploading and settling
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
	case uploading, settling:
		return f.stageBy, stageExpiry
	case flushing:
		at = f.deadline
		sooner(since(d.moved, limit), readerExpiry)
	case awaiting, delivering, splicing:
		switch {
		case d.pending() > 0 || f.piped > 0:
			sooner(since(d.moved, limit), readerExpiry)
			return at, what
		case f.sending:
			sooner(since(f.up.moved, limit), receiverExpiry)
		case f.body.running:
			sooner(since(f.body.progress, limit), senderExpiry)
		case f.stage == awaiting:
			sooner(since(f.progress, f.Settings.ResponseHeaderTimeout), silenceExpiry)
		default:
			sooner(since(f.progress, limit), silenceExpiry)
		}
		if d.ended && !f.body.running {
			sooner(since(f.progress, exchange.ProbeInterval), leaverExpiry)
		}
	}
	return at, what
}

// arm sets the timer to what is due next.
func (f *flight) arm() {
	at, _ := f.due()
	f.loop.wheel.set(&f.down.timer, at)
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
		if f.down.ended && !f.body.running {
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
		f.up.discard()
		f.up.failed = true
		f.body.refuse()
		f.arm()
	case leaverExpiry:
		f.attemptFails(exchange.CauseClientGone)
	case stageExpiry:
		f.stageEnds()
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

// stageEnds gives up what takes too long after the response.
func (f *flight) stageEnds() {
	if f.stage == settling {
		f.unsettled()
		return
	}
	f.uploaded()
}
