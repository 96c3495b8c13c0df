package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// quicPort is a UDP port, and all QUIC connections that came to it. They have one UDP
// socket between them, so it stays open as long as one of them does: a socket that was
// removed drains here, while another may serve the same address already.
type quicPort struct {
	ports     *quicPorts
	address   netip.AddrPort
	conn      *net.UDPConn
	shared    *shared
	transport quic.Transport

	users      int // guarded by ports.mu: connections, and the socket that listens
	handshakes atomic.Int64
	refused    netip.AddrPort         // the last that was not admitted; for admit alone
	socket     atomic.Pointer[socket] // the one that listens; nil when there is none
}

// quicPorts are the open ones. The zero value has none.
type quicPorts struct {
	mu   sync.Mutex // guards what follows, and is held while a port opens or closes
	open map[netip.AddrPort]*quicPort

	taken []netip.AddrPort // by UDPRoutes; guarded by the Server's mu
}

// use returns the port with an address, open, until release. control prepares its socket.
func (q *quicPorts) use(s *Server, address netip.AddrPort, control socketControl) (*quicPort, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p := q.open[address]; p != nil {
		p.users++
		return p, nil
	}
	conn, shared, err := s.openUDP(address.String(), control)
	if err != nil {
		return nil, err
	}
	p := &quicPort{ports: q, address: address, conn: conn, shared: shared, users: 1}
	p.transport.Conn = p.conn
	if shared.inner {
		p.transport.Conn = &innerUDP{p.conn, address.Port()}
	}
	p.transport.ConnContext = p.admit
	p.transport.VerifySourceAddress = func(net.Addr) bool { return p.handshakes.Load() >= retryAbove }
	if q.open == nil {
		q.open = map[netip.AddrPort]*quicPort{}
	}
	q.open[address] = p
	return p, nil
}

// share counts one more user of p, beside the caller.
func (p *quicPort) share() {
	p.ports.mu.Lock()
	defer p.ports.mu.Unlock()
	p.users++
}

func (p *quicPort) release() {
	q := p.ports
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.users--; p.users == 0 {
		delete(q.open, p.address)
		_ = p.transport.Close() // there is nothing to be done about either
		_ = p.conn.Close()
		p.shared.leave()
	}
}

var errNotAdmitted = errors.New("connection not admitted")

// handshakeKey is the key of a context value: a func() to call when a handshake is over.
type handshakeKey struct{}

// admit decides about a client that wants to connect, before anything is done for it. It
// may have forged its address.
func (p *quicPort) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	s, peer := p.socket.Load(), udpAddrPort(info.RemoteAddr)
	if s == nil {
		return nil, errNotAdmitted
	}
	if !s.enter(peer) {
		if p.refused != peer { // an attempt has two packets or more
			s.server.stats.Refused.Add(1)
		}
		p.refused = peer
		return nil, errNotAdmitted
	}
	p.handshakes.Add(1)
	done := sync.OnceFunc(func() { p.handshakes.Add(-1) })
	context.AfterFunc(ctx, func() {
		done()
		s.leave()
	})
	return context.WithValue(ctx, handshakeKey{}, done), nil
}

// enter counts a connection of a peer, and reports whether there may be one more. QUIC
// has no place for a PROXY protocol header: who has to send one cannot connect.
func (s *socket) enter(peer netip.AddrPort) bool {
	limit := s.server.settings.MaxConnections
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit > 0 && s.count >= limit || exchange.Within(peer.Addr(), s.server.settings.ProxyProtocolFrom) {
		return false
	}
	s.count++
	return true
}

// yield notes which UDP ports belong to UDPRoutes, and takes HTTP/3 off them. Its
// connections end at once: their clients go on over TCP. The caller holds the Server's mu.
func (q *quicPorts) yield(sockets map[string]*socket, listeners []Listener) {
	q.taken = q.taken[:0]
	for _, l := range listeners {
		if l.Protocol != router.SocketUDP {
			continue
		}
		if address, err := net.ResolveUDPAddr("udp", strings.TrimSuffix(l.Name, udpSuffix)); err == nil {
			q.taken = append(q.taken, unspecifiedAs(address.AddrPort()))
		}
	}
	for _, s := range sockets {
		if s.h3.Load() == nil || !s.yieldsUDP() {
			continue
		}
		s.closeHTTP3()
		s.mu.Lock()
		for c := range s.h3Connections {
			c.abort()
		}
		s.mu.Unlock()
	}
}

// unspecifiedAs is an address, with that of ":80" as the one that listens to all.
func unspecifiedAs(a netip.AddrPort) netip.AddrPort {
	if a.Addr().IsValid() {
		return a
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port())
}

// yieldsUDP reports whether the UDP port beside the socket belongs to a UDPRoute. The
// caller holds the Server's mu.
func (s *socket) yieldsUDP() bool {
	return s.address.IsValid() && slices.ContainsFunc(s.server.quic.taken, func(a netip.AddrPort) bool { return overlaps(a, s.address) })
}

// udpAddrPort is the address of one side of a QUIC connection.
func udpAddrPort(addr net.Addr) netip.AddrPort {
	if udp, ok := addr.(*net.UDPAddr); ok {
		return bare(udp.AddrPort())
	}
	return netip.AddrPort{}
}
