package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/loop"
	"github.com/lintel-dev/lintel/proxy/proxyprotocol"
	"github.com/lintel-dev/lintel/router"
)

// newLoops makes the express lane with so many loops, see [loop.Config], or nil when the
// system has none.
func (s *Server) newLoops(loops int) *loop.Group {
	group, err := loop.New(loop.Config{Settings: &s.settings, Loops: loops, Stats: &s.stats, Dates: &s.dates, Pressure: &s.pressure, Reclaim: s.pool.reclaim})
	if err != nil {
		s.settings.Log.Warn("no express lane", "error", err)
		return nil
	}
	return group
}

// runLoops runs the express lane until ctx ends.
func (s *Server) runLoops(ctx context.Context, group *sync.WaitGroup) {
	if s.loops != nil {
		group.Go(func() { _ = s.loops.Run(ctx) }) // it has no error to tell
	}
}

// express is a socket as the loops see it.
type express struct{ *socket }

// Name is what the Table knows the socket by.
func (e express) Name() string { return e.name }

// Table is what the next request is routed by.
func (e express) Table() *router.Table { return e.table() }

// Drained is how often the socket's connections were told to drain.
func (e express) Drained() uint32 { return e.drains.Load() }

// Closed says that a connection of the loops has ended.
func (e express) Closed(peer netip.AddrPort) {
	e.server.clients.leave(bare(peer).Addr())
	e.leave()
	e.served.Done()
}

// HandOver goes on with a connection in the full lane.
func (e express) HandOver(handed loop.HandedOver) {
	conn, err := connectionOf(handed.FD)
	if err != nil {
		e.drops(err)
		e.Closed(handed.Peer)
		return
	}
	defer e.served.Done()
	c := newConnection(e.socket, arrival{
		conn:   conn,
		client: proxyprotocol.Header{Source: handed.Peer, Destination: handed.Local},
		unread: handed.Unread,
	})
	if handed.Session != nil {
		c.identifySecure()
		c.client.ServerName = handed.ServerName
		c.conn = newSecureConn(conn, handed.Session, handed.Sealed)
	}
	c.promised = true
	e.mu.Lock()
	defer e.mu.Unlock()
	e.begin(c, handed.Draining || e.closed)
}

// Shake does the handshake of TLS, and says where the connection goes on.
func (e express) Shake(conn net.Conn) loop.Shaken {
	h, err := e.handshakes.Handshake(context.Background(), conn)
	if err != nil {
		refusePlain(conn, err)
		return loop.Shaken{}
	}
	out := loop.Shaken{
		Lane: loop.ExpressLane, Handshake: h,
		ServerName: serverName(&h.State), HTTP2: h.State.NegotiatedProtocol == "h2",
	}
	switch {
	case h.State.NegotiatedProtocol == challengeProtocol:
		out.Lane = loop.NoLane
	case h.Session == nil, out.HTTP2 && !e.table().Plain(e.name):
		out.Lane = loop.FullLane
	}
	return out
}

// TakeOver goes on with a connection in the full lane after its handshake.
func (e express) TakeOver(taken loop.TakenOver) {
	conn, err := connectionOf(taken.FD)
	if err != nil {
		e.drops(err)
		e.Closed(taken.Peer)
		return
	}
	defer e.served.Done()
	a := arrival{
		conn:   conn,
		client: proxyprotocol.Header{Source: taken.Peer, Destination: taken.Local},
	}
	c := newConnection(e.socket, a)
	c.identifySecure()
	c.alpn, c.client.ServerName = taken.State.NegotiatedProtocol, taken.ServerName
	if taken.Session != nil {
		c.conn = newSecureConn(conn, taken.Session, taken.Unread)
	} else {
		a.unread = taken.Below
		c.conn = taken.GoOn(a.underTLS())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.begin(c, taken.Draining || e.closed)
}

// acceptExpress lets the loops accept until the socket is closed, or returns false when they
// can't.
func (s *socket) acceptExpress() bool {
	l, ok := s.listener.(*loopListener)
	if !ok {
		return false
	}
	var accepting *loop.Listener
	err := l.Control(func(fd uintptr) {
		accepting = s.server.loops.Listen(loop.Listening{
			FD: int(fd), Local: s.address,
			Accepted: func(fd int, peer, local netip.AddrPort) { s.serve(arrival{fd: fd, peer: peer, local: local}) },
			Failed:   s.acceptFails,
		})
	})
	if err != nil {
		return true // it was closed before it began
	}
	<-s.closing
	time.Sleep(sweepTime)
	accepting.Close()
	return true
}

// serveExpress gives a connection of HTTP to the loops, and reports whether they took it.
// The caller holds s.mu.
func (s *socket) serveExpress(a *arrival) bool {
	in := loop.Incoming{Unread: a.unread, Draining: s.closed}
	if s.certificates.Load() != nil {
		in.Handshake = true
		in.AltSvc = s.announcesHTTP3(exchange.Client{Trusted: s.server.settings.Trusts(a.source().Addr())})
	}
	return s.toLoop(a, in)
}

// toLoop gives a connection to the loops. The caller holds s.mu, so that a drain
// meets it either here or there.
func (s *socket) toLoop(a *arrival, in loop.Incoming) bool {
	if s.server.loops == nil {
		return false
	}
	in.Socket = express{s}
	in.Peer, in.Local, in.FD = a.source(), a.destination(), a.fd
	if a.conn != nil {
		tcp, ok := a.conn.(*net.TCPConn)
		if !ok {
			return false
		}
		if in.FD, ok = duplicate(tcp); !ok {
			return false
		}
		_ = tcp.Close() // the duplicate goes on
	}
	s.served.Add(1)
	s.server.loops.Serve(in)
	return true
}

// relayExpress lets a loop relay an upgraded connection, and waits until it has ended. It
// reports false when no loop can: something is not plain TCP.
func (f *flight) relayExpress(r *relay, pending, early []byte) bool {
	going := f.server.relayPair(r.client, r.upstream, loop.Pair{
		Pending: pending, Early: early,
		WriteLimit: f.Settings.BodyTimeout, HalfClosedLimit: exchange.HalfClosedTimeout,
	})
	if going == nil {
		return false
	}
	f.use(relayed{f.up, going})
	toUpstream, toClient := going.Wait()
	f.body.received.Add(toUpstream)
	f.Report.Sent += toClient
	return true
}

// relayed is an upstream whose connection is relayed by a loop.
type relayed struct {
	upstream
	relay *loop.Relay
}

// cancel implements upstream.
func (r relayed) cancel() { r.relay.Cut() }

// addrPort is the address of one side of a TCP connection; invalid when it is
// another kind of connection.
func addrPort(addr net.Addr) netip.AddrPort {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return bare(tcp.AddrPort())
	}
	return netip.AddrPort{}
}

// bare is an address without a zone, and IPv4 as such.
func bare(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
