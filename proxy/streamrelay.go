package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/loop"
)

// relay copies bytes both ways until both sides have ended, or one is reset, which resets
// the other. Two plain connections are a loop's: at rest they hold neither a goroutine of
// their own nor a buffer, and what is much goes from socket to socket inside the kernel.
func (t *stream) relay(upstream net.Conn) exchange.Cause {
	s := &t.server.settings
	pending := t.arrival.unread
	t.arrival.unread = nil
	going := t.server.relayPair(t.conn, upstream, loop.Pair{
		Pending:    pending,
		WriteLimit: s.BodyTimeout, HalfClosedLimit: s.StreamIdleTimeout, IdleLimit: s.StreamIdleTimeout,
	})
	if going != nil {
		t.hold(closer(going.Cut))
		t.report.Received, t.report.Sent = going.Wait()
		return going.Cause()
	}
	return t.relayHere(upstream, pending)
}

// relayHere relays with two goroutines.
func (t *stream) relayHere(upstream net.Conn, pending []byte) exchange.Cause {
	s := &t.server.settings
	r := &streamRelay{client: t.conn, upstream: upstream, buffers: t.server.heads, idle: s.StreamIdleTimeout, stall: s.BodyTimeout}
	r.moved.Store(time.Now().UnixNano())
	up := way{relay: r, from: t.conn, to: upstream}
	down := way{relay: r, from: upstream, to: t.conn}
	var upward sync.WaitGroup
	upward.Go(func() { up.run(pending) })
	down.run(nil)
	upward.Wait()
	t.report.Received, t.report.Sent = up.bytes, down.bytes
	return r.cause
}

// streamRelay is a stream that is relayed by two goroutines, each of which moves bytes in
// one way.
type streamRelay struct {
	client, upstream net.Conn
	buffers          *buffers
	idle, stall      time.Duration
	moved            atomic.Int64 // when bytes moved last, in Unix nanoseconds
	answered         atomic.Bool  // the upstream has finished

	ending sync.Once
	cause  exchange.Cause // why it has ended, if not in order; set by ending
}

// way is one of the two. Its goroutine owns it.
type way struct {
	relay    *streamRelay
	from, to net.Conn
	bytes    int64
	deaf     bool // to is closed: nothing more goes there
}

// run moves pending, and then bytes until from ends, which it tells to.
func (w *way) run(pending []byte) {
	if len(pending) > 0 {
		_ = w.to.SetWriteDeadline(time.Now().Add(w.relay.stall))
		n, err := w.to.Write(pending)
		w.bytes += int64(n)
		if err != nil && !w.goesDeaf(err) {
			w.relay.end(w.failed(w.to, err))
			return
		}
	}
	for {
		readErr, writeErr := w.move()
		switch {
		case writeErr != nil && !w.goesDeaf(writeErr):
			w.relay.end(w.failed(w.to, writeErr))
			return
		case isTimeout(readErr):
			if w.relay.silence() < w.relay.idle {
				continue
			}
			w.relay.end(exchange.CauseIdle)
			return
		case errors.Is(readErr, io.EOF):
			if w.from == w.relay.upstream {
				w.relay.answered.Store(true)
			}
			if !w.deaf && !finish(w.to, io.EOF) {
				w.relay.end(exchange.CauseNone)
			}
			return
		case errors.Is(readErr, io.ErrUnexpectedEOF): // TLS without a goodbye
			w.relay.truncate(w)
			return
		case readErr != nil:
			w.relay.end(w.failed(w.from, readErr))
			return
		}
	}
}

// move moves what comes until the way has to look at the clock again.
func (w *way) move() (readErr, writeErr error) {
	_ = w.from.SetReadDeadline(time.Now().Add(w.relay.idle - w.relay.silence()))
	buf := w.relay.buffers.get()
	defer w.relay.buffers.put(buf)
	n, readErr := w.from.Read(*buf)
	if n == 0 || w.deaf {
		return readErr, nil
	}
	w.relay.moved.Store(time.Now().UnixNano())
	_ = w.to.SetWriteDeadline(time.Now().Add(w.relay.stall))
	written, writeErr := w.to.Write((*buf)[:n])
	w.bytes += int64(written)
	return readErr, writeErr
}

// goesDeaf reports whether the relay goes on after to could not be written: an upstream may
// have closed all of its connection after its last words, which are still to be read. EPIPE
// says that its end had come.
func (w *way) goesDeaf(err error) bool {
	w.deaf = w.to == w.relay.upstream && errors.Is(err, syscall.EPIPE)
	return w.deaf
}

// silence is how long no bytes have moved.
func (r *streamRelay) silence() time.Duration {
	return time.Since(time.Unix(0, r.moved.Load()))
}

// failed is the cause when one side cannot be read or written. An upstream that has
// finished may reset: the client has got all there was.
func (w *way) failed(side net.Conn, err error) exchange.Cause {
	client := side == w.relay.client
	switch {
	case isTimeout(err) && client:
		return exchange.CauseClientStalled
	case isTimeout(err):
		return exchange.CauseTimeout
	case client:
		return exchange.CauseClientGone
	case w.relay.answered.Load():
		return exchange.CauseNone
	default:
		return exchange.CauseUpstreamReset
	}
}

// end closes both sides; after a reset with another one.
func (r *streamRelay) end(cause exchange.Cause) {
	r.ending.Do(func() {
		r.cause = cause
		switch cause {
		case exchange.CauseClientGone:
			breakOff(r.upstream)
		case exchange.CauseUpstreamReset:
			breakOff(r.client)
		}
		r.client.Close()
		r.upstream.Close()
	})
}

// truncate ends the relay after a side has ended without saying that it was in order. The
// other one must not hear that it was: over TLS it hears no goodbye either.
func (r *streamRelay) truncate(w *way) {
	r.ending.Do(func() {
		r.cause = w.failed(w.from, io.ErrUnexpectedEOF)
		below(w.to).Close()
		r.client.Close()
		r.upstream.Close()
	})
}

// resetOnClose makes the peer of a plain connection see an error when it is closed.
func resetOnClose(conn net.Conn) {
	if tcp, ok := below(conn).(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// breakOff closes a connection so that its peer sees an error, over TLS too: there it hears no
// goodbye.
func breakOff(conn net.Conn) {
	resetOnClose(conn)
	below(conn).Close()
}

// below is what lies below the TLS of a connection, or the connection.
func below(conn net.Conn) net.Conn {
	for {
		switch c := conn.(type) {
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		case *behind:
			conn = c.Conn
		default:
			return conn
		}
	}
}
