package observe

import (
	"net/netip"
	"time"
)

// Exchange is one request and its response, or one connection or session of datagrams that
// was not read as HTTP. It is read during a call alone:
// whoever keeps its strings longer clones them, but for Listener and Route, which stay as
// they are.
type Exchange struct {
	Listener string // "Gateway default/web/http"; "" when no rule matched
	Route    string // "HTTPRoute default/shop"; "" when no rule matched
	Backend  string // "namespace/name:port"; "" when none was chosen

	Client    netip.Addr
	Protocol  string // "HTTP/1.1"; "tcp", "tls" or "udp" of what is not HTTP
	Scheme    string // "http" or "https", or else the Protocol
	Method    string // "" when the head could not be read
	Host      string
	Path      string
	UserAgent string
	RequestID string

	Status   int   // as sent to the client; 0 when it got nothing
	BytesIn  int64 // of the request's body
	BytesOut int64 // of the response's body

	Start    time.Time
	Duration time.Duration // from Start to the last byte of the response

	Upstream        netip.AddrPort // tried last; invalid when none was
	UpstreamLatency time.Duration  // from Start to the head of the response
	Attempts        int            // upstream connections used
	Cause           string         // why it did not end well; "" when it did
}

// stream reports whether e was not read as HTTP.
func (e *Exchange) stream() bool {
	switch e.Protocol {
	case "tcp", "tls", "udp":
		return true
	default:
		return false
	}
}
