//go:build linux

package loop

import (
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// shakeTime is how long handshakes may take in a turn, at least one step of one: they need
// a hundred times what an exchange does, and the others wait meanwhile.
const shakeTime = 500 * time.Microsecond

// handshake is a client connection whose handshake of TLS is under way. What does that
// blocks on a [net.Conn]: it runs on a coroutine, which goes on when the loop lets it.
type handshake struct {
	conn
	in       Incoming
	timer    timer
	draining bool

	coroutine *coroutine // nil before the first byte
	queued    bool       // in the loop's shaking
	writing   bool       // it waits for room to write, or else for bytes
	fault     error      // what it gets from now on instead of bytes
	shaken    Shaken     // its outcome, once the coroutine is done
}

// acceptTLS begins to serve a connection that begins with a handshake.
func (l *loop) acceptTLS(in *Incoming) {
	h := &handshake{in: *in, draining: in.Draining}
	h.timer.at = never
	h.timer.fire = h.expire
	if !h.open(l, h, in.FD) {
		in.Socket.Closed(in.Peer)
		return
	}
	l.gauges.downstream++
	limit := l.settings.ReadHeaderTimeout
	if h.draining {
		limit = exchange.FreshGrace
	}
	l.wheel.set(&h.timer, l.now+int64(limit))
	if len(h.in.Unread) > 0 {
		h.goOn()
	}
}

// ready implements user.
func (h *handshake) ready() {
	if h.broken || h.writing && h.writable || !h.writing && h.readable {
		h.goOn()
	}
}

// goOn lets the handshake go on as soon as others had their turn.
func (h *handshake) goOn() {
	if !h.queued {
		h.queued = true
		h.loop.shaking = append(h.loop.shaking, h)
	}
}

// shake lets handshakes go on for a while, first come, first served.
func (l *loop) shake() {
	if len(l.shaking) == 0 {
		return
	}
	l.tell()
	begun, done := l.now, 0
	for done < len(l.shaking) {
		h := l.shaking[done]
		l.shaking[done] = nil
		done++
		h.queued = false
		if h.fd >= 0 {
			h.step()
			l.sendGathered() // the first request: other handshakes take long
		}
		if l.tell(); l.now-begun >= int64(shakeTime) {
			break
		}
	}
	l.effort.add(begun, l.now)
	l.shaking = l.shaking[:copy(l.shaking, l.shaking[done:])]
}

// step lets the handshake go on until it waits, or is over.
func (h *handshake) step() {
	if h.coroutine == nil {
		h.coroutine = h.loop.coroutine()
		h.coroutine.job = h
	}
	if h.coroutine.resume() {
		return
	}
	h.loop.rest(h.coroutine)
	h.coroutine = nil
	h.finish()
}

// finish goes on after the handshake.
func (h *handshake) finish() {
	l, out := h.loop, &h.shaken
	l.wheel.stop(&h.timer)
	if out.Session != nil {
		out.Unread = append(out.Unread, h.in.Unread...)
		h.in.Unread = nil
	}
	switch {
	case h.fault != nil || out.Lane == NoLane:
		h.close()
		l.gauges.downstream--
		h.in.Socket.Closed(h.in.Peer)
	case out.Lane == ExpressLane:
		h.in.Draining = h.draining
		h.in.Session, h.in.ServerName, h.in.HTTP2, h.in.Unread = out.Session, out.ServerName, out.HTTP2, out.Unread
		d := newDownstream(l, &h.in)
		d.adopt(&h.conn, d)
		d.serve(&h.in)
	default:
		l.poller.remove(h.fd)
		l.forget(&h.conn)
		l.gauges.downstream--
		taken := TakenOver{Shaken: *out, FD: h.fd, Peer: h.in.Peer, Local: h.in.Local, Below: h.in.Unread}
		taken.Draining = h.draining || h.in.Socket.Drained() != h.in.drained
		h.fd = -1
		h.in.Socket.TakeOver(taken)
	}
}

// expire is called when the time for the handshake is over. One that waits for us, and not
// for its client, is not to blame.
func (h *handshake) expire() {
	if h.queued {
		h.loop.wheel.set(&h.timer, h.loop.now+int64(tick))
		return
	}
	h.end(os.ErrDeadlineExceeded)
}

// end breaks the handshake off.
func (h *handshake) end(fault error) {
	h.fault = fault
	if h.coroutine == nil {
		h.finish()
		return
	}
	h.step()
}

// from, drain and cut implement guest.
func (h *handshake) from() Socket { return h.in.Socket }

func (h *handshake) drain() {
	if h.draining {
		return
	}
	h.draining = true
	h.loop.wheel.set(&h.timer, h.loop.now+int64(exchange.FreshGrace))
}

func (h *handshake) cut() { h.end(net.ErrClosed) }

// pause gives the loop its turn, until the handshake can go on.
func (h *handshake) pause(writing bool) {
	h.writing = writing
	h.coroutine.pause()
}

// wire is what the coroutine of a handshake reads and writes. It implements [net.Conn].
type wire struct{ *handshake }

// Read waits for bytes.
func (w wire) Read(p []byte) (int, error) {
	h := w.handshake
	for h.fault == nil {
		if len(h.in.Unread) > 0 {
			n := copy(p, h.in.Unread)
			h.in.Unread = h.in.Unread[n:]
			return n, nil
		}
		n, outcome := h.readRaw(p)
		switch outcome {
		case some:
			return n, nil
		case end:
			return 0, io.EOF
		case breach:
			return 0, unix.ECONNRESET
		case dry:
			h.pause(false)
		}
	}
	return 0, h.fault
}

// Write waits until the kernel has taken all of p.
func (w wire) Write(p []byte) (int, error) {
	h := w.handshake
	total := 0
	for h.fault == nil {
		n, ok := h.write(p[total:])
		total += n
		switch {
		case !ok:
			return total, h.failure
		case total == len(p):
			return total, nil
		}
		h.pause(true)
	}
	return total, h.fault
}

// Close does nothing: the loop closes the descriptor.
func (wire) Close() error { return nil }

// LocalAddr is where the client has connected to.
func (w wire) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(w.in.Local) }

// RemoteAddr is the client.
func (w wire) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(w.in.Peer) }

// SetDeadline does nothing, nor do the others: the loop bounds the handshake.
func (wire) SetDeadline(time.Time) error      { return nil }
func (wire) SetReadDeadline(time.Time) error  { return nil }
func (wire) SetWriteDeadline(time.Time) error { return nil }
