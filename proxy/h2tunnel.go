package proxy

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/proxy/h2"
)

// h2Tunnel is a stream as a connection: what carries a WebSocket after an extended
// CONNECT. One goroutine reads and one writes; deadlines and Close are for any.
type h2Tunnel struct {
	flow *h2Flow

	// Guarded by the link's mutex.
	readBy  time.Time // zero for none
	writeBy time.Time

	left  []byte // what is there to read, in store
	store []byte
}

// Read implements net.Conn.
func (t *h2Tunnel) Read(p []byte) (int, error) {
	f := t.flow
	l := f.link
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if len(t.left) == 0 {
			t.left, t.store, f.arrived = f.arrived, f.arrived, t.store[:0]
		}
		switch {
		case len(t.left) > 0:
			n := copy(p, t.left)
			t.left = t.left[n:]
			l.codec.Consumed(f.id, n)
			l.flush()
			return n, nil
		case f.ended:
			return 0, io.EOF
		case f.err != nil:
			return 0, f.err
		}
		limit := maxWait
		if !t.readBy.IsZero() {
			limit = time.Until(t.readBy)
		}
		if limit <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
		l.mu.Unlock()
		f.readable.wait(limit)
		l.mu.Lock()
	}
}

// maxWait is how long a goroutine waits before it looks again why.
const maxWait = time.Hour

// Write implements net.Conn.
func (t *h2Tunnel) Write(p []byte) (int, error) {
	f := t.flow
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	f.latest = t.writeBy
	n, err := f.send(p, h2.More)
	if err == nil {
		f.link.flush()
		err = f.failure()
	}
	if err != nil && f.ended && !isTimeout(err) {
		err = syscall.EPIPE // the end of what the peer has sent had come before
	}
	return n, err
}

// CloseWrite ends the direction that is written.
func (t *h2Tunnel) CloseWrite() error {
	f := t.flow
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	_, err := f.link.codec.WriteData(f.id, nil, h2.Last)
	f.told = err == nil
	f.link.flush()
	return err
}

// Close ends both directions.
func (t *h2Tunnel) Close() error {
	f := t.flow
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	f.link.codec.Reset(f.id, h2.Cancel)
	f.over(net.ErrClosed)
	f.link.kick()
	return nil
}

// SetReadDeadline implements net.Conn.
func (t *h2Tunnel) SetReadDeadline(at time.Time) error {
	t.flow.link.mu.Lock()
	defer t.flow.link.mu.Unlock()
	t.readBy = at
	t.flow.readable.notify()
	return nil
}

// SetWriteDeadline implements net.Conn. It concerns writes that begin later.
func (t *h2Tunnel) SetWriteDeadline(at time.Time) error {
	t.flow.link.mu.Lock()
	defer t.flow.link.mu.Unlock()
	t.writeBy = at
	return nil
}

// SetDeadline implements net.Conn.
func (t *h2Tunnel) SetDeadline(at time.Time) error {
	_ = t.SetReadDeadline(at)
	return t.SetWriteDeadline(at)
}

// LocalAddr implements net.Conn.
func (t *h2Tunnel) LocalAddr() net.Addr { return t.flow.link.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *h2Tunnel) RemoteAddr() net.Addr { return t.flow.link.conn.RemoteAddr() }
