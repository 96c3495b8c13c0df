package router

import (
	"cmp"
	"sync/atomic"
	"time"
)

// Outlier says when an endpoint that can be reached, but answers badly, gets no
// exchanges for a while: passive outlier ejection. The zero Outlier never ejects, as
// nginx, HAProxy and Envoy do by default: they look at failures to connect at most
// (here [Endpoint.Fail]). A status of 5xx may be the fault of the request, and readiness
// probes take out a Pod that is ill.
//
// The wait doubles with each ejection that follows before the endpoint was back for as
// long as it had been out.
type Outlier struct {
	// Errors ejects after so many exchanges in a row that ended as ServerError or
	// GatewayError, GatewayErrors after so many that ended as GatewayError; 0 or less
	// looks at neither. OutlierErrors is what is usual.
	Errors        int
	GatewayErrors int
	// Base is the first wait, and Max the longest; 0 or less means OutlierBase and
	// OutlierMax.
	Base time.Duration
	Max  time.Duration
	// MaxPercent of the endpoints are out at the same time, rounded down; 0 or less
	// means OutlierMaxPercent. With 100 all can be: then they are used as if none was.
	MaxPercent int
}

const (
	// OutlierErrors is the usual number of failures in a row: one that is rare by
	// chance while an endpoint fails only now and then.
	OutlierErrors = 5
	// OutlierBase is about the time in which a Pod restarts, or its readiness probe
	// takes it out.
	OutlierBase = 30 * time.Second
	// OutlierMax is how long an endpoint that recovered may wait at worst.
	OutlierMax = 5 * time.Minute
	// OutlierMaxPercent leaves enough endpoints for the load when the failures have a
	// cause that they share.
	OutlierMaxPercent = 50
)

// Outcome is how an exchange with an endpoint ended, as far as that was up to it.
type Outcome uint8

const (
	// Success is a response with a status below 500.
	Success Outcome = iota
	// ServerError is any other response, but for those that make a GatewayError.
	ServerError
	// GatewayError is the status 502, 503 or 504, or no whole response: the connection
	// broke, what came was not HTTP, or time ran out.
	GatewayError
)

// OutcomeOf is the outcome of an exchange with a whole response.
func OutcomeOf(status int) Outcome {
	switch {
	case status == 502 || status == 503 || status == 504:
		return GatewayError
	case status >= 500:
		return ServerError
	default:
		return Success
	}
}

// streak is what an endpoint did since its last Success.
type streak struct {
	errors        atomic.Int32
	gatewayErrors atomic.Int32
}

func (s *streak) end() {
	end(&s.errors)
	end(&s.gatewayErrors)
}

// end writes only if there is something to write: the cores share that memory.
func end(count *atomic.Int32) {
	if count.Load() != 0 {
		count.Store(0)
	}
}

// ejection is the last one of an endpoint.
type ejection struct {
	until time.Time
	wait  time.Duration // that ended at until
}

// Report says how an exchange ended that had a connection to the endpoint; failures to
// connect are for Fail, and what the client caused is not reported. The Backend's
// Outlier decides what follows. It neither waits nor, unless it ejects, allocates.
func (e *Endpoint) Report(outcome Outcome, now time.Time) {
	o := &e.backend.settings.Outlier
	if o.Errors <= 0 && o.GatewayErrors <= 0 {
		return
	}
	if outcome == Success {
		e.streak.end()
		return
	}
	if e.Ejected(now) {
		return // an exchange from before
	}
	failed := reached(e.streak.errors.Add(1), o.Errors)
	if outcome == GatewayError {
		failed = reached(e.streak.gatewayErrors.Add(1), o.GatewayErrors) || failed
	} else {
		end(&e.streak.gatewayErrors)
	}
	if failed {
		e.backend.eject(e, now)
	}
}

// reached reports whether a count has come to its limit, if there is one.
func reached(count int32, limit int) bool { return limit > 0 && int(count) >= limit }

// Ejected reports whether the endpoint is out for what it answered.
func (e *Endpoint) Ejected(now time.Time) bool {
	h := e.hold.Load()
	return h != nil && now.Before(h.until)
}

// eject takes e out, unless too many are already. Of two that come at the same time
// one goes away, and comes again with the next failure of its endpoint.
func (b *Backend) eject(e *Endpoint, now time.Time) {
	if !b.ejecting.TryLock() {
		return
	}
	defer b.ejecting.Unlock()
	if e.Ejected(now) {
		return
	}
	e.streak.end()
	o := &b.settings.Outlier
	all := b.Endpoints()
	out := 1
	for _, other := range all {
		if other.Ejected(now) {
			out++
		}
	}
	if out*100 > len(all)*orDefault(o.MaxPercent, OutlierMaxPercent) {
		return
	}
	wait := orDefault(o.Base, OutlierBase)
	if last := &e.ejected; last.wait > 0 && now.Sub(last.until) < last.wait {
		wait = 2 * last.wait
	}
	wait = min(wait, orDefault(o.Max, OutlierMax))
	e.ejected = ejection{now.Add(wait), wait}
	e.hold.Store(newHold(e.ejected.until, b.settings.SlowStart))
}

// orDefault returns value, or usual for one that is not positive.
func orDefault[T cmp.Ordered](value, usual T) T {
	var zero T
	if value <= zero {
		return usual
	}
	return value
}
