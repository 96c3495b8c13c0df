package router

import "math/rand/v2"

// Pick chooses one of the Backends at random by weight, or nil when the total
// weight is 0. A weight of 0 or less is never chosen. It does not allocate.
func (a *Action) Pick() *WeightedBackend {
	total := 0
	for i := range a.Backends {
		total += max(0, a.Backends[i].Weight)
	}
	if total == 0 {
		return nil
	}
	if len(a.Backends) == 1 {
		return &a.Backends[0]
	}
	return a.at(rand.IntN(total))
}

// at returns the Backend that holds a point from 0 to the total weight, which the
// weights divide among them in order.
func (a *Action) at(point int) *WeightedBackend {
	for i := range a.Backends {
		if point -= max(0, a.Backends[i].Weight); point < 0 {
			return &a.Backends[i]
		}
	}
	return nil
}

// Plain reports whether the action asks for nothing but an answer of its own, or
// header filters, a rewrite, CORS, a session, weights, timeouts, and HTTP/1.1 or HTTP/2 in
// the clear, without a PROXY protocol header, to all of its Backends: what can be done
// without waiting for anything but the sockets of the exchange.
func (a *Action) Plain() bool {
	if a.Retry != nil || len(a.Mirrors) > 0 || a.Auth != nil {
		return false
	}
	for i := range a.Backends {
		b := a.Backends[i].Backend
		if b != nil && !b.settings.plain() {
			return false
		}
		if len(a.Backends[i].Mirrors) > 0 {
			return false
		}
	}
	return true
}

// plain is Plain for a Backend. Event loops do not have connections of HTTP/2 in common, so a
// limit of those would leave some of the loops without any.
func (s *BackendSettings) plain() bool {
	spoken := s.Protocol == HTTP1 || s.Protocol == H2C && s.Circuit.MaxConnections <= 0
	return spoken && s.ProxyProtocol == NoProxyProtocol && s.RetryBudget.Interval <= 0
}

// RewriteOf returns how a request to one of the Backends is rewritten, or nil.
func (a *Action) RewriteOf(b *WeightedBackend) *Rewrite {
	if b.Rewrite != nil {
		return b.Rewrite
	}
	return a.Rewrite
}

// SessionOf returns how a client is kept with an endpoint of one of the Backends, or nil.
func (a *Action) SessionOf(b *WeightedBackend) *Session {
	switch {
	case b.Session != nil:
		return b.Session
	case a.Session != nil || b.Backend == nil:
		return a.Session
	}
	return b.Backend.settings.Session
}
