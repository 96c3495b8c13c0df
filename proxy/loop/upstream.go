//go:build linux

package loop

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// upstream is one connection to an endpoint. It belongs to one flight at a time, or
// to the idle list of its endpoint.
type upstream struct {
	conn
	endpoint *router.Endpoint
	flight   *flight // nil while idle

	born       time.Time       // when it began to be opened
	waitsFor   *router.Backend // that counts the wait for it; nil after it
	connecting bool
	reused     bool   // it came from an idle list
	unsettled  bool   // the request gathered, and whether it was taken is not looked at yet
	partial    []byte // a part of a response head, until the rest comes

	since      int64  // when it became idle, in the loop's time
	asked      uint64 // and how often the kernel had been asked by then
	next, prev *upstream
}

// acquire counts a connection that is about to be opened. For a limit it closes an idle
// one of another owner.
func (l *loop) acquire(endpoint *router.Endpoint) bool {
	return endpoint.AcquireConnection() ||
		(l.commons.reclaim(endpoint) || l.config.Reclaim != nil && l.config.Reclaim(endpoint)) && endpoint.AcquireConnection()
}

// dial begins to connect to an endpoint. The outcome is 0, EINPROGRESS when it is told
// later, or why there is no connection.
func (l *loop) dial(endpoint *router.Endpoint) (*upstream, unix.Errno) {
	fd, errno := connectSocket(endpoint.Addr)
	if errno != 0 && errno != unix.EINPROGRESS {
		return nil, errno
	}
	u := &upstream{endpoint: endpoint, born: l.clock, connecting: errno == unix.EINPROGRESS}
	if !u.open(l, u, fd) {
		return nil, unix.ENOMEM
	}
	u.writable = !u.connecting
	l.gauges.upstream++
	return u, errno
}

// close ends the connection.
func (u *upstream) close() {
	u.flight = nil
	if u.fd < 0 {
		return
	}
	u.release()
	u.waited()
	u.conn.close()
	u.loop.gauges.upstream--
	u.endpoint.ReleaseConnection()
}

// waited ends the wait for the connection.
func (u *upstream) waited() {
	if u.waitsFor != nil {
		u.waitsFor.ReleasePending()
		u.waitsFor = nil
	}
}

// keep holds on to bytes of the loop's buffer until more come. rest may be a part of
// what is held already.
func (u *upstream) keep(rest []byte) {
	if u.partial == nil {
		u.partial = append(u.loop.pieces.get(len(rest)), rest...)
		return
	}
	u.partial = u.partial[:copy(u.partial, rest)]
}

// release gives the buffer back.
func (u *upstream) release() {
	if u.partial != nil {
		u.loop.pieces.put(u.partial)
		u.partial = nil
	}
}

func (u *upstream) ready() {
	switch {
	case u.flight == nil:
		if u.readable { // its end, or a response that nobody asked for
			u.loop.idle[u.endpoint].remove(u)
			u.loop.gauges.idle--
			u.close()
		}
	case u.connecting:
		u.conclude()
	case u.unsettled:
		u.settle()
	default:
		u.flight.upstreamReady()
	}
}

// settle goes on once it is known how far a request that gathered got, as [flight.attempt]
// does with others.
func (u *upstream) settle() {
	f := u.flight
	u.push()
	u.unsettled = false
	if u.failed {
		f.unsent = true // a write takes a part, or fails
		f.attemptFails(exchange.CauseUpstreamReset)
		return
	}
	f.sending = u.waiting != nil
	f.upstreamReady()
}

// conclude looks what became of a connection attempt.
func (u *upstream) conclude() {
	if !u.writable {
		return
	}
	u.connecting = false
	if u.broken {
		if errno := socketError(u.fd); errno != 0 {
			u.flight.refused()
			return
		}
	}
	u.flight.connected()
}

// room returns where to read to: the loop's buffer, or behind a part of a head.
func (u *upstream) room() []byte {
	if u.partial == nil {
		return u.loop.shared[headroom:]
	}
	if len(u.partial) == cap(u.partial) {
		u.partial = append(make([]byte, 0, 2*cap(u.partial)), u.partial...)
	}
	return u.partial[len(u.partial):cap(u.partial)]
}

// added returns what is there to be parsed after n bytes were read.
func (u *upstream) added(n int) []byte {
	if u.partial == nil {
		return u.loop.shared[headroom : headroom+n]
	}
	u.partial = u.partial[:len(u.partial)+n]
	return u.partial
}
