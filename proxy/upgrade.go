package proxy

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// upgrade passes a 101 on, and then bytes in both directions until both sides
// have finished (RFC 9110 §7.8). RequestTimeout and BackendTimeout end with the
// 101: they are about a request, not a conversation. Silence may last; a peer that
// vanished is found by TCP keep-alive, and one that does not take what it is sent
// within the BodyTimeout is given up.
func (f *flight) upgrade() exchange.Cause {
	if f.Request.Upgrade == "" || f.response.Upgrade == "" || !f.body.await() {
		return exchange.CauseUpstreamInvalid
	}
	f.answered, f.Keep = true, false
	f.Report.Status = f.response.Status
	f.Report.UpstreamLatency = time.Since(f.Report.Start)
	f.deadline = f.Report.Start.Add(exchange.Forever)
	f.attemptBy = f.deadline

	f.out = f.AppendSwitch(f.out[:0], &f.response)
	early := f.res.unread()
	f.Report.Sent += int64(len(early))
	if cause := f.write(early); cause != exchange.CauseNone {
		return cause
	}
	f.releaseBuffers() // the relay may last, and has smaller ones
	f.relay()
	f.ended = true
	return exchange.CauseNone
}

// relay copies bytes both ways until both have ended.
func (f *flight) relay() {
	c, up := f.c, f.up
	c.server.stats.Upgraded.Add(1)
	defer c.server.stats.Upgraded.Add(-1)

	c.readBy.exactly(time.Time{})
	up.readBy.exactly(time.Time{})
	c.relaysTo(up.conn)
	pending := append(c.in.unread()[f.body.used:], f.body.left...) // sent behind the request

	r := relay{client: c.conn, upstream: up.conn, limit: f.Settings.BodyTimeout, buffers: c.server.heads}
	sent := direction{to: up.conn, from: c.conn, writeBy: &up.writeBy}
	received := direction{to: c.conn, from: up.conn, writeBy: &c.writeBy}
	var upward sync.WaitGroup
	upward.Go(func() { r.copy(&sent, pending) })
	r.copy(&received, nil)
	upward.Wait()
	f.body.received.Add(sent.moved)
	f.Report.Sent += received.moved
}

// relay is an upgraded connection: two directions that end one by one.
type relay struct {
	client   net.Conn
	upstream net.Conn
	limit    time.Duration // of one write
	buffers  *buffers
	half     atomic.Bool // one direction has ended
}

// direction is one way of a relay. Its goroutine owns it.
type direction struct {
	to, from net.Conn
	writeBy  *deadline // of to
	moved    int64     // bytes
}

// write passes p on.
func (r *relay) write(d *direction, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	d.writeBy.extend(time.Now(), r.limit)
	n, err := d.to.Write(p)
	d.moved += int64(n)
	return err
}

// copy moves pending and then bytes until d.from ends, and passes the end on. When
// d.to cannot be written, or the other direction has ended and nothing comes for
// exchange.HalfClosedTimeout, it closes both.
func (r *relay) copy(d *direction, pending []byte) {
	buf := r.buffers.get()
	defer r.buffers.put(buf)
	for err := r.write(d, pending); err == nil; {
		if r.half.Load() {
			_ = d.from.SetReadDeadline(time.Now().Add(exchange.HalfClosedTimeout))
		}
		n, readErr := d.from.Read(*buf)
		if err = r.write(d, (*buf)[:n]); err != nil || readErr == nil {
			continue
		}
		if r.half.Swap(true) || !finish(d.to, readErr) {
			break
		}
		// The other direction may go on, but not in silence exchange.Forever.
		_ = d.to.SetReadDeadline(time.Now().Add(exchange.HalfClosedTimeout))
		return
	}
	r.client.Close()
	r.upstream.Close()
}
