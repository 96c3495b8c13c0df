package proxy

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h2"
)

const (
	// An edge that is silent for edgeProbeAfter is asked whether it is there, and given up
	// when no answer comes within edgeProbeTimeout.
	edgeProbeAfter   = 8 * time.Second
	edgeProbeTimeout = 5 * time.Second
)

// edgeSettings are what Cloudflare's edge may do, which all users share: what one of them
// could do to harm others is the edge's business, so that it may reset streams as it likes.
func edgeSettings() h2.Settings {
	s := h2.DefaultSettings()
	s.MaxConcurrentStreams = 1 << 16
	s.StreamWindow, s.ConnWindow = 1<<20, 4<<20
	s.MaxHeaderBytes, s.MaxFields = 256<<10, 1024 // more than the edge's own limits
	s.MaxResets, s.MaxControl = 1<<30, 1<<30
	return s
}

// EdgeCall serves a stream of Cloudflare's edge that is not a user's but meant for the
// connector, whose kind the edge names, and returns when it is over.
type EdgeCall = func(kind string, stream io.ReadWriteCloser)

// edgeLink is a connection on which Cloudflare's edge is the client of HTTP/2. It is like an
// h2Downstream: the connection's goroutine reads, and each stream has one of its own.
type edgeLink struct {
	h2Link
	entry  *Entry
	call   EdgeCall
	in     input
	readBy deadline
	probed bool // the edge was asked whether it is there

	// Guarded by mu.
	streams map[uint32]*edgeStream
	over    bool // the reader is to end
}

// ServeHTTP2 serves a connection that Cloudflare's edge sends requests on by HTTP/2, in the
// way of a tunnel's connectors: [edgewire] has the words. It ends with the connection, or
// after ctx has ended, when what is under way has. It does not close conn, and who does makes
// it return.
func (e *Entry) ServeHTTP2(ctx context.Context, conn net.Conn, call EdgeCall) {
	now := time.Now()
	buf := e.server.bodies.get()
	defer e.server.bodies.put(buf)
	l := &edgeLink{entry: e, call: call, in: newInput(*buf), readBy: readDeadline(conn), streams: map[uint32]*edgeStream{}}
	l.server, l.conn, l.wire, l.writeBy, l.relaxed = e.server, conn, conn, writeDeadline(conn), now
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		l.wire = secure.NetConn()
	}
	l.drained = newSignal()
	l.codec.Init(h2.Server, edgeSettings())
	stop := context.AfterFunc(ctx, l.drain)
	defer stop()
	l.read()
	l.shut()
}

// read reads until the connection is over.
func (l *edgeLink) read() {
	l.readBy.extend(time.Now(), edgeProbeAfter)
	for {
		n, err := l.conn.Read(l.in.room())
		l.in.w += n
		switch {
		case n > 0:
			if !l.take() {
				return
			}
		case !isTimeout(err) || !l.probe():
			return
		}
	}
}

// take acts on what was read, and reports whether the connection goes on.
func (l *edgeLink) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		n, e, err := l.codec.Next(l.in.unread())
		l.in.r += n
		if err != nil {
			return false
		}
		if e.Kind == h2.None {
			break
		}
		l.on(&e)
	}
	l.in.compact()
	now := time.Now()
	l.relax(now)
	l.kick()
	l.settle()
	l.probed = false
	if l.over || l.err != nil || l.codec.Done() {
		return false
	}
	l.readBy.extend(now, edgeProbeAfter)
	return true
}

// probe asks an edge that was silent whether it is there, and reports false if it was asked
// before.
func (l *edgeLink) probe() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.probed || l.over || l.err != nil || l.codec.Done() {
		return false
	}
	l.probed = true
	l.codec.Ping(0)
	l.kick()
	l.readBy.exactly(time.Now().Add(edgeProbeTimeout))
	return true
}

// on acts on an event. mu is held.
func (l *edgeLink) on(e *h2.Event) {
	switch e.Kind {
	case h2.RequestHead, h2.HeadTooLarge:
		l.open(e)
	case h2.Data, h2.Trailers:
		if s := l.streams[e.Stream]; s != nil {
			s.receive(e)
		} else {
			l.codec.Consumed(e.Stream, len(e.Data))
		}
	case h2.StreamReset:
		if s := l.streams[e.Stream]; s != nil {
			s.cancel(exchange.CauseClientGone)
		}
	case h2.Writable, h2.SettingsChanged:
		l.unblock()
	}
}

// open starts a stream. mu is held.
func (l *edgeLink) open(e *h2.Event) {
	s, ok := l.server.edgeStreams.Get().(*edgeStream)
	if !ok {
		s = new(edgeStream)
	}
	s.begin(l, e)
	l.streams[e.Stream] = s
	l.writers.Go(s.run)
}

// close ends a stream that was served.
func (l *edgeLink) close(s *edgeStream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.forget()
	delete(l.streams, s.id)
	l.flush()
	if !l.closed && l.codec.Done() {
		l.over = true
		_ = l.conn.SetReadDeadline(past)
	}
}

// drain tells the edge that the connection ends, which sends new requests elsewhere.
func (l *edgeLink) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.over {
		return
	}
	l.codec.Drain()
	l.kick()
}

// shut ends what goes on behind the reader, which has ended, and waits for it. The codec's
// last words are still sent.
func (l *edgeLink) shut() {
	l.mu.Lock()
	for _, s := range l.streams {
		s.cancel(exchange.CauseClientGone)
	}
	l.closed = true
	l.writeBy.exactly(time.Now().Add(exchange.LingerTimeout))
	l.flush()
	l.mu.Unlock()
	l.writers.Wait()
}
