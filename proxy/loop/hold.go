//go:build linux

package loop

import (
	"slices"
	"time"

	"github.com/lintel-dev/lintel/proxy/h2"
)

// holdTimeout bounds how long a stream that a loop cannot serve waits for the others
// of its connection to end.
const holdTimeout = time.Second

// An extended CONNECT (RFC 8441), which opens a WebSocket, needs the full lane, and
// there its connection has to go as a whole. So it waits until no other stream is open:
// its events are held back meanwhile. One that waits in vain is refused, which makes
// the client try again on a new connection (RFC 9113 §8.7).

// holds reports whether an event is about such a stream.
func (m *mux) holds(e *h2.Event) bool {
	if e.Kind == h2.RequestHead {
		return e.Request.Protocol != ""
	}
	return e.Stream != 0 && slices.ContainsFunc(m.held, func(held h2.Event) bool { return held.Stream == e.Stream })
}

// hold keeps an event, which points to what does not last.
func (m *mux) hold(e *h2.Event) {
	kept := *e
	kept.Data = slices.Clone(e.Data)
	kept.Fields = slices.Clone(e.Fields)
	if e.Request != nil {
		head := *e.Request
		head.Fields = slices.Clone(head.Fields)
		kept.Request = &head
	}
	m.held = append(m.held, kept)
}

// moveOn hands the connection over, if there is a reason to and nothing in the way.
func (m *mux) moveOn() bool {
	if len(m.held) == 0 || len(m.streams) > 0 || m.ending || m.d.pending() > 0 {
		return false
	}
	m.d.part(HandedOver{HTTP2: &m.codec, Events: m.held, Unread: slices.Clone(m.left)})
	return true
}

// letGo refuses what has waited for too long.
func (m *mux) letGo() {
	for i := range m.held {
		e := &m.held[i]
		m.codec.Consumed(e.Stream, len(e.Data))
		if e.Kind == h2.RequestHead {
			m.codec.Reset(e.Stream, h2.RefusedStream)
		}
	}
	m.held = nil
	m.drain()
	m.soil()
	m.arm()
}
