package exchange

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// Defaults of [Settings]; each field there says what it bounds.
const (
	// A browser sends a head in one packet; 10 s forgives a bad mobile link and
	// still ends a slow-head attack soon.
	DefaultReadHeaderTimeout = 10 * time.Second
	// The keep-alive of nginx, and longer than the 60 s that load balancers in
	// front keep idle connections, so that they close first.
	DefaultIdleTimeout = 75 * time.Second
	// A TCP handshake inside a cluster takes a millisecond; 5 s covers two lost
	// SYNs (retransmitted after 1 and 3 s).
	DefaultConnectTimeout = 5 * time.Second
	// The proxy_read_timeout of nginx.
	DefaultResponseHeaderTimeout = 60 * time.Second
	// The proxy_read_timeout and send_timeout of nginx.
	DefaultBodyTimeout = 60 * time.Second
	// Far below any link that works, and above a byte now and then, which is all that
	// who attacks with thousands of connections wants to spend on each.
	DefaultMinBodyRate = 64
	// Shorter than the 75 s of most servers' keep-alive, so that we close first.
	DefaultUpstreamIdleTimeout = 60 * time.Second
	// The keepalive_time of nginx: a reconnect costs nothing at this rate, and what both
	// sides gather for a connection goes.
	DefaultUpstreamMaxAge = time.Hour
	// Bounds file descriptors: 50 busy endpoints keep 25,600 at the most. With fewer than
	// there are clients at once, connections are closed and opened anew all the time.
	DefaultMaxIdlePerEndpoint = 512
	// A connection that waits costs 2 to 10 KiB with its socket buffers, so this many
	// are what a node of 1 GiB can bear.
	DefaultMaxConnections = 32 << 10
	// What browsers expect at least (RFC 9113 §6.5.2 recommends 100).
	DefaultMaxConcurrentStreams = 128
	// The idle_timeout of Envoy for TCP. Protocols that are silent for longer use TCP
	// keep-alive or messages of their own.
	DefaultStreamIdleTimeout = time.Hour
	// The idle_timeout of Envoy for UDP: what NATs keep an entry for at least is 30 s
	// (RFC 4787 §4.3 wants 2 min), while a DNS query is over in one.
	DefaultSessionIdleTimeout = time.Minute
	// A session takes a descriptor and about 5 KiB.
	DefaultMaxSessions = 8 << 10
	// Pods get 30 s from SIGTERM to SIGKILL by default: this leaves time to exit.
	DefaultDrainTimeout = 25 * time.Second
)

// Timings that nobody needs to set.
const (
	// ProbeInterval is how often a wait for an upstream looks whether the client
	// is still there.
	ProbeInterval = time.Second
	// ContinueTimeout is how long a client that expects 100 (Continue) waits for
	// the upstream's, before we send our own.
	ContinueTimeout = time.Second
	// FreshGrace is what a connection without a request gets when its socket drains:
	// one may be on the way, and its response says that it was the last.
	FreshGrace = time.Second
	// LingerTimeout bounds how long a request body that nobody wants any more is
	// still read, so that the client gets to see the response and not a reset.
	LingerTimeout = 2 * time.Second
	// SessionPatience is the silence after which a UDP session makes room for another
	// when there are as many as there may be: longer than a client waits before it asks
	// again.
	SessionPatience = 5 * time.Second
	// SessionGrace is the silence after which a UDP session ends when its socket drains:
	// what was asked for may still be answered.
	SessionGrace = 2 * time.Second
	// HalfClosedTimeout bounds the silence of an upgraded connection once one
	// side has finished sending.
	HalfClosedTimeout = 60 * time.Second
)

