package proxy

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// answersPerTurn bounds the answers that are read with one borrowed buffer.
const answersPerTurn = 32

// session is a client of a UDP socket, and the endpoint that its datagrams go to. The
// endpoint sees a socket of its own for each session, so that what it sends to that is the
// client's, and what the network says of it too.
type session struct {
	socket  *datagramSocket
	key     sessionKey
	control []byte // makes answers come from the address that the client has sent to
	backend *router.Backend
	to      *router.Endpoint
	conn    *net.UDPConn
	wire    syscall.RawConn
	report  Report

	active   atomic.Int64 // when something was forwarded last, in Unix nanoseconds
	received atomic.Int64 // bytes
	sent     atomic.Int64 // likewise

	// These belong to the goroutine that reads what clients send.
	table  *router.Table // by which the Backend was last known to be the right one
	known  []*router.Endpoint
	out    []byte
	outErr error
	write  func(fd uintptr) bool

	mu    sync.Mutex // guards what follows
	over  bool
	cause exchange.Cause // why it is over
}

// newSession returns the session of a client with an endpoint, or nil when there is none.
// The caller holds d.mu.
func newSession(d *datagramSocket, key sessionKey) *session {
	table := d.table()
	stream := table.MatchStream(d.name, "").Stream
	if stream == nil {
		return nil
	}
	backend := stream.Pick()
	if backend == nil || !backend.Acquire() {
		return nil
	}
	s := &session{socket: d, key: key, backend: backend, table: table, known: backend.Endpoints()}
	s.report = Report{
		Socket: d.name, Listener: stream.Listener, Route: stream.Route, Backend: backend.Name,
		Client: key.client.Addr().Unmap().WithZone(""), Protocol: protocolUDP, Scheme: protocolUDP, Start: time.Now(),
	}
	if !s.connect() {
		backend.Release()
		return nil
	}
	s.control = controlFrom(key)
	s.write = s.writeNow
	s.active.Store(time.Now().UnixNano())
	return s
}

// connect opens a socket to an endpoint. That sends nothing, so it hardly ever fails.
func (s *session) connect() bool {
	var tried []*router.Endpoint
	for {
		endpoint := s.backend.Pick(tried...)
		if endpoint == nil {
			return false
		}
		s.report.Upstream = endpoint.Addr
		s.report.Attempts++
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(endpoint.Addr))
		if err == nil {
			if s.wire, err = conn.SyscallConn(); err == nil {
				endpoint.Acquire()
				s.conn, s.to = conn, endpoint
				return true
			}
			_ = conn.Close()
		}
		endpoint.Fail(time.Now())
		tried = append(tried, endpoint)
	}
}

// current reports whether the endpoint is still one that the client may have. It is called
// by the goroutine that reads what clients send.
func (s *session) current() bool {
	if table := s.socket.table(); table != s.table {
		stream := table.MatchStream(s.socket.name, "").Stream
		if stream == nil || !slices.ContainsFunc(stream.Backends, func(b router.WeightedBackend) bool {
			return b.Backend == s.backend && b.Weight > 0
		}) {
			return false
		}
		s.table = table
	}
	if all := s.backend.Endpoints(); len(all) != len(s.known) || len(all) > 0 && &all[0] != &s.known[0] {
		if !slices.Contains(all, s.to) {
			return false
		}
		s.known = all
	}
	return true
}

// send sends a datagram to the endpoint, and reports false when the session is over. It
// does not wait: what the network does not take is lost.
func (s *session) send(p []byte) bool {
	s.out = p
	err := s.wire.Write(s.write)
	s.out = nil
	if err == nil {
		err = s.outErr
	}
	switch {
	case err == nil:
		s.received.Add(int64(len(p)))
		s.active.Store(time.Now().UnixNano())
		return true
	case errors.Is(err, net.ErrClosed):
		return false
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		s.refused()
		return false
	default:
		s.socket.server.stats.Dropped.Add(1)
		return true
	}
}

// writeNow is what send does with the descriptor.
func (s *session) writeNow(fd uintptr) bool {
	for {
		if _, s.outErr = syscall.Write(int(fd), s.out); !errors.Is(s.outErr, syscall.EINTR) {
			return true
		}
	}
}

// refused ends the session: the endpoint's machine says that nobody listens there, or the
// network that it is not to be reached.
func (s *session) refused() {
	s.to.Fail(time.Now())
	s.socket.mu.Lock()
	defer s.socket.mu.Unlock()
	s.end(exchange.CauseConnectRefused)
}

// end makes the session's goroutine close it. Its client gets another one from now on. The
// caller holds the socket's mu.
func (s *session) end(cause exchange.Cause) {
	if s.socket.sessions[s.key] == s {
		delete(s.socket.sessions, s.key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over, s.cause = true, cause
		_ = s.conn.SetReadDeadline(past)
	}
}

// wake makes the session's goroutine look how long it may be silent.
func (s *session) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.SetReadDeadline(past)
}

// run forwards what the endpoint sends, until the session is over.
func (s *session) run() {
	stats := &s.socket.server.stats
	stats.Sessions.Add(1)
	for s.await() {
		if err := s.wire.Read(s.answer); err != nil && !isTimeout(err) {
			break
		}
	}
	s.socket.mu.Lock()
	s.end(exchange.CauseNone)
	s.socket.mu.Unlock()
	_ = s.conn.Close()
	s.to.Release()
	s.backend.Release()
	stats.Sessions.Add(-1)
	s.report.Cause = s.cause
	s.report.Received, s.report.Sent = s.received.Load(), s.sent.Load()
	s.report.Duration = time.Since(s.report.Start)
	if observe := s.socket.server.settings.Observe; observe != nil {
		observe(&s.report)
	}
}

// await sets how long the next answer may take, and reports whether the session goes on.
func (s *session) await() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.socket.patience() - s.silence() // under mu, so that wake comes before or after
	if s.over || left <= 0 {
		return false
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(left))
	return true
}

// silence is how long nothing was forwarded.
func (s *session) silence() time.Duration {
	return time.Since(time.Unix(0, s.active.Load()))
}

// answer forwards what the endpoint has sent, and reports false when it has to wait for
// more: the buffer is not held meanwhile.
func (s *session) answer(fd uintptr) bool {
	buffers := s.socket.server.datagrams
	buf := buffers.get()
	defer buffers.put(buf)
	for range answersPerTurn {
		n, err := syscall.Read(int(fd), *buf)
		switch {
		case err == nil:
			s.reply((*buf)[:n])
		case errors.Is(err, syscall.EAGAIN):
			return false
		case errors.Is(err, syscall.EINTR):
		default:
			s.refused()
			return true
		}
	}
	return true
}

// reply sends a datagram to the client.
func (s *session) reply(p []byte) {
	s.active.Store(time.Now().UnixNano())
	if s.sent.Load() == 0 {
		s.to.OK()
		s.report.UpstreamLatency = time.Since(s.report.Start)
	}
	if _, _, err := s.socket.conn.WriteMsgUDPAddrPort(p, s.control, s.key.client); err != nil {
		s.socket.server.stats.Dropped.Add(1)
		return
	}
	s.sent.Add(int64(len(p)))
}

// overlaps reports whether two UDP addresses cannot both be listened on.
func overlaps(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a.Addr().IsUnspecified() || b.Addr().IsUnspecified() || a.Addr().Unmap() == b.Addr().Unmap())
}
