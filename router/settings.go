package router

import "time"

// BackendSettings say how a Backend is used. They are fixed when it is made, so that
// a request reads them without a lock: other settings make another Backend. The zero
// BackendSettings are HTTP/1.1 in the clear, without limits, and without a look at
// what endpoints answer.
type BackendSettings struct {
	Protocol Protocol
	// TLS is set for HTTPS, and for nothing else.
	TLS *BackendTLS
	// ProxyProtocol tells endpoints whose connection is forwarded. It is not for H2C, where
	// clients share connections.
	ProxyProtocol ProxyProtocol

	Outlier Outlier
	// SlowStart is how long an endpoint that comes to others takes to get its full
	// share of exchanges; 0 or less gives it at once.
	SlowStart time.Duration
	Circuit   Circuit
	// RetryBudget bounds retries.
	RetryBudget RetryBudget
	// Session keeps clients with endpoints where the Rule says nothing of that; nil for none.
	Session *Session
}

// Equal reports whether a Backend made with s need not be replaced by one with o.
func (s *BackendSettings) Equal(o *BackendSettings) bool {
	return s.Protocol == o.Protocol && s.TLS.Equal(o.TLS) && s.ProxyProtocol == o.ProxyProtocol &&
		s.Outlier == o.Outlier && s.SlowStart == o.SlowStart && s.Circuit == o.Circuit &&
		s.RetryBudget == o.RetryBudget && s.Session.equal(o.Session)
}

// equal reports whether both are nil, or say the same.
func (s *Session) equal(o *Session) bool {
	return s == o || s != nil && o != nil && *s == *o
}

// check panics on settings that no Backend can have.
func (s *BackendSettings) check() {
	if (s.TLS != nil) != (s.Protocol == HTTPS) {
		panic("router: a Backend has BackendTLS if, and only if, it speaks HTTPS")
	}
	if s.ProxyProtocol != NoProxyProtocol && s.Protocol == H2C {
		panic("router: connections that clients share cannot tell of one by the PROXY protocol")
	}
	if s.TLS != nil && s.TLS.ServerName == "" {
		panic("router: BackendTLS without a ServerName recognises nobody")
	}
}
