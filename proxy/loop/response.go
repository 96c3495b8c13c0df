//go:build linux

package loop

import (
	"net/http"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// maxInterim bounds the 1xx responses before a final one: 102 (Processing) may come
// every few seconds, but not forever.
const maxInterim = 100

// receive reads the response and passes it on, unless the client is slower.
func (f *flight) receive() {
	switch f.stage {
	case awaiting, delivering:
	case tunnelling:
		if f.payload.Done() {
			return
		}
	case splicing:
		f.splice()
		return
	case uploading:
		if !f.body.running && f.up.pending() == 0 {
			f.uploaded()
		}
		return
	default:
		return
	}
	f.up.receive()
}

// upstreamEnds is called when the upstream sends nothing any more.
func (f *flight) upstreamEnds(how outcome) {
	if (f.stage == delivering || f.stage == tunnelling) && how == end && f.payload.EOF() == nil {
		// The body lasted until the upstream closed. A reset is no such end.
		f.passOn(nil, payload)
		return
	}
	f.attemptFails(exchange.CauseUpstreamReset)
}

// verdict is what follows from the head of a response.
type verdict uint8

const (
	headInterim verdict = iota // it was passed on, and another one comes
	headFinal                  // it is to be passed on
	headAgrees                 // ... to an upgrade
	headRefused                // the attempt has failed
)

// judge acts on the head of a response.
func (f *flight) judge() verdict {
	switch status := f.response.Status; {
	case status == http.StatusSwitchingProtocols && f.down.switches() && f.down.agrees(&f.response):
		return headAgrees
	case status == http.StatusSwitchingProtocols, status < 200 && f.interims == maxInterim,
		status >= 200 && status < 300 && f.down.switches():
		f.attemptFails(exchange.CauseUpstreamInvalid)
		return headRefused
	case status >= 200:
		return headFinal
	case status != http.StatusContinue || !f.continued:
		f.continued = f.continued || status == http.StatusContinue
		if !f.down.interim(&f.response) {
			f.attemptFails(exchange.CauseClientGone)
			return headRefused
		}
	}
	f.interims++
	return headInterim
}

// respond notes that the final response has begun.
func (f *flight) respond() {
	l := f.loop
	f.answered = true
	f.stage = delivering
	f.progress = l.now
	f.Report.Status = f.response.Status
	f.Report.UpstreamLatency = l.clock.Sub(f.Report.Start)
	if f.down.drains() || !f.continued {
		f.Keep = false // a client that waits for 100 may or may not send its body now
	}
}

// passOn passes on what data has of the payload, maybe behind the head, and reports
// whether more is to come.
func (f *flight) passOn(data []byte, what part) bool {
	rest, result := f.down.pass(data, what)
	switch {
	case result == passedToNobody:
		f.attemptFails(exchange.CauseClientGone)
		return false
	case result == passedUntil:
		f.attemptFails(exchange.CauseUpstreamInvalid)
		return false
	case !f.payload.Done():
		return true
	case f.stage == tunnelling:
		return false
	}
	f.surplus = len(rest) > 0
	f.delivered()
	return false
}

// delivered ends the response. The rest of the request's body gets a little more time.
func (f *flight) delivered() {
	f.done = true
	f.Report.Duration = f.loop.clock.Sub(f.Report.Start)
	if f.body.running && f.continued {
		f.stage = uploading
		f.stageBy = since(f.loop.now, exchange.LingerTimeout)
		f.arm()
		return
	}
	f.uploaded()
}

// uploaded ends the upstream's side of the exchange: the connection is for others now,
// or closed.
func (f *flight) uploaded() {
	f.body.halt()
	up := f.up
	if !f.body.complete() {
		f.Keep = false
	}
	if !f.reusable() {
		f.drop()
		f.flush()
		return
	}
	up.release()
	up.to().Release()
	f.up = nil
	up.put()
	f.flush()
}

// reusable reports whether the upstream connection can take another request.
func (f *flight) reusable() bool {
	return f.response.KeepAlive && f.response.Framing != h1.UntilClose && f.payload.Done() && !f.surplus &&
		f.body.complete() && !f.body.halted && !f.cut && f.up.pending() == 0 && !f.up.deaf()
}