// Settings of the data plane. A zero value takes the default; a negative duration
// or number means no limit.
type Settings struct {
	// ReadHeaderTimeout bounds a TLS handshake and, from its first byte, a
	// request head: 10 s.
	ReadHeaderTimeout time.Duration
	// IdleTimeout bounds the time between two requests of a connection: 75 s. It
	// may be noticed up to a quarter late, as may BodyTimeout.
	IdleTimeout time.Duration
	// ConnectTimeout bounds connecting to one endpoint: 5 s.
	ConnectTimeout time.Duration
	// ResponseHeaderTimeout bounds the time from the end of the request to the
	// head of the response: 60 s, then 504.
	ResponseHeaderTimeout time.Duration
	// BodyTimeout bounds the time between two pieces of a body, in either
	// direction and on either side: 60 s. After an upgrade it bounds each write,
	// but no silence.
	BodyTimeout time.Duration
	// MinBodyRate is how many bytes a second a client of HTTP/1 must send of a request's
	// body on average while it is waited for, over each [PaceGrace]: 64, then 408. One of
	// HTTP/2 must make room for as much of a response, or its stream is reset.
	MinBodyRate int64
	// UpstreamIdleTimeout bounds how long an idle upstream connection is kept: 60 s.
	UpstreamIdleTimeout time.Duration
	// UpstreamMaxAge is how old an upstream connection may be to be used again: 1 h. The
	// exchange that it serves when it gets older is finished.
	UpstreamMaxAge time.Duration
	// StreamIdleTimeout bounds the silence of a stream, a connection of a TCPRoute or a
	// TLSRoute, in both directions together: 1 h.
	StreamIdleTimeout time.Duration
	// SessionIdleTimeout bounds the silence of a client and an endpoint of a UDPRoute,
	// after which the client may get another endpoint: 60 s.
	SessionIdleTimeout time.Duration
	// MaxSessions bounds the sessions of a UDP socket: 8192. When there are as many, a
	// new one takes the place of one that was silent for [SessionPatience], or else its
	// datagrams are dropped.
	MaxSessions int
	// MaxIdlePerEndpoint bounds the idle connections kept to one endpoint: 512.
	// Negative keeps none.
	MaxIdlePerEndpoint int
	// DrainTimeout bounds how long exchanges and upgraded connections go on after
	// their socket was removed or Run's context ended: 25 s.
	DrainTimeout time.Duration
	// MaxBody bounds request bodies in bytes, and beyond it the answer is 413.
	// Zero and negative mean no limit.
	MaxBody int64
	// Limits bound request and response heads; nil takes those of [h1.DefaultLimits].
	Limits *h1.Limits

	// TrustedProxies are the peers whose X-Forwarded-*, X-Real-Ip, Forwarded and
	// X-Request-Id fields are believed. Those of other peers are replaced.
	TrustedProxies []netip.Prefix

	// Explain puts the Cause into our own answers, as the field X-Lintel-Cause.
	Explain bool
	// NoHTTP3 keeps sockets that speak TLS from serving HTTP/3, on the UDP port of the same
	// number.
	NoHTTP3 bool

	// Share is what processes of this machine have in common that have their listening
	// sockets between them, so that one can end while another serves; they must be of one
	// user and in one network namespace. It is Linux's alone. "" shares with nobody.
	Share string
	// HostPorts opens the sockets; nil binds them to what they listen to.
	HostPorts HostPorts

	// Lane chooses between the lanes; [LaneAuto] is the zero value.
	Lane Lane

	// ProxyProtocolFrom are the peers, load balancers all, whose connections have to
	// begin with a PROXY protocol header, version 1 or 2. Others must not send one.
	ProxyProtocolFrom []netip.Prefix

	// MaxConnections bounds the open connections of a socket; more are closed as they
	// come: 32,768.
	MaxConnections int
	// MaxConnectionsPerAddress bounds those of one client address, or of one /64 in
	// IPv6, over all sockets. TrustedProxies and ProxyProtocolFrom are exempt. Zero and
	// negative mean no limit: behind a load balancer that hides addresses everybody
	// has the same one.
	MaxConnectionsPerAddress int
	// MaxConcurrentStreams bounds the streams that one client connection may have open
	// at once, over HTTP/2 and HTTP/3: 128. Negative is taken for the default, as there
	// is no way to announce none.
	MaxConcurrentStreams int
	// MemoryLimit is how much memory there is for the heap and the stacks, in bytes.
	// When three quarters of it are in use, new requests are answered 503 with
	// Retry-After, and what is under way goes on. So they are when as much is promised: what
	// exchanges and the connections of the full lane may need. Zero and negative mean no limit.
	MemoryLimit int64

	// EntriesEnd, when it is closed, lets Entries refuse what comes, after Run's context has
	// ended: whoever feeds them may have to be told first that no more is wanted. Nil is
	// closed.
	EntriesEnd <-chan struct{}

	// Observe is called after each exchange, on the connection's goroutine: it
	// must not block. The Report and its strings are valid during the call
	// alone. Nil observes nothing.
	Observe func(*Report)
	// Log gets what concerns no single exchange, such as a failing accept; nil
	// discards it.
	Log *slog.Logger

	// Dial opens upstream connections; nil uses TCP. Its context ends with
	// ConnectTimeout.
	Dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
}

