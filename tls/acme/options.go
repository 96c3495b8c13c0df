package acme

import (
	"log/slog"
	"time"
)

// Options are what [New] needs. Issuers, Storage and Log must be set.
type Options struct {
	// Issuers that certificates may name, each Name once.
	Issuers []Issuer
	Storage Storage
	Log     *slog.Logger
	// UserAgent is sent to CAs before the name of the library, as RFC 8555 §6.1 asks.
	UserAgent string
	// Changed is called after each change of States, by several goroutines; it must
	// not block. It may be nil.
	Changed func()
	// Metrics may be left zero.
	Metrics Metrics
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Backoff is the wait after failures; zero means from a minute to four hours.
	Backoff Backoff
	// Settle is how long to wait, after every server and replica answers, before the
	// CA is told to look: caches and balancers in between are not seen from here.
	// 0 means 2 s, less than 0 not at all.
	Settle time.Duration
}

// Backoff is the wait after a failed order: First, then twice as long each time, and
// Most at last; each up to a tenth longer, by chance. A longer wait that the CA asks
// for (Retry-After) is respected.
type Backoff struct{ First, Most time.Duration }

// Metrics are called as things happen, by several goroutines; each may be nil.
type Metrics struct {
	// Ordered is called for each order that the CA took, by issuer.
	Ordered func(issuer string)
	// Obtained is called when a certificate has been stored, by issuer.
	Obtained func(issuer string)
	// Failed is called for each attempt that failed, by issuer. The reason is the type
	// of the CA's problem, as RFC 8555 §6.7 names it, or "other".
	Failed func(issuer, reason string)
}
