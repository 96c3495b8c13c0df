package observe

import (
	"net/netip"
	"time"
)

// Kind is what a Record tells of.
type Kind string

// The kinds.
const (
	KindL7     Kind = "l7"     // a request and its response, by the data plane
	KindStream Kind = "stream" // a connection or session that was not read as HTTP, by the data plane
	KindL4     Kind = "l4"     // a TCP connection, by the kernel
	KindLost   Kind = "lost"   // records that are missing
)

// Verdict says in a word how something ended.
type Verdict string

// The verdicts.
const (
	VerdictForwarded Verdict = "forwarded" // an endpoint's answer reached the client
	VerdictAnswered  Verdict = "answered"  // by Lintel, as it was told to: a redirect, say
	VerdictDenied    Verdict = "denied"    // by an authorization server
	VerdictFailed    Verdict = "failed"    // the cause says why
	VerdictAborted   Verdict = "aborted"   // by the client: a request, or an attempt to connect

	VerdictClosed  Verdict = "closed"  // a connection, in order
	VerdictReset   Verdict = "reset"   // a connection, by either end
	VerdictTimeout Verdict = "timeout" // the other end was silent
	VerdictRefused Verdict = "refused" // an attempt to connect
)

// Direction is that of a connection, as this end sees it.
type Direction string

// The directions.
const (
	DirectionIn  Direction = "in"
	DirectionOut Direction = "out"
)

// Why records are missing.
const (
	causeSlowReader = "this reader was too slow"
	causeFullRing   = "connections ended faster than they were read from the kernel"
)

// Record is one line of a Stream. Its keys in JSON are part of what users rely on;
// docs/observing.md lists them.
type Record struct {
	Kind    Kind      `json:"kind"`
	Time    time.Time `json:"time"` // when it ended
	Verdict Verdict   `json:"verdict,omitempty"`
	Cause   string    `json:"cause,omitempty"`
	// Lost is how many records are missing here.
	Lost uint64 `json:"lost,omitempty"`

	Source      Peer `json:"source,omitzero"`
	Destination Peer `json:"destination,omitzero"`

	Protocol string  `json:"protocol,omitempty"`
	BytesIn  int64   `json:"bytes_in"` // from the client; of l4 those that this end received
	BytesOut int64   `json:"bytes_out"`
	Seconds  float64 `json:"seconds"`

	// Of l7 and stream alone.
	Method          string  `json:"method,omitempty"`
	Scheme          string  `json:"scheme,omitempty"`
	Host            string  `json:"host,omitempty"`
	Path            string  `json:"path,omitempty"`
	Status          int     `json:"status,omitempty"`
	UserAgent       string  `json:"user_agent,omitempty"`
	RequestID       string  `json:"request_id,omitempty"`
	Listener        string  `json:"listener,omitempty"`
	Route           string  `json:"route,omitempty"`
	Backend         string  `json:"backend,omitempty"`
	UpstreamSeconds float64 `json:"upstream_seconds,omitempty"`
	Attempts        int     `json:"attempts,omitempty"`

	// Of l4 alone.
	Direction     Direction `json:"direction,omitempty"`
	RTTSeconds    float64   `json:"rtt_seconds,omitempty"`
	MinRTTSeconds float64   `json:"min_rtt_seconds,omitempty"`
	Retransmits   uint32    `json:"retransmits,omitempty"`
	// Before says that it was established before anybody looked, and took longer than
	// Seconds.
	Before bool `json:"before,omitempty"`
}

// Peer is one end.
type Peer struct {
	Address netip.Addr `json:"address,omitzero"`
	Port    uint16     `json:"port,omitempty"` // of an l7's client it is not known
	// Namespace is that of Pod and Service; all of them are "" where they are not known.
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Service   string `json:"service,omitempty"`
}
