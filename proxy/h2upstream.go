package proxy

import (
	"net"
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
	"github.com/lintel-dev/lintel/router"
)

// h2Upstream is an HTTP/2 connection to an endpoint, which exchanges share. The pool
// waits for the goroutine that reads it.
type h2Upstream struct {
	h2Link
	pool     *pool
	list     *h2List
	endpoint *router.Endpoint
	born     time.Time

	// Guarded by mu.
	streams  map[uint32]*h2Attempt
	promised int       // streams that are about to be opened
	idle     time.Time // when the last stream ended, or the connection was opened
	heard    time.Time // when the endpoint sent something
	served   bool      // it has answered a request, if only with a reset
	asked    bool      // there is no answer to a PING yet
	retired  bool      // it is too old for more streams, and not counted any more
	settled  chan struct{}
	told     bool // settled is closed: the endpoint's settings have come
}

// newH2Upstream takes over a connection that speaks HTTP/2 from now on.
func (p *pool) newH2Upstream(list *h2List, endpoint *router.Endpoint, conn, wire net.Conn) *h2Upstream {
	now := time.Now()
	u := &h2Upstream{
		pool: p, list: list, endpoint: endpoint, streams: map[uint32]*h2Attempt{}, born: now, idle: now, heard: now,
		settled: make(chan struct{}),
	}
	u.server, u.conn, u.wire, u.writeBy, u.relaxed = p.server, conn, wire, writeDeadline(conn), now
	u.codec.Init(h2.Client, exchange.UpstreamHTTP2(&p.server.settings))
	return u
}

// promise returns a stream that open will open; nil when there is no room for one.
func (u *h2Upstream) promise() *h2Attempt {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.retires() {
		return nil
	}
	limit := int(h2.DefaultSettings().MaxConcurrentStreams)
	if u.closed || u.err != nil || !u.codec.CanOpen() || u.codec.Streams()+u.promised >= limit {
		return nil
	}
	u.promised++
	a, ok := u.server.attempts.Get().(*h2Attempt)
	if !ok {
		a = new(h2Attempt)
	}
	a.reset(&u.h2Link)
	a.socket = exchange.WebSocket{}
	a.u, a.opened, a.kept, a.headed = u, false, u.served, false
	return a
}

// retires reports whether the connection is too old for more streams. From then on it
// does not count for the limit of connections, so that another can take its place. mu
// is held.
func (u *h2Upstream) retires() bool {
	if !u.retired && time.Since(u.born) >= u.server.settings.UpstreamMaxAge {
		u.retired = true
		u.endpoint.ReleaseConnection()
	}
	return u.retired
}

// run reads until the connection is over.
func (u *h2Upstream) run() {
	u.mu.Lock()
	u.kick() // the preface
	u.mu.Unlock()
	buf := u.server.bodies.get()
	in := newInput(*buf)
	readBy := readDeadline(u.conn)
	for u.take(&in) {
		readBy.extend(time.Now(), exchange.UpstreamPing)
		n, err := u.conn.Read(in.room())
		in.w += n
		if n == 0 && (!isTimeout(err) || !u.goesOn()) {
			break
		}
	}
	u.shut()
	u.server.bodies.put(buf)
}

// take acts on what was read, and reports whether the connection goes on.
func (u *h2Upstream) take(in *input) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(in.unread()) > 0 {
		u.heard, u.asked = time.Now(), false
		u.relax(u.heard)
	}
	for {
		n, e, err := u.codec.Next(in.unread())
		in.r += n
		if err != nil {
			return false
		}
		if e.Kind == h2.None {
			break
		}
		u.on(&e)
	}
	in.compact()
	u.kick()
	return u.err == nil && !u.codec.Done()
}

// on acts on an event. mu is held.
func (u *h2Upstream) on(e *h2.Event) {
	a := u.streams[e.Stream]
	switch e.Kind {
	case h2.ResponseHead:
		u.served = true
		if a != nil {
			a.receiveHead(e)
		}
	case h2.Data, h2.Trailers:
		if a != nil {
			a.receive(e)
		} else {
			u.codec.Consumed(e.Stream, len(e.Data))
		}
	case h2.StreamReset:
		u.served = true
		if a != nil {
			a.over(a.resetError(e))
		}
	case h2.Writable:
		u.unblock()
	case h2.SettingsChanged:
		u.unblock()
		if !u.told {
			u.told = true
			close(u.settled)
		}
	}
}

// resetError is why a stream is over: of those that were refused, and those that a
// GOAWAY has left out, the endpoint has done nothing (RFC 9113 §8.7), unless it has
// begun to answer.
func (a *h2Attempt) resetError(e *h2.Event) error {
	switch {
	case e.Code == h2.RefusedStream && !a.headed:
		return unsentError{errStreamOver}
	case e.Reason != "":
		return &h1.Error{Status: http.StatusBadGateway, Reason: e.Reason}
	}
	return errStreamOver
}

// goesOn reports whether the connection goes on although the endpoint was silent for a
// while.
func (u *h2Upstream) goesOn() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	switch {
	case u.err != nil || u.codec.Done():
		return false
	case len(u.streams)+u.promised == 0:
		return !u.retired && now.Sub(u.idle) < u.pool.limit
	case u.asked:
		return false // it is dead
	case now.Sub(u.heard) >= exchange.UpstreamPing:
		u.asked = true
		u.codec.Ping(0)
		u.kick()
	}
	return true
}

// shut ends the streams that are left, and waits for what writes.
func (u *h2Upstream) shut() {
	u.list.remove(u)
	u.mu.Lock()
	u.codec.GoAway(h2.NoError)
	if u.err == nil {
		u.writeBy.exactly(time.Now().Add(exchange.LingerTimeout))
		u.flush()
	}
	u.closed = true
	for _, a := range u.streams {
		a.over(errStreamOver)
	}
	if !u.told {
		u.told = true
		close(u.settled)
	}
	u.fail(net.ErrClosed)
	u.mu.Unlock()
	u.writers.Wait()
	u.pool.stats.Upstream.Add(-1)
	if !u.retired {
		u.endpoint.ReleaseConnection()
	}
}

// end closes the connection; its reader notices.
func (u *h2Upstream) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.fail(net.ErrClosed)
}
