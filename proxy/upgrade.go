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
	received := direction{to: r.client, from: r.upstream, writeBy: &toClient}
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
	deaf := false // d.to is closed: nothing more goes there
	for err := r.write(d, pending); err == nil; {
		if r.half.Load() {
			_ = d.from.SetReadDeadline(time.Now().Add(exchange.HalfClosedTimeout))
		}
		n, readErr := d.from.Read(*buf)
		if !deaf {
			err = r.write(d, (*buf)[:n])
		}
		if err != nil && d.to == r.upstream && errors.Is(err, syscall.EPIPE) {
			deaf, err = true, nil // its last words are still to be read
		}
		if err != nil || readErr == nil {
			continue
		}
		finished := deaf && readErr == io.EOF || finish(d.to, readErr)
		if r.half.Swap(true) || !finished {
			break
		}
		// The other direction may go on, but not in silence exchange.Forever.
		_ = d.to.SetReadDeadline(time.Now().Add(exchange.HalfClosedTimeout))
		return
	}
	r.client.Close()
	r.upstream.Close()
}
