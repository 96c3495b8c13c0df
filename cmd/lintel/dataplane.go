package main

import (
	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/observe"
	"github.com/lintel-dev/lintel/proxy"
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

func (p *process) proxySettings() proxy.Settings {
	s := &p.settings
	limits := h1.DefaultLimits()
	limits.Head = int(s.MaxHeaderBytes)
	return proxy.Settings{
		ReadHeaderTimeout:     unlimited(s.ReadHeaderTimeout),
		IdleTimeout:           unlimited(s.IdleTimeout),
		ConnectTimeout:        unlimited(s.ConnectTimeout),
		ResponseHeaderTimeout: unlimited(s.ResponseHeaderTimeout),
		BodyTimeout:           unlimited(s.BodyStallTimeout),
		MinBodyRate:           unlimited(s.MinBodyRate),
		UpstreamIdleTimeout:   unlimited(s.UpstreamIdleTimeout),
		UpstreamMaxAge:        unlimited(s.UpstreamMaxAge),
		StreamIdleTimeout:     unlimited(s.StreamIdleTimeout),
		SessionIdleTimeout:    s.UDPIdleTimeout,
		MaxSessions:           unlimited(s.MaxUDPSessions),
		DrainTimeout:          s.DrainTimeout,
		MaxBody:               s.MaxBodyBytes,
		ProxyProtocolFrom:     s.ProxyProtocolFrom,
		MaxConnections:        unlimited(s.MaxConnections),

		MaxConnectionsPerAddress: s.MaxConnectionsPerAddress,
		MaxConcurrentStreams:     s.MaxConcurrentStreams,
		MemoryLimit:              p.memory,
		Explain:                  s.ErrorCause,
		Lane:                     lane(s.ExpressLane),
		Share:                    shareName(s),
		NoHTTP3:                  !s.HTTP3,
		Limits:                   &limits,
		TrustedProxies:           s.TrustedProxies,
		Log:                      p.log,
		Observe:                  p.observe,
		EntriesEnd:               p.tunnelsEnd,
	}
}

// observe is called after every exchange. The calls are direct, so that the record
// stays on the stack.
func (p *process) observe(e *proxy.Report) {
	record := observedExchange(e)
	if e.Cause != "" {
		if name, through := gateway.TunnelOfSocket(e.Socket); through {
			p.metrics.TunnelError(name, string(e.Cause))
		}
	}
	p.metrics.ObserveExchange(&record)
	if p.accessLog != nil {
		p.accessLog.ObserveExchange(&record)
	}
	p.records.ObserveExchange(&record)
}

func lane(express bool) exchange.Lane {
	if express {
		return exchange.LaneAuto
	}
	return exchange.LaneFull
}

// unlimited turns the 0 of our settings, no limit, into the data plane's.
func unlimited[T ~int | ~int64](limit T) T {
	if limit == 0 {
		return -1
	}
	return limit
}

// observedExchange converts the data plane's record to that of metrics and logs.
func observedExchange(e *proxy.Report) observe.Exchange {
	return observe.Exchange{
		Listener: e.Listener, Route: e.Route, Backend: e.Backend,
		Client: e.Client, Protocol: e.Protocol, Scheme: e.Scheme, Method: e.Method, Host: e.Host, Path: e.Path,
		UserAgent: e.UserAgent, RequestID: e.RequestID,
		Status: e.Status, BytesIn: e.Received, BytesOut: e.Sent, Start: e.Start, Duration: e.Duration,
		Upstream: e.Upstream, UpstreamLatency: e.UpstreamLatency, Attempts: e.Attempts, Cause: string(e.Cause),
	}
}
