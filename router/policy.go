package router

import "time"

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

// Retry is when a request is tried again (GEP-1731). Connections that fail before the
// endpoint has got anything are always tried again, as far as Attempts allow.
type Retry struct {
	Codes    []int         // statuses that are tried again
	Attempts int           // after the first; 0 or less means none
	Backoff  time.Duration // the least pause before each; 0 means none
}

// Session keeps a client with the endpoint that it got first (GEP-1619).
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
