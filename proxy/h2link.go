package proxy

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/proxy/h2"
)

// relaxInterval is how often what an HTTP/2 peer did is forgiven, see [h2.Conn.Relax].
const relaxInterval = 10 * time.Second

// errStreamOver is why nothing can be read from or written to a stream any more.
var errStreamOver = errors.New("stream is over")

// h2Link is one HTTP/2 connection, of either side. One goroutine reads it; its streams
// write through it. Output gathers in the codec: whoever flushes first writes, outside
// the lock, until there is none, so that one write carries what many streams had.
type h2Link struct {
	server  *Server
	conn    net.Conn
	wire    net.Conn       // conn, or what lies below its TLS
	writers sync.WaitGroup // goroutines that kick started

	mu      sync.Mutex // guards what follows
	codec   h2.Conn
	writing bool
	writeBy deadline
	blocked []*h2Flow // those that wait for room
	err     error     // the connection cannot be used any more
	closed  bool      // its reader has ended: nothing is started any more
	relaxed time.Time

	drained signal // wakes settle
}

// flush writes what waits, unless somebody is about it. mu is held, but not while it
// writes.
func (l *h2Link) flush() {
	if l.writing || l.err != nil || len(l.codec.Output()) == 0 {
		return
	}
	l.writing = true
	l.write()
}

// kick is flush on a goroutine of its own, for those who must not wait: the reader, as
// a peer may read nothing before it has written everything.
func (l *h2Link) kick() {
	if l.writing || l.closed || l.err != nil || len(l.codec.Output()) == 0 {
		return
	}
	l.writing = true
	l.writers.Go(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.write()
	})
}

// write writes until nothing waits. mu is held, and writing set.
func (l *h2Link) write() {
	buf := l.server.outputs.get()
	for l.err == nil {
		n := copy(*buf, l.codec.Output())
		if n == 0 {
			break
		}
		l.codec.Sent(n)
		l.unblock()
		l.drained.notify()
		l.writeBy.extend(time.Now(), l.server.settings.BodyTimeout)
		l.mu.Unlock()
		_, err := l.conn.Write((*buf)[:n])
		l.mu.Lock()
		if err != nil {
			l.fail(err)
		}
	}
	l.writing = false
	l.server.outputs.put(buf)
}

// fail notes that the connection is of no use; its reader notices, since it is closed.
// mu is held.
func (l *h2Link) fail(err error) {
	if l.err != nil {
		return
	}
	l.err = err
	l.wire.Close()
	l.unblock()
	l.drained.notify()
}

// settle waits while the peer leaves much of what it has asked for unread: its reader
// calls it, as each answer is small and there is no end of them. Whoever writes gives
// up in the end. mu is held, but not while it waits.
func (l *h2Link) settle() {
	for l.err == nil && l.codec.Congested() {
		l.kick()
		l.mu.Unlock()
		l.drained.wait(maxWait)
		l.mu.Lock()
	}
}

// unblock wakes the streams that wait for room. mu is held.
func (l *h2Link) unblock() {
	for i, f := range l.blocked {
		f.blocked = false
		f.writable.notify()
		l.blocked[i] = nil
	}
	l.blocked = l.blocked[:0]
}

// relax forgives now and then. mu is held.
func (l *h2Link) relax(now time.Time) {
	if now.Sub(l.relaxed) >= relaxInterval {
		l.relaxed = now
		l.codec.Relax()
	}
}

// signal wakes one goroutine that waits, or the next that will.
type signal struct {
	c     chan struct{}
	timer *time.Timer
}

func newSignal() signal { return signal{c: make(chan struct{}, 1)} }

func (s *signal) notify() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// clear forgets a wake-up that came late.
func (s *signal) clear() {
	select {
	case <-s.c:
	default:
	}
}

// wait waits for notify, and reports whether it came within limit. One goroutine waits
// at a time.
func (s *signal) wait(limit time.Duration) bool {
	if limit <= 0 {
		return false
	}
	if s.timer == nil {
		s.timer = time.NewTimer(limit)
	} else {
		s.timer.Reset(limit)
	}
	defer s.timer.Stop()
	select {
	case <-s.c:
		return true
	case <-s.timer.C:
		return false
	}
}
