//go:build linux

package loop

import (
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h2"
)

// relaxInterval is how often what an HTTP/2 peer did is forgiven, see [h2.Conn.Relax].
const relaxInterval = 10 * time.Second

// mux is what a client connection has that speaks HTTP/2: many streams, each with a
// flight of its own. What is written gathers in the codec, and goes out once a turn.
type mux struct {
	agenda
	d       *downstream
	codec   h2.Conn
	streams map[uint32]*stream
	left    []byte // bytes that the codec could not use yet
	free    []*stream
	head    h2.Response // that is being written

	dirty   bool // it is in loop.dirty
	served  bool // a stream was opened
	drained bool // the client was told
	ending  bool // nothing is read any more: the codec has ended the connection
	lost    bool // the connection is over, and stays for tunnels that have yet to pass on something
	relaxed int64
}

// newMux returns one at the beginning of a connection.
func newMux(d *downstream) *mux {
	m := &mux{d: d, streams: map[uint32]*stream{}, relaxed: d.loop.now}
	settings := h2.DefaultSettings()
	settings.MaxConcurrentStreams = uint32(d.loop.settings.MaxConcurrentStreams)
	settings.MaxHeaderBytes = d.loop.settings.Limits.Head
	settings.MaxFields = d.loop.settings.Limits.Fields
	settings.ExtendedConnect = true
	m.codec.Init(h2.Server, settings)
	return m
}

// ready goes on when the connection can.
func (m *mux) ready() {
	d := m.d
	switch {
	case m.lost:
		m.goOn()
		return
	case (d.failed || d.broken) && !m.parting():
		m.lose()
		return
	}
	if m.ending {
		m.end()
		return
	}
	m.soil() // there may be room for what waits
	m.goOn()
	for range piecesPerTurn {
		if d.fd < 0 || d.pending() > 0 {
			return // a client that does not read is not read from
		}
		data, outcome := d.readBehind(m.left)
		switch outcome {
		case dry:
			return
		case end, breach:
			m.lose()
			return
		}
		m.take(data)
		if m.ending || d.fd < 0 {
			return
		}
	}
	d.loop.resume(&d.conn)
}

// take acts on what was read.
func (m *mux) take(data []byte) {
	for {
		n, e, err := m.codec.Next(data)
		data = data[n:]
		if err != nil {
			m.ending = true
			break
		}
		if e.Kind == h2.None {
			break
		}
		m.on(&e)
	}
	m.left = append(m.left[:0], data...)
	if now := m.d.loop.now; now-m.relaxed >= int64(relaxInterval) {
		m.relaxed = now
		m.codec.Relax()
	}
	m.soil()
	m.goOn()
	if m.d.fd < 0 {
		return
	}
	if m.codec.Done() {
		m.ending = true
	}
	m.arm()
}

// on notes an event.
func (m *mux) on(e *h2.Event) {
	s := m.streams[e.Stream]
	switch e.Kind {
	case h2.RequestHead, h2.HeadTooLarge:
		m.begin(e)
	case h2.Data, h2.Trailers:
		if s == nil {
			m.codec.Consumed(e.Stream, len(e.Data))
			return
		}
		s.receive(e)
		m.activate(s)
	case h2.StreamReset:
		if s != nil {
			s.reset = true
			m.activate(s)
		}
	case h2.Writable, h2.SettingsChanged:
		m.unblock()
	}
}

// begin makes a stream.
func (m *mux) begin(e *h2.Event) {
	var s *stream
	if last := len(m.free) - 1; last >= 0 {
		s = m.free[last]
		m.free = m.free[:last]
	} else {
		s = &stream{m: m}
		s.codec = &m.codec
	}
	m.served = true
	m.streams[e.Stream] = s
	s.begin(e)
	m.activate(s)
}

// soil makes the output go out at the end of the turn.
func (m *mux) soil() {
	if !m.dirty {
		m.dirty = true
		m.d.loop.dirty.add(m)
	}
}

// flush gives the output to the connection, unless something waits there already.
func (m *mux) flush() {
	m.dirty = false
	d := m.d
	if d.fd < 0 || d.pending() > 0 || m.lost {
		return
	}
	if out := m.codec.Output(); len(out) > 0 {
		switch {
		case d.send(out):
		case m.parting():
			d.loop.resume(&d.conn)
			return
		default:
			m.lose()
			return
		}
		m.codec.Sent(len(out))
		if len(m.blocked) > 0 {
			m.unblock()
			m.goOn()
			if d.fd < 0 {
				return
			}
		}
	}
	if m.ending || m.codec.Done() {
		m.ending = true
		m.end()
	}
}

// end ends the connection once the last words are out.
func (m *mux) end() {
	if len(m.codec.Output()) == 0 && m.d.pending() == 0 {
		m.abandon(exchange.CauseClientGone)
		m.d.linger()
	}
}

// lose closes the connection, as the client has, but not before everything went upstream that it
// has said in tunnels which have ended both ways.
func (m *mux) lose() {
	m.lost = true
	m.d.loop.wheel.set(&m.d.timer, never)
	for id, s := range m.streams {
		if !s.parted() {
			delete(m.streams, id)
			s.flight.leave(exchange.CauseClientGone)
			s.release()
		}
	}
	if len(m.streams) == 0 {
		m.d.close()
	}
}

// parting reports whether there is a tunnel that only waits for what its client has still to say,
// which is read although the connection was reset after it.
func (m *mux) parting() bool {
	for _, s := range m.streams {
		if s.parts() {
			return true
		}
	}
	return false
}

// abandon ends all flights, as there is nobody to wait for them.
func (m *mux) abandon(cause exchange.Cause) {
	for _, s := range m.streams {
		if s.flight != nil {
			s.flight.leave(cause)
			s.release()
		}
	}
	clear(m.streams)
}

// arm bounds how long the client may be silent while no stream is open.
func (m *mux) arm() {
	d, s := m.d, m.d.loop.settings
	limit := s.IdleTimeout
	switch {
	case d.drains():
		limit = exchange.FreshGrace
	case !m.served:
		limit = s.ReadHeaderTimeout
	case len(m.streams) > 0:
		d.loop.wheel.set(&d.timer, never)
		return
	}
	d.loop.wheel.set(&d.timer, since(d.loop.now, limit))
}

// expire is called when the client was silent for that long.
func (m *mux) expire() {
	d := m.d
	if m.ending {
		d.close()
		return
	}
	m.codec.GoAway(h2.NoError)
	m.ending = len(m.streams) == 0
	d.loop.wheel.set(&d.timer, since(d.loop.now, exchange.LingerTimeout))
	m.soil()
}

// drain tells the client that the connection ends, with a moment of grace for what it
// sends before it knows.
func (m *mux) drain() {
	if !m.drained {
		m.drained = true
		m.codec.Drain()
		m.soil()
		m.arm()
	}
}

// close ends a stream.
func (m *mux) close(s *stream) {
	delete(m.streams, s.id)
	s.release()
	if len(m.free) < int(h2.DefaultSettings().MaxConcurrentStreams) {
		m.free = append(m.free, s)
	}
	m.soil()
	switch {
	case len(m.streams) > 0:
	case m.lost:
		m.d.close()
	default:
		m.arm()
	}
}
