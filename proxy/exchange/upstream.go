package exchange

import (
	"time"

	"github.com/lintel-dev/lintel/router"
)

// Admit counts the exchange at its Backend, until it is observed. The cause says when
// the Backend has enough to do already, or there is no memory for one more.
func (x *Exchange) Admit() Cause {
	memory := max(x.Memory, leastMemory)
	if !x.Pressure.Reserve(memory) {
		return CauseOverload
	}
	if !x.Chosen.Backend.Acquire() {
		x.Pressure.Return(memory)
		return CauseCircuit
	}
	x.admitted, x.weighs = true, memory
	x.Chosen.Backend.CountRequest(x.Report.Start)
	return CauseNone
}

// Lighten says that the exchange has given its buffers back, and goes on with little
// memory: it became a conversation, which may be silent for long.
func (x *Exchange) Lighten() {
	if x.weighs > 0 {
		x.Pressure.Return(x.weighs)
		x.weighs = 0
	}
}

// Try notes that an attempt is made at endpoint. It does not count the exchange there:
// that is for whoever holds the connection.
func (x *Exchange) Try(endpoint *router.Endpoint) {
	x.endpoint = endpoint
	x.Report.Upstream = endpoint.Addr
	x.Report.Attempts++
}

// Retried notes that the last attempt was answered with a status that the client does not
// get.
func (x *Exchange) Retried(status int, now time.Time) {
	x.endpoint.Report(router.OutcomeOf(status), now)
}

// conclude tells the Backend and the endpoint that the exchange has ended, and how.
func (x *Exchange) conclude(now time.Time) {
	x.Lighten()
	if x.admitted {
		x.Chosen.Backend.Release()
		x.admitted = false
	}
	if x.endpoint == nil {
		return
	}
	switch x.Report.Cause {
	case CauseNone:
		x.endpoint.Report(router.OutcomeOf(x.Report.Status), now)
	case CauseUpstreamReset, CauseUpstreamInvalid, CauseTimeout:
		x.endpoint.Report(router.GatewayError, now)
	}
	x.endpoint = nil
}
