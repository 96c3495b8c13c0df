package loop

import (
	"net"
	"net/netip"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/tls13"
	"github.com/lintel-dev/lintel/router"
)

// Config is what a [Group] is made from.
type Config struct {
	// Settings are those of the data plane, with their defaults filled in. Dial must
	// be the default: a loop connects by itself.
	Settings *exchange.Settings
	// Loops is how many loops there are; 0 takes half of GOMAXPROCS. When there are fewer
	// loops than GOMAXPROCS, each of them keeps its processor (P) of the Go scheduler through
	// its shorter waits.
	Loops    int
	Stats    *exchange.Stats
	Dates    *exchange.Dates
	Pressure *exchange.Pressure // nil is none
	// Reclaim closes an idle connection that others than the loops have to an endpoint,
	// and reports whether there was one; nil if there are no others.
	Reclaim func(*router.Endpoint) bool
}

// Socket is the listening socket that a connection came from. The loops call its
// methods, which must not block and are safe for concurrent use.
type Socket interface {
	// Name is what the Table knows the socket by.
	Name() string
	// Table is what the next request is routed by.
	Table() *router.Table
	// Drained is how often the socket's connections were told to drain. It tells a
	// loop so before [Group.Drain] does.
	Drained() uint32
	// HandOver passes a connection on that the loops cannot serve: from now on it is
	// the receiver's to serve and to close. The loops have forgotten it.
	HandOver(HandedOver)
	// Shake does the handshake of TLS on conn, whose reads and writes wait. The loop that
	// calls it does other things meanwhile, so nothing else may block.
	Shake(conn net.Conn) Shaken
	// TakeOver passes a connection on after its handshake. It is the receiver's as after
	// HandOver.
	TakeOver(TakenOver)
	// Closed says that a connection has ended, and that its descriptor is closed.
	Closed(peer netip.AddrPort)
}

// Listening is what a loop accepts connections from.
type Listening struct {
	FD int // of a listening TCP socket that does not block; it stays open until Listener.Close has returned
	// Local is where it listens; connections are asked for theirs where that is invalid or
	// no certain address.
	Local netip.AddrPort
	// Accepted is given each connection, as a descriptor that does not block, and Failed
	// is told why there is none and how long the loop pauses. Neither may block.
	Accepted func(fd int, peer, local netip.AddrPort)
	Failed   func(err error, pause time.Duration)
}

// Incoming is a connection that was accepted. The Group owns the descriptor from
// the call of Serve on.
type Incoming struct {
	FD     int // of a connected TCP socket; with TCP_NODELAY, as package net makes them
	Peer   netip.AddrPort
	Local  netip.AddrPort
	Socket Socket
	// Unread was read from the connection already; the Group owns it too.
	Unread []byte
	// Handshake says that the connection begins with one of TLS, see [Socket]. Then
	// there is no Session, and whether it is HTTP2 is not known.
	Handshake bool
	// Session protects the connection by TLS 1.3, and Unread is records; nil when it is
	// in the clear.
	Session *tls13.Session
	// ServerName is what the client has named in the handshake, as [router.NormalizeHost]
	// gives it; "" for nothing.
	ServerName string
	// AltSvc says that the client may be told that the Socket serves HTTP/3.
	AltSvc bool
	// HTTP2 says that the client speaks HTTP/2. All Rules of the Socket should be plain,
	// see [router.Table.Plain]: such a connection cannot be handed over.
	HTTP2 bool
	// Draining makes the connection's first exchange its last, and does not wait
	// long for it.
	Draining bool

	drained uint32 // of the Socket when Serve was called
}

// HandedOver is a connection that leaves the loops.
type HandedOver struct {
	FD    int
	Peer  netip.AddrPort
	Local netip.AddrPort
	// Unread begins with the complete head of the request that the loops could not
	// serve. That request is to be served even when Draining is set; then it is the
	// connection's last. The receiver owns the slice.
	Unread   []byte
	Draining bool
	// Session protects the connection, nil in the clear. Unread was protected by it, and
	// Sealed, which the receiver owns too, are the records that follow.
	Session    *tls13.Session
	Sealed     []byte
	ServerName string
}

// Lane is where a connection goes on.
type Lane uint8

// The lanes.
const (
	NoLane      Lane = iota // nowhere: it is to be closed
	ExpressLane             // here
	FullLane                // where [Socket.TakeOver] leads
)

// Shaken is what came of a handshake.
type Shaken struct {
	Lane Lane
	// Conn goes on where a Session can't: it is nil in the express lane.
	tls13.Handshake
	// ServerName and HTTP2 are as those of Incoming.
	ServerName string
	HTTP2      bool
}

// TakenOver is a connection that leaves the loops after its handshake, before any request.
type TakenOver struct {
	Shaken
	FD       int
	Peer     netip.AddrPort
	Local    netip.AddrPort
	Below    []byte // what comes before what FD has, for Shaken.Conn
	Draining bool
}

// Pair is a connection to be relayed, one that was upgraded or never was read as HTTP. The
// Group owns it from the call of [Group.Relay] on.
type Pair struct {
	Client, Upstream int // descriptors of connected TCP sockets that do not block
	// Pending goes to the upstream and Early to the client before anything else: they were
	// read already.
	Pending, Early []byte
	// Session protects the client's connection by TLS 1.3, and Sealed are records that were
	// read already and come behind Pending; nil when it is in the clear.
	Session *tls13.Session
	Sealed  []byte
	// WriteLimit bounds the time in which a side takes nothing of what waits for it, and
	// HalfClosedLimit the silence of one after the other has ended. Both are positive.
	WriteLimit, HalfClosedLimit time.Duration
	// IdleLimit bounds the silence of both sides; 0 means no limit.
	IdleLimit time.Duration
}
