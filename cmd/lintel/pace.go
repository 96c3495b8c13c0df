package main

import "time"

const (
	// A loop that keeps on building works a third of the time, and leaves the rest
	// of a core to the traffic: after each build it rests for restFactor times as long.
	restFactor = 2
	maxRest    = 100 * time.Millisecond
	// workBurst is how long it may have worked without any rest. So changes that come
	// one by one are never held off, while a flood of them is taken in bundles.
	workBurst = 500 * time.Millisecond
)

// pace says when the loop rests. Time in which it did not work adds to its credit, up to
// workBurst. The zero pace has its whole credit. It belongs to one goroutine.
type pace struct {
	credit time.Duration
	since  time.Time // until when credit is reckoned; zero before the first work
}

// rest returns how long to rest after work from start to end, which does not overlap
// with the work before.
func (p *pace) rest(start, end time.Time) time.Duration {
	idle := workBurst * restFactor // before the first work
	if !p.since.IsZero() {
		idle = start.Sub(p.since)
	}
	p.credit = min(p.credit+idle/restFactor, workBurst) - end.Sub(start)
	p.since = end
	if p.credit >= 0 {
		return 0
	}
	rest := min(-p.credit*restFactor, maxRest)
	p.credit = max(p.credit, -maxRest/restFactor) // what maxRest does not cover is forgiven
	return rest
}
