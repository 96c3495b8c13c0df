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
	f.down.bound(f.deadline)

	f.use(relaying{f.up, f})
	client, pending, err := f.down.upgrade(&f.response)
	if errors.Is(err, exchange.ErrNotAgreed) {
		f.answered, f.Report.Status = false, 0 // nothing of it was sent
		return exchange.CauseUpstreamInvalid
	}
	if err != nil {
		return f.writeCause(err)
	}
	conn, early := f.up.tunnel()
	f.Lighten()
	f.relay(&relay{client: client, upstream: conn}, pending, early)
	f.ended = true
	f.noteDrained()
	return exchange.CauseNone
}

// noteDrained says in the report that the relay was not ended by either side.
func (f *flight) noteDrained() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.canceled == exchange.CauseDrained {
		f.Report.Cause = exchange.CauseDrained
	}
}

// relay copies bytes both ways until both have ended. What either side had sent already
// goes first: pending to the upstream, early to the client.
func (f *flight) relay(r *relay, pending, early []byte) {
	f.server.stats.Upgraded.Add(1)
	defer f.server.stats.Upgraded.Add(-1)
	if f.relayExpress(r, pending, early) {
		return
	}

	r.limit, r.buffers = f.Settings.BodyTimeout, f.server.heads
	toUpstream, toClient := writeDeadline(r.upstream), writeDeadline(r.client)
	sent := direction{to: r.upstream, from: r.client, writeBy: &toUpstream}
	received := direction{to: r.client, from: r.upstream, writeBy: &toClient, back: &sent}
	sent.back = &received
	var upward sync.WaitGroup
	upward.Go(func() { r.copy(&sent, pending) })
	r.copy(&received, early)
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
	answered atomic.Bool // ... that of the upstream's words
	ending   sync.Once
}

// direction is one way of a relay. Its goroutine owns it.
type direction struct {
	to, from net.Conn
	writeBy  *deadline // of to
	moved    int64     // bytes
	deaf     bool      // to is closed: nothing more goes there
	back     *direction

	writing sync.Mutex // held during a write, and guards lost
	lost    bool       // a write has got the error of a reset, and a read gets an end in place of it
}

// wasReset reports whether the end that was read from d.to is a reset, see [h1Upstream.wasReset].
func (d *direction) wasReset() bool {
	if !d.writing.TryLock() {
		if !broken(below(d.to)) {
			return false // that write goes on, and may for long
		}
		d.writing.Lock()
	}
	defer d.writing.Unlock()
	return d.lost
}

// relaying is an upstream whose connection is relayed. A client that is gone resets it.
type relaying struct {
	upstream
	flight *flight
}

// cancel implements upstream.
func (r relaying) cancel() {
	if r.flight.canceled == exchange.CauseClientGone {
		r.breakOff()
	} else {
		r.upstream.cancel()
	}
}

// write passes p on. An upstream may have closed all of its connection after its last words,
// which are still to be read: EPIPE says that its end had come.
func (r *relay) write(d *direction, p []byte) error {
	if len(p) == 0 || d.deaf {
		return nil
	}
	d.writeBy.extend(time.Now(), r.limit)
	d.writing.Lock()
	n, err := d.to.Write(p)
	d.lost = d.lost || errors.Is(err, syscall.ECONNRESET)
	d.writing.Unlock()
	d.moved += int64(n)
	if d.to == r.upstream && errors.Is(err, syscall.EPIPE) {
		d.deaf, err = true, nil
	}
	return err
}

// copy moves pending and then bytes until d.from ends, and passes the end on. When d.to cannot
// be written, or the other direction has ended and nothing comes for
// exchange.HalfClosedTimeout, it ends both.
func (r *relay) copy(d *direction, pending []byte) {
	buf := r.buffers.get()
	defer r.buffers.put(buf)
	err := r.write(d, pending)
	for err == nil {
		if r.half.Load() {
			_ = d.from.SetReadDeadline(time.Now().Add(exchange.HalfClosedTimeout))
		}
		n, readErr := d.from.Read(*buf)
		err = r.write(d, (*buf)[:n])
		if err == nil && readErr != nil {
			r.ends(d, readErr)
			return
		}
	}
	r.end(d.to, err)
}

// ends is called when nothing more comes from d.from.
func (r *relay) ends(d *direction, err error) {
	if err != io.EOF || d.back.wasReset() {
		r.end(d.from, err)
		return
	}
	if d.from == r.upstream {
		r.answered.Store(true)
	}
	finished := d.deaf || finish(d.to, io.EOF)
	switch {
	case r.half.Swap(true):
		r.end(nil, nil)
	case !finished:
		r.end(d.to, io.ErrClosedPipe)
	default:
		// The other direction may go on, but not in silence exchange.Forever.
		_ = d.to.SetReadDeadline(time.Now().Add(exchange.HalfClosedTimeout))
	}
}

// end closes both sides, once; broken is the one because of which, or nil. Who talks to a side
// that was reset is reset too, and does not hear over TLS that this was all. An upstream that has
// finished may do that.
func (r *relay) end(broken net.Conn, err error) {
	r.ending.Do(func() {
		reset := broken != nil && !isTimeout(err) && !errors.Is(err, net.ErrClosed)
		switch {
		case reset && broken == r.client:
			breakOff(r.upstream)
		case reset && !r.answered.Load():
			breakOff(r.client)
		}
		r.client.Close()
		r.upstream.Close()
	})
}
