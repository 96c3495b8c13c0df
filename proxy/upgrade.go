package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// upgrade passes a 101 on, and then bytes in both directions until both sides
// have finished (RFC 9110 §7.8). RequestTimeout and BackendTimeout end with the
// 101: they are about a request, not a conversation. A peer that vanished is
// found by TCP keep-alive.
func (f *flight) upgrade() Cause {
	if f.request.Upgrade == "" || f.response.Upgrade == "" || !f.body.await() {
		return CauseUpstreamInvalid
	}
	f.answered, f.keep = true, false
	f.seen.Status = f.response.Status
	f.seen.UpstreamLatency = time.Since(f.seen.Start)
	f.deadline = f.seen.Start.Add(forever)
	f.attemptBy = f.deadline

	fields, _ := f.responseFields()
	dst := h1.AppendStatusLine(f.out[:0], f.response.Status, f.response.Reason)
	for i := range fields {
		if forwardable(&fields[i]) {
			dst = h1.AppendField(dst, fields[i].Name, fields[i].Value)
		}
	}
	dst = h1.AppendField(dst, "Connection", "Upgrade")
	dst = h1.AppendField(dst, "Upgrade", f.response.Upgrade)
	f.out = h1.AppendCRLF(dst)
	early := f.res.unread()
	f.seen.Sent += int64(len(early))
	if cause := f.write(early); cause != CauseNone {
		return cause
	}
	f.relay()
	f.ended = true
	return CauseNone
}

// relay copies bytes both ways until both have ended.
func (f *flight) relay() {
	c, up := f.c, f.up
	c.server.stats.Upgraded.Add(1)
	defer c.server.stats.Upgraded.Add(-1)

	_ = c.conn.SetDeadline(time.Time{})
	_ = up.conn.SetDeadline(time.Time{})
	pending := append(c.in.unread()[f.body.used:], f.body.left...) // sent behind the request

	r := relay{client: c.conn, upstream: up.conn, buffers: c.server.heads}
	var upward sync.WaitGroup
	upward.Go(func() {
		r.sent.Store(int64(r.forward(pending)))
		r.copy(up.conn, c.conn, &r.sent)
	})
	var received atomic.Int64
	r.copy(c.conn, up.conn, &received)
	upward.Wait()
	f.body.received.Add(r.sent.Load())
	f.seen.Sent += received.Load()
}

// relay is an upgraded connection: two directions that end one by one.
type relay struct {
	client   net.Conn
	upstream net.Conn
	buffers  *buffers
	sent     atomic.Int64 // to the upstream
	half     atomic.Bool  // one direction has ended
}

// forward sends what the client sent before it saw the 101.
func (r *relay) forward(pending []byte) int {
	if len(pending) == 0 {
		return 0
	}
	n, _ := r.upstream.Write(pending) // its error comes again with the next write
	return n
}

// copy moves bytes until from ends, and passes the end on. When to cannot be
// written, or the other direction has ended and nothing comes for
// halfClosedTimeout, it closes both.
func (r *relay) copy(to, from net.Conn, count *atomic.Int64) {
	buf := r.buffers.get()
	defer r.buffers.put(buf)
	for {
		if r.half.Load() {
			_ = from.SetReadDeadline(time.Now().Add(halfClosedTimeout))
		}
		n, readErr := from.Read(*buf)
		if n > 0 {
			written, err := to.Write((*buf)[:n])
			count.Add(int64(written))
			if err != nil {
				break
			}
		}
		if readErr == nil {
			continue
		}
		if r.half.Swap(true) || !finish(to, readErr) {
			break
		}
		// The other direction may go on, but not in silence forever.
		_ = to.SetReadDeadline(time.Now().Add(halfClosedTimeout))
		return
	}
	r.client.Close()
	r.upstream.Close()
}
