package exchange

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Report tells of one exchange, or of one stream or session of datagrams that is not read
// as HTTP, as [Settings.Observe] gets it. It belongs to the
// connection and is used again for the next exchange: it and its strings are valid
// during the call alone, but for Listener and Route, which are those of the Rule.
type Report struct {
	Socket   string // the listening socket: ":80"
	Listener string // of the Rule, "" when none matched
	Route    string // of the Rule, "" when none matched
	Backend  string // "namespace/name:port", "" when none was chosen

	Client    netip.Addr // the peer, or whom trusted proxies name
	Protocol  string     // "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/3.0"; "tcp", "tls" or "udp" for a stream
	Scheme    string     // "http", "https"; of a stream the Protocol
	Method    string     // "" when the head could not be read
	Host      string     // normalised; of a stream the server name
	Path      string     // normalised, as the client sent it before any rewrite
	UserAgent string
	RequestID string

	// Status is what the client was sent; 0 when it got nothing, because it was
	// gone before, and of a stream.
	Status int
	// Received and Sent are bytes of body, without framing; after an upgrade,
	// bytes relayed.
	Received int64
	Sent     int64
	// Start is when the request's head was complete. Duration runs from there to
	// the last byte of the response.
	Start    time.Time
	Duration time.Duration

	// Upstream is the endpoint that was tried last, invalid when none was.
	Upstream netip.AddrPort
	// UpstreamLatency is the time from Start to the head of the response, or until a stream
	// was connected.
	UpstreamLatency time.Duration
	// Attempts counts the upstream connections used: more than 1 after a retry.
	Attempts int
	Cause    Cause
}

// Cause says in a word or two why an exchange did not end well; "" when it did.
type Cause string

// The causes.
const (
	CauseNone            Cause = ""
	CauseBadRequest      Cause = "bad request"
	CauseNoRoute         Cause = "no route"
	CauseMisdirected     Cause = "misdirected" // the connection is for another Listener
	CauseNoBackend       Cause = "no backend"
	CauseNoEndpoint      Cause = "no endpoint"
	CauseBodyTooLarge    Cause = "body too large"
	CauseClientGone      Cause = "client gone"
	CauseClientStalled   Cause = "client stalled"
	CauseConnectRefused  Cause = "connect refused"
	CauseConnectTimeout  Cause = "connect timeout"
	CauseUpstreamTLS     Cause = "upstream tls"
	CauseUpstreamReset   Cause = "upstream reset"
	CauseUpstreamInvalid Cause = "upstream invalid"
	CauseTimeout         Cause = "timeout"
	CauseClientTLS       Cause = "client tls"
	CauseIdle            Cause = "idle"         // of a stream that was silent for too long
	CauseDrained         Cause = "drained"      // its socket was removed, or Lintel stopped
	CauseOverload        Cause = "overload"     // memory is short
	CauseDenied          Cause = "denied"       // by an authorization server
	CauseNoAccess        Cause = "no access"    // the Guard of an Entry has refused it
	CauseAuthFailed      Cause = "auth failed"  // there was no answer from an authorization server
	CauseRetryBudget     Cause = "retry budget" // of the Backend is spent
	CauseCircuit         Cause = "circuit open" // a limit of the Backend
)

// Stats are gauges of the data plane; read them with Load at any time.
type Stats struct {
	Downstream   atomic.Int64 // open client connections
	Upstream     atomic.Int64 // open upstream connections, idle ones included
	UpstreamIdle atomic.Int64 // upstream connections that wait for a request
	Upgraded     atomic.Int64 // connections being relayed after an upgrade
	Refused      atomic.Int64 // client connections beyond a limit, ever
	Streams      atomic.Int64 // open connections of TCPRoutes and TLSRoutes
	Sessions     atomic.Int64 // of UDPRoutes
	Dropped      atomic.Int64 // datagrams that were not forwarded, ever
	Mirroring    atomic.Int64 // copies of requests under way to mirrors
	MirrorsCut   atomic.Int64 // copies that were not sent, or not to their end, since a mirror was slow or failed, ever
	NoAccess     atomic.Int64 // requests that the Guard of an Entry refused, ever
}
