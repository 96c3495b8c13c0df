package proxy

import (
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h2"
)

// h2Downstream serves HTTP/2 on a connection: the connection's goroutine reads, and
// each stream has one that runs its flight.
type h2Downstream struct {
	h2Link
	c *connection

	// Guarded by mu.
	streams map[uint32]*h2Stream
	served  bool      // a stream was opened
	idle    time.Time // when the last stream ended, or the connection began
	over    bool      // the reader is to end: nobody may set a later deadline

	big *[]byte // the pooled buffer of the connection's input while streams are open
}

// h2Settings are what HTTP/2 clients may do.
func h2Settings(s *Settings) h2.Settings {
	settings := h2.DefaultSettings()
	settings.MaxConcurrentStreams = uint32(s.MaxConcurrentStreams)
	settings.MaxHeaderBytes = s.Limits.Head
	settings.MaxFields = s.Limits.Fields
	settings.ExtendedConnect = true
	return settings
}

// serveH2 serves HTTP/2 until the connection ends.
func (c *connection) serveH2() {
	now := time.Now()
	h := &h2Downstream{c: c, streams: map[uint32]*h2Stream{}, idle: now}
	h.server, h.conn, h.wire, h.writeBy, h.relaxed = c.server, c.conn, c.wire, writeDeadline(c.conn), now
	h.drained = newSignal()
	h.codec.Init(h2.Server, h2Settings(&c.server.settings))
	c.client.Protocol = "HTTP/2.0"
	c.mu.Lock()
	c.h2 = h
	c.mu.Unlock()
	c.become(busy)
	if c.draining.Load() {
		h.drain()
	}
	lingers := h.read()
	h.shut()
	if lingers {
		c.linger()
	}
}

// read reads until the connection is over, and reports whether the client may still be
// sending.
func (h *h2Downstream) read() (lingers bool) {
	c := h.c
	if !h.take() {
		return true
	}
	for {
		n, err := c.conn.Read(h.room())
		c.in.w += n
		switch {
		case n > 0:
			if !h.take() {
				return true
			}
		case !isTimeout(err):
			return false
		case !h.goesOn():
			return true
		}
	}
}

// take acts on what was read, and reports whether the connection goes on.
func (h *h2Downstream) take() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.c
	for {
		n, e, err := h.codec.Next(c.in.unread())
		c.in.r += n
		if err != nil {
			return false
		}
		if e.Kind == h2.None {
			break
		}
		h.on(&e)
	}
	c.in.compact()
	now := time.Now()
	h.relax(now)
	h.kick()
	h.settle()
	if h.over || h.err != nil || h.codec.Done() {
		return false
	}
	c.readBy.extend(now, h.patience())
	return true
}

// patience is how long the client may be silent while no stream is open.
func (h *h2Downstream) patience() time.Duration {
	switch {
	case h.c.draining.Load():
		return exchange.FreshGrace
	case !h.served:
		return h.server.settings.ReadHeaderTimeout
	default:
		return h.server.settings.IdleTimeout
	}
}

// goesOn reports whether the connection goes on although the client was silent for a
// while.
func (h *h2Downstream) goesOn() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.c.draining.Load() {
		// It had the time that a round trip takes.
		h.codec.GoAway(h2.NoError)
		h.kick()
	}
	if h.over || h.err != nil || h.codec.Done() {
		return false
	}
	latest := h.idle.Add(h.patience())
	if len(h.streams) > 0 {
		latest = now.Add(h.patience())
	}
	if !now.Before(latest) {
		h.codec.GoAway(h2.NoError)
		return false
	}
	h.c.readBy.exactly(latest)
	return true
}

// room returns where to read to: a small buffer when no stream is open.
func (h *h2Downstream) room() []byte {
	in := &h.c.in
	h.mu.Lock()
	busy := len(h.streams) > 0
	h.mu.Unlock()
	switch {
	case busy && h.big == nil:
		h.big = h.server.bodies.get()
		in.w = copy(*h.big, in.unread())
		in.r, in.buf = 0, *h.big
	case !busy && h.big != nil && len(in.unread()) < len(in.small):
		in.w = copy(in.small, in.unread())
		in.r, in.buf = 0, in.small
		h.server.bodies.put(h.big)
		h.big = nil
	}
	return in.room()
}

