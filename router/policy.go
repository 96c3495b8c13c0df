package router

import (
	"slices"
	"time"
)

// CORS answers preflight requests, and says to browsers who may read responses (GEP-1767,
// Fetch §3.2). Lists may hold "*" for everything.
type CORS struct {
	// AllowOrigins are "*", "https://example.com" or "https://*.example.com", in lower case.
	AllowOrigins     []string
	AllowMethods     []string
	AllowHeaders     []string
	ExposeHeaders    []string
	AllowCredentials bool
	MaxAge           time.Duration // of what a preflight answered; in whole seconds
}

// Mirror sends a copy of a share of the requests to another Backend, whose responses
// are dropped (GEP-3171).
type Mirror struct {
	// Backend is nil for a reference that does not resolve: nothing is sent.
	Backend *Backend
	// Numerator of Denominator requests are copied; the Denominator is positive.
	Numerator   int
	Denominator int
}

// Retry is when a request is tried again (GEP-1731). Without one, what fails before an
// endpoint has done anything moves on to the next, and requests of idempotent methods are
// repeated a few times.
//
// An attempt that failed before the endpoint got anything is tried again in any case, and
// one that was answered with one of Codes. One that was reset without an answer, or ran
// out of the BackendTimeout, may have had an effect: it is tried again if the method is
// idempotent, or if Codes has 502 or 504, which is what it would be answered with.
type Retry struct {
	Codes    []int // statuses that are tried again
	Attempts int   // after the first; 0 or less means none at all
	// Backoff is the least pause before an endpoint is tried that was tried before, or
	// any after it has answered. Pauses double, up to ten times as much. 0 or less takes
	// [DefaultBackoff].
	Backoff time.Duration
}

// DefaultBackoff is that of Envoy: longer than a hiccup, and too short to be felt.
const DefaultBackoff = 25 * time.Millisecond

// Has reports whether a response with this status is to be tried again.
func (r *Retry) Has(status int) bool { return slices.Contains(r.Codes, status) }

// Pause is how long to wait before the n-th retry, from 1. jitter, from 0 to 1, makes it
// up to half as long again, so that clients do not come back all at once.
func (r *Retry) Pause(n int, jitter float64) time.Duration {
	base := r.Backoff
	if base <= 0 {
		base = DefaultBackoff
	}
	pause := base
	for range n - 1 {
		if pause = min(2*pause, 10*base); pause == 10*base {
			break
		}
	}
	return pause + time.Duration(jitter*float64(pause)/2)
}

// Session keeps a client with the endpoint of a Backend that it got first (GEP-1619). It
// does not choose between Backends: weights do, each time.
type Session struct {
	// Name is that of the cookie, or with Header that of the header field.
	Name   string
	Header bool
	// Absolute ends a session that long after it began, Idle after its last request; 0
	// means never.
	Absolute time.Duration
	Idle     time.Duration
	// Permanent gives the cookie a lifetime: that of Absolute. Otherwise it ends with the
	// browser's session.
	Permanent bool
	// Path limits the cookie; "" is "/".
	Path string
}
