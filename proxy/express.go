package proxy

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/loop"
	"github.com/lintel-dev/lintel/proxy/proxyprotocol"
	"github.com/lintel-dev/lintel/router"
)

// newLoops makes the express lane, or nil when the settings or the system have
// none.
func (s *Server) newLoops(dials bool) *loop.Group {
	if s.settings.Lane == exchange.LaneFull || dials {
		return nil
	}
	group, err := loop.New(loop.Config{Settings: &s.settings, Stats: &s.stats, Dates: &s.dates, Pressure: &s.pressure, Reclaim: s.pool.reclaim})
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
	file := os.NewFile(uintptr(handed.FD), "")
	conn, err := net.FileConn(file) // a duplicate
	file.Close()
	if err != nil {
		e.server.settings.Log.Warn("connection dropped", "socket", e.name, "error", err)
		e.Closed(handed.Peer)
		return
	}
	defer e.served.Done()
	a := arrival{
		conn:   conn,
		client: proxyprotocol.Header{Source: handed.Peer, Destination: handed.Local},
		unread: handed.Unread,
	}
	c := newConnection(e.socket, a)
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

// serveExpress gives a plain connection to the loops, and reports whether they
// took it. The caller holds s.mu.
func (s *socket) serveExpress(a *arrival) bool {
	return s.toLoop(a, loop.Incoming{Unread: a.unread, Draining: s.closed})
}

// moveToLoop gives the connection to the loops after a handshake, and reports whether
// they took it.
func (c *connection) moveToLoop(h *handshaken) bool {
	s := c.socket
	multiplexed := h.protocol == "h2"
	if h.session == nil || multiplexed && !s.table().Plain(s.name) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.aborted.Load() {
		return false
	}
	a := arrival{conn: c.wire, client: c.arrived}
	return s.toLoop(&a, loop.Incoming{
		Session:    h.session,
		HTTP2:      multiplexed,
		AltSvc:     c.client.AltSvc,
		ServerName: h.name,
		Unread:     h.unread,
		Draining:   c.draining.Load(),
	})
}

// toLoop gives a connection to the loops. The caller holds s.mu, so that a drain
// meets it either here or there.
func (s *socket) toLoop(a *arrival, in loop.Incoming) bool {
	tcp, ok := a.conn.(*net.TCPConn)
	if !ok || s.server.loops == nil {
		return false
	}
	in.Socket = express{s}
	in.Peer, in.Local = a.source(), a.destination()
	if in.FD, ok = duplicate(tcp); !ok {
		return false
	}
	_ = tcp.Close() // the duplicate goes on
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