// on acts on an event. mu is held.
func (h *h2Downstream) on(e *h2.Event) {
	switch e.Kind {
	case h2.RequestHead, h2.HeadTooLarge:
		h.open(e)
	case h2.Data, h2.Trailers:
		if s := h.streams[e.Stream]; s != nil {
			s.receive(e)
		} else {
			h.codec.Consumed(e.Stream, len(e.Data))
		}
	case h2.StreamReset:
		if s := h.streams[e.Stream]; s != nil {
			s.over(errStreamOver)
			s.flight.cancel(exchange.CauseClientGone)
		}
	case h2.Writable, h2.SettingsChanged:
		h.unblock()
	}
}

// open starts a stream. mu is held. Streams that were reset may take a moment to end,
// so there can be more of them than the client may have open; not many more, though.
func (h *h2Downstream) open(e *h2.Event) {
	if len(h.streams) >= 2*h.server.settings.MaxConcurrentStreams {
		h.codec.Reset(e.Stream, h2.RefusedStream)
		return
	}
	s, ok := h.server.streams.Get().(*h2Stream)
	if !ok {
		s = new(h2Stream)
	}
	s.begin(h, e)
	h.streams[e.Stream] = s
	h.served = true
	h.writers.Go(s.run)
}

// close ends a stream whose flight has ended.
func (h *h2Downstream) close(s *h2Stream) {
	h.mu.Lock()
	s.forget()
	delete(h.streams, s.id)
	if len(h.streams) == 0 {
		h.idle = time.Now()
	}
	h.flush()
	switch {
	case h.closed:
	case h.codec.Done():
		h.over = true
		_ = h.conn.SetReadDeadline(past)
	case h.c.draining.Load() && len(h.streams) == 0:
		h.c.readBy.exactly(h.idle.Add(exchange.FreshGrace))
	}
	h.mu.Unlock()
	h.server.streams.Put(s)
}

// drain tells the client that the connection ends, with a round trip of grace for what
// it sends before it knows.
func (h *h2Downstream) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.over {
		return
	}
	h.codec.Drain()
	h.kick()
	h.c.readBy.exactly(time.Now().Add(exchange.FreshGrace))
}

// cancel ends all streams.
func (h *h2Downstream) cancel(cause exchange.Cause) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.streams {
		if cause == exchange.CauseClientGone && s.ended && s.told {
			continue // the client wants no more of it: what it has said in a tunnel still goes upstream
		}
		s.over(errStreamOver)
		s.flight.cancel(cause)
	}
}

// shut ends what goes on behind the reader, which has ended, and waits for it. The
// codec's last words are still sent.
func (h *h2Downstream) shut() {
	h.cancel(exchange.CauseClientGone)
	h.mu.Lock()
	h.closed = true
	h.writeBy.exactly(time.Now().Add(exchange.LingerTimeout))
	h.flush()
	h.mu.Unlock()
	h.writers.Wait()
	if h.big != nil {
		h.c.in = newInput(*h.c.head)
		h.server.bodies.put(h.big)
	}
}

// beginsH2 reports whether the client speaks HTTP/2: as ALPN has it with TLS, and
// otherwise with prior knowledge (RFC 9113 §3.3). It reads no further than it has to.
func (c *connection) beginsH2() bool {
	if c.client.Scheme == "https" {
		return c.alpn == "h2"
	}
	for {
		have := c.in.unread()
		n := min(len(have), len(h2.Preface))
		if string(have[:n]) != h2.Preface[:n] {
			return false
		}
		if n == len(h2.Preface) {
			return true
		}
		read, err := c.conn.Read(c.in.room())
		c.in.w += read
		if read == 0 && err != nil {
			return false
		}
	}
}
