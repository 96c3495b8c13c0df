package main

import "slices"

// Protocol is what clients speak with the proxy.
type Protocol int

const (
	HTTP1     Protocol = iota // in the clear, keep-alive
	TLS                       // HTTP/1.1 over TLS 1.3, keep-alive
	Handshake                 // HTTP/1.1 over TLS 1.3, a new connection and a full handshake for each request
	HTTP2                     // over TLS 1.3, as browsers do
	WebSocket                 // messages to and fro over HTTP/1.1 in the clear
	GRPC                      // unary calls over HTTP/2 and TLS 1.3; in the clear to the upstream
)

// Case is one thing to compare.
type Case struct {
	Name     string
	Protocol Protocol
	Path     string // of the request
	Size     int    // of the response's body, or of a message, in bytes
	Conns    int    // connections
	Streams  int    // requests under way on each connection; more than 1 with HTTP/2 alone
	Hosts    int    // number of routes, each with a hostname of its own; 0: one route without a hostname
	// Fraction of the saturated rate of the slower of lintel and nginx, at which
	// requests are sent whether or not earlier ones were answered. 0: saturated.
	Fraction float64
	// Idle: each connection makes one request and is idle from then on. Memory is
	// measured, once, and not CPU time.
	Idle bool
	// Slow is how many further connections send a request's head that never ends.
	// Latency is measured without them and with them.
	Slow int
	// Named: it takes longer than others, and runs only when it is asked for by name.
	Named bool
}

// Connections returns how many clients have at once.
func (c Case) Connections() int { return c.Conns + c.Slow }

// Encrypted tells whether clients speak TLS.
func (c Case) Encrypted() bool {
	return c.Protocol == TLS || c.Protocol == Handshake || c.Protocol == HTTP2 || c.Protocol == GRPC
}

const (
	sizeKiB    = 1024
	size10KiB  = 10 * 1024
	sizeMiB    = 1 << 20
	usualConns = 64
	manyHosts  = 5000
	manyConns  = 10_000
	// messageSize of WebSockets: of a chat line. The upstream takes 125 at most.
	messageSize = 100
	// A quarter of what a core can do is what a gateway is planned for.
	quarter = 0.25
)

func allCases() []Case {
	return []Case{
		{Name: "h1-1k", Path: "/1k", Size: sizeKiB, Conns: usualConns},
		{Name: "h1-10k", Path: "/10k", Size: size10KiB, Conns: usualConns},
		{Name: "h1-1m", Path: "/1m", Size: sizeMiB, Conns: usualConns},
		{Name: "h1-512conns", Path: "/1k", Size: sizeKiB, Conns: 512},
		{Name: "h1-rate", Path: "/1k", Size: sizeKiB, Conns: usualConns, Fraction: quarter},
		{Name: "tls-1k", Protocol: TLS, Path: "/1k", Size: sizeKiB, Conns: usualConns},
		{Name: "tls-handshake", Protocol: Handshake, Path: "/1k", Size: sizeKiB, Conns: 32},
		{Name: "h2-1k", Protocol: HTTP2, Path: "/1k", Size: sizeKiB, Conns: 4, Streams: 32},
		{Name: "h2-64conns", Protocol: HTTP2, Path: "/1k", Size: sizeKiB, Conns: usualConns, Streams: 1},
		{Name: "hosts-5000", Path: "/1k", Size: sizeKiB, Conns: usualConns, Hosts: manyHosts},
		{Name: "websocket-echo", Protocol: WebSocket, Path: "/ws", Size: messageSize, Conns: usualConns},
		{Name: "grpc-unary", Protocol: GRPC, Path: grpcPath, Size: grpcMessageSize, Conns: 4, Streams: 32},
		{Name: "idle-10k", Path: "/1k", Size: sizeKiB, Conns: manyConns, Idle: true},
		{Name: "idle-10k-tls", Protocol: TLS, Path: "/1k", Size: sizeKiB, Conns: manyConns, Idle: true, Named: true},
		{Name: "slow-10k", Path: "/1k", Size: sizeKiB, Conns: usualConns, Fraction: quarter, Slow: manyConns, Named: true},
	}
}

// usualCases returns those that run when none is named.
func usualCases() []Case {
	return slices.DeleteFunc(allCases(), func(c Case) bool { return c.Named })
}

// siteHost is the host of every request but those of a Case with Hosts, whose
// hosts are named by hostPattern.
const (
	siteHost    = "bench.example"
	hostPattern = "host-%d.bench.example"
)
