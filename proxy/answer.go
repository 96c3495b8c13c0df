package proxy

import (
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// fail ends the exchange with the answer that a cause has, or by closing the
// connection when a response has begun or nobody is there to read one.
func (f *flight) fail(cause exchange.Cause) {
	answer := cause.Answer()
	if f.answered || answer.Status == 0 {
		f.Report.Cause = cause
		f.Keep = false
		return
	}
	f.answer(answer)
}

// answer writes a response of our own.
func (f *flight) answer(a exchange.Answer) {
	f.answered = true
	f.deadline = f.Report.Start.Add(exchange.Forever) // it may have passed, and this is why
	if a.Cause.Ends() || !f.body.canSettle() || f.c.draining.Load() {
		f.Keep = false
	}
	f.out = f.AppendAnswer(f.out[:0], a, time.Now())
	if cause := f.write(nil); cause != exchange.CauseNone {
		f.Report.Cause = cause
		return
	}
	f.ended = true
}
