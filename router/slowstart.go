package router

import "time"

// firstShare is what an endpoint in slow start begins with, of the exchanges that it
// would get otherwise: enough to warm up within the time, too little to fail under.
const firstShare = 0.1

// hold keeps exchanges from an endpoint: all of them until a time, and then fewer and
// fewer, until it has its full share. It is immutable.
type hold struct {
	until time.Time
	full  time.Time // not before until
}

// newHold returns a hold that ends with a slow start over the given time; 0 or less
// means without one.
func newHold(until time.Time, slow time.Duration) *hold {
	return &hold{until, until.Add(max(0, slow))}
}

// share is the part of exchanges that an endpoint gets of those that it would get
// otherwise, from firstShare at h.until to 1 at h.full. It is 0 before.
func (h *hold) share(now time.Time) float64 {
	switch {
	case now.Before(h.until):
		return 0
	case !now.Before(h.full):
		return 1
	}
	return firstShare + (1-firstShare)*float64(now.Sub(h.until))/float64(h.full.Sub(h.until))
}
