//go:build linux

package loop

import (
	"encoding/binary"
	"io"

	"github.com/lintel-dev/lintel/proxy/tls13"
)

// secure is what a connection has that speaks TLS: [conn] hands out and takes
// plaintext as if there were none.
type secure struct {
	session *tls13.Session
	// sealed holds records that were read and not opened yet, the last one maybe in
	// part; opened is what of a record did not fit where it was wanted. Both are
	// borrowed buffers, or nil.
	sealed []byte
	opened []byte
	taken  int  // of opened
	over   bool // the peer has ended its side, or
	broken bool // has broken the rules
}

// recordHeader is the size of what stands before a record: its type, a version that
// says nothing, its length (RFC 8446 §5.1).
const recordHeader = 5

// whole reports whether p begins with something that the session can act on.
func whole(p []byte) bool {
	if len(p) < recordHeader {
		return false
	}
	size := recordHeader + int(binary.BigEndian.Uint16(p[3:]))
	return len(p) >= size || size > tls13.MaxRecord
}

// buffered reports whether read can return something without the socket.
func (s *secure) buffered() bool {
	return s != nil && (s.opened != nil || s.over || whole(s.sealed))
}

// readSecure is read for a connection that speaks TLS.
func (c *conn) readSecure(p []byte) (int, outcome) {
	s := c.secure
	for {
		if s.opened != nil {
			return c.readOpened(p), some
		}
		switch {
		case s.broken:
			return 0, breach
		case s.over:
			return 0, end
		}
		if whole(s.sealed) {
			records := s.sealed
			s.sealed = nil
			n := c.unseal(p, records)
			c.loop.pieces.put(records)
			if n > 0 {
				return n, some
			}
			continue
		}
		n, outcome := c.readSealed(p)
		if n > 0 || outcome != some {
			return n, outcome
		}
	}
}

// readOpened hands out plaintext that is there already.
func (c *conn) readOpened(p []byte) int {
	s := c.secure
	n := copy(p, s.opened[s.taken:])
	if s.taken += n; s.taken == len(s.opened) {
		c.loop.pieces.put(s.opened)
		s.opened, s.taken = nil, 0
	}
	return n
}

// readSealed reads from the socket and opens what has come. No plaintext may come of
// it.
func (c *conn) readSealed(p []byte) (int, outcome) {
	s := c.secure
	if s.sealed == nil {
		n, outcome := c.readRaw(c.loop.sealed)
		if outcome != some {
			return 0, outcome
		}
		return c.unseal(p, c.loop.sealed[:n]), some
	}
	// Behind the part of a record: there is room, as one is smaller than the buffer.
	n, outcome := c.readRaw(s.sealed[len(s.sealed):cap(s.sealed)])
	if outcome == some {
		s.sealed = s.sealed[:len(s.sealed)+n]
	}
	return 0, outcome
}

// unseal opens records into p as long as there is room, and keeps the rest.
func (c *conn) unseal(p, records []byte) int {
	s := c.secure
	total := 0
	for total < len(p) {
		data, n, err := s.session.Open(records)
		records = records[n:]
		fits := copy(p[total:], data)
		total += fits
		if fits < len(data) {
			s.opened = append(c.loop.pieces.get(len(data)), data[fits:]...)
		}
		if err != nil {
			s.over = true
			if s.broken = err != io.EOF; s.broken {
				c.sayGoodbye()
			}
			return total
		}
		if n == 0 {
			break
		}
	}
	if len(records) > 0 {
		s.sealed = append(c.loop.pieces.get(len(records)), records...)
	}
	return total
}

// seal returns p as it goes over the wire, which is good until the loop seals something else.
func (c *conn) seal(p []byte) []byte {
	if c.secure == nil {
		return p
	}
	p = c.secure.session.Seal(c.loop.records[:0], p)
	c.loop.records = p[:0]
	return p
}

// sayGoodbye tells the peer that nothing follows, or what rule it broke.
func (c *conn) sayGoodbye() {
	if c.secure == nil {
		return
	}
	if alert := c.secure.session.AppendClose(c.loop.records[:0]); len(alert) > 0 {
		c.sendRaw(alert)
	}
}

// discard gives the buffers back.
func (s *secure) discard(l *loop) {
	if s.sealed != nil {
		l.pieces.put(s.sealed)
	}
	if s.opened != nil {
		l.pieces.put(s.opened)
	}
	*s = secure{session: s.session, over: true}
}
