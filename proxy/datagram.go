package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// maxDatagram holds the longest datagram there is, whose size is 16 bits.
const maxDatagram = 64 << 10

// udpSuffix follows the address in the name of a UDP socket.
const udpSuffix = "/udp"

// evictionSample is how many sessions are looked at to find one that makes room. Taken at
// random, the most silent of them is almost always among the most silent of all.
const evictionSample = 16

// datagramSocket is one open UDP socket, and its sessions. A session is a client and the
// endpoint that it was given: the datagrams of the one go to the other.
//
// One goroutine reads what clients send, and each session has one for what its endpoint
// sends. A session at rest holds no buffer.
type datagramSocket struct {
	routes
	name   string
	server *Server
	conn   *net.UDPConn
	shared *shared
	asks   bool // the address that a datagram was sent to comes with it

	mu        sync.Mutex // guards what follows
	sessions  map[sessionKey]*session
	closed    bool
	handsOver bool           // with closed: another process reads from now on
	served    sync.WaitGroup // the sessions' goroutines
	closing   chan struct{}  // closed with closed
}

// sessionKey tells sessions apart.
type sessionKey struct {
	client netip.AddrPort
	local  netip.Addr // that the client sends to; invalid where there is only one
}

// openDatagrams listens for l. The caller holds s.mu.
func (s *Server) openDatagrams(l Listener) (*datagramSocket, error) {
	conn, shared, err := s.openUDP(strings.TrimSuffix(l.Name, udpSuffix), controlOf(&l))
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	d := &datagramSocket{
		routes:   routes{current: &s.table},
		name:     l.Name,
		server:   s,
		conn:     conn,
		shared:   shared,
		sessions: map[sessionKey]*session{},
		closing:  make(chan struct{}),
	}
	if local, ok := conn.LocalAddr().(*net.UDPAddr); ok && local.IP.IsUnspecified() || shared.inner {
		d.asks = askLocal(d.conn)
	}
	return d, nil
}

// openUDP opens a UDP socket, which the processes of a share have between them.
func (s *Server) openUDP(address string, control socketControl) (*net.UDPConn, *shared, error) {
	return openShared(&s.settings, address+udpSuffix, s.udpOrigin(address, control))
}

// follow does nothing: there is nothing that could change.
func (d *datagramSocket) follow(*Listener) {}

// start lets the socket read, on a goroutine of group.
func (d *datagramSocket) start(group *sync.WaitGroup) {
	group.Go(d.run)
}

// close makes the sessions that there are the last ones. They go on until they are silent;
// the address is free when they have ended. A process that has the socket too reads from
// it from now on: what clients send goes to sessions of its own, and ours end with answers
// that were on their way.
func (d *datagramSocket) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	d.handsOver = d.shared.wanted()
	close(d.closing)
	if len(d.sessions) == 0 {
		_ = d.conn.Close()
		return
	}
	if d.handsOver {
		_ = d.conn.SetReadDeadline(time.Now())
	}
	for _, s := range d.sessions {
		s.wake()
	}
}

// run forwards datagrams until close, then waits for the sessions, and ends those that are
// left after the DrainTimeout.
func (d *datagramSocket) run() {
	var reader sync.WaitGroup
	reader.Go(func() {
		select {
		case <-d.shared.keeps:
			d.read()
		case <-d.closing:
		}
	})
	<-d.closing
	if d.handsOver { // set before closing
		reader.Wait()
		d.shared.leave()
	}
	defer d.shared.leave()
	done := make(chan struct{})
	go func() {
		d.served.Wait()
		close(done)
	}()
	timeout := time.NewTimer(d.server.settings.DrainTimeout)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		d.mu.Lock()
		for _, s := range d.sessions {
			s.end(exchange.CauseDrained)
		}
		d.mu.Unlock()
		<-done
	}
	_ = d.conn.Close()
	reader.Wait()
}

// read forwards what clients send.
func (d *datagramSocket) read() {
	buf := make([]byte, maxDatagram)
	control := make([]byte, controlSize)
	pause := minAcceptPause
	for {
		n, m, _, client, err := d.conn.ReadMsgUDPAddrPort(buf, control)
		if err == nil {
			pause = minAcceptPause
			d.forward(buf[:n], client, control[:m])
			continue
		}
		if errors.Is(err, net.ErrClosed) || isTimeout(err) {
			return
		}
		d.server.settings.Log.Warn("read failed", "socket", d.name, "error", err, "pause", pause)
		select {
		case <-d.closing:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// forward sends a datagram of a client to its endpoint.
func (d *datagramSocket) forward(p []byte, client netip.AddrPort, control []byte) {
	key := sessionKey{client: client}
	if d.asks {
		key.local = localOf(control)
	}
	// A session that turns out to be over makes room for another: once, or the client is
	// told nothing, as it would be by a network that loses something.
	for range 2 {
		s := d.sessionOf(key)
		if s == nil {
			break
		}
		if s.send(p) {
			return
		}
	}
	d.server.stats.Dropped.Add(1)
}

// sessionOf returns the session of a client, a new one if need be, or nil when it can have
// none.
func (d *datagramSocket) sessionOf(key sessionKey) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sessions[key]
	if s != nil && s.current() {
		return s
	}
	if s != nil {
		s.end(exchange.CauseNone) // its endpoint is nobody's any more
	}
	if d.closed || d.server.pressure.High() || !d.hasRoom() {
		return nil
	}
	if s = newSession(d, key); s == nil {
		return nil
	}
	d.sessions[key] = s
	d.served.Go(s.run)
	return s
}

// hasRoom reports whether there may be one more session, and makes room if that can be: a
// session that is silent makes room, but not one that waits for an answer. So clients
// that come from a new port for each question find room, and a flood from forged addresses
// takes none from who is talking. The caller holds d.mu.
func (d *datagramSocket) hasRoom() bool {
	limit := d.server.settings.MaxSessions
	if limit <= 0 || len(d.sessions) < limit {
		return true
	}
	var silent *session
	looked := 0
	for _, s := range d.sessions {
		if silent == nil || s.active.Load() < silent.active.Load() {
			silent = s
		}
		if looked++; looked == evictionSample {
			break
		}
	}
	if silent.silence() < exchange.SessionPatience {
		return false
	}
	silent.end(exchange.CauseNone)
	return true
}

// patience is how long a session may be silent.
func (d *datagramSocket) patience() time.Duration {
	select {
	case <-d.closing:
		return min(exchange.SessionGrace, d.server.settings.SessionIdleTimeout)
	default:
		return d.server.settings.SessionIdleTimeout
	}
}