// HostPorts opens sockets that get what comes for an address of this machine ("192.0.2.1:80"),
// or for a port on all of them (":80"), without being bound to it. It has to be safe for
// concurrent use.
type HostPorts interface {
	// ListenTCP opens a socket whose connections have the address as their own. An error
	// that is syscall.EADDRINUSE says that somebody else has it; with others it is bound.
	ListenTCP(address string) (*net.TCPListener, error)
	// ListenUDP is ListenTCP for datagrams. What is sent from the socket says by control
	// messages which address it is from.
	ListenUDP(address string) (*net.UDPConn, error)
	// Adopt makes a socket that another process has opened in this way ("tcp" or "udp")
	// outlive that process.
	Adopt(network, address string, socket syscall.RawConn) error
}

// Lane is a way through the data plane. Both behave alike.
type Lane uint8

const (
	// LaneAuto takes the express lane, event loops without goroutines, for whatever
	// it can serve.
	LaneAuto Lane = iota
	// LaneFull takes the full lane, a goroutine a connection, for everything.
	LaneFull
)

// WithDefaults returns s with every zero field filled.
func (s Settings) WithDefaults() Settings {
	s.ReadHeaderTimeout = duration(s.ReadHeaderTimeout, DefaultReadHeaderTimeout)
	s.IdleTimeout = duration(s.IdleTimeout, DefaultIdleTimeout)
	s.ConnectTimeout = duration(s.ConnectTimeout, DefaultConnectTimeout)
	s.ResponseHeaderTimeout = duration(s.ResponseHeaderTimeout, DefaultResponseHeaderTimeout)
	s.BodyTimeout = duration(s.BodyTimeout, DefaultBodyTimeout)
	s.UpstreamIdleTimeout = duration(s.UpstreamIdleTimeout, DefaultUpstreamIdleTimeout)
	s.UpstreamMaxAge = duration(s.UpstreamMaxAge, DefaultUpstreamMaxAge)
	s.StreamIdleTimeout = duration(s.StreamIdleTimeout, DefaultStreamIdleTimeout)
	s.SessionIdleTimeout = duration(s.SessionIdleTimeout, DefaultSessionIdleTimeout)
	s.MaxSessions = cmp.Or(s.MaxSessions, DefaultMaxSessions)
	s.DrainTimeout = duration(s.DrainTimeout, DefaultDrainTimeout)
	s.MinBodyRate = cmp.Or(s.MinBodyRate, DefaultMinBodyRate)
	s.MaxConnections = cmp.Or(s.MaxConnections, DefaultMaxConnections)
	s.MaxIdlePerEndpoint = cmp.Or(s.MaxIdlePerEndpoint, DefaultMaxIdlePerEndpoint)
	s.MaxConcurrentStreams = cmp.Or(max(0, s.MaxConcurrentStreams), DefaultMaxConcurrentStreams)
	if s.Limits == nil {
		limits := h1.DefaultLimits()
		s.Limits = &limits
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Dial == nil {
		s.Dial = DialTCP
	}
	return s
}

// Forever stands for no limit: far away, and safe to add to a time.
const Forever = 100 * 365 * 24 * time.Hour

func duration(d, fallback time.Duration) time.Duration {
	if d < 0 {
		return Forever
	}
	return cmp.Or(d, fallback)
}

// DialTCP opens a TCP connection to addr.
func DialTCP(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	conn, err := new(net.Dialer).DialTCP(ctx, "tcp", netip.AddrPort{}, addr)
	if err != nil {
		return nil, err // not the nil *net.TCPConn
	}
	return conn, nil
}
