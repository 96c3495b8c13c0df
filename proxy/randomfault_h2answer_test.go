package proxy

import (
	"encoding/binary"
	"net"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
)

// serve answers as planned.
func (s *faultyStream) serve() {
	c, p := s.c, s.p
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !s.begin():
		return
	case p == nil:
		s.head(endStream, ":status", "200")
		return
	case !p.early && !s.readRequest():
		return
	}
	if p.h2.goes && !c.gone {
		c.goAway()
		c.closes = p.h2.closes
	}
	if p.ends != "" && p.at < 0 {
		s.end()
		return
	}
	fields := []string{":status", "200", "x-id", p.id()}
	if p.framing == "length" {
		fields = append(fields, "content-length", strconv.Itoa(p.size))
	}
	if p.ends == "" && p.size == 0 && p.h2.tail == "last" {
		s.head(endStream, fields...)
	} else {
		s.head(0, fields...)
		s.respond()
	}
	if p.ends == "" && p.early {
		s.leaveRequest()
	}
}

// respond sends the body, and what follows it.
func (s *faultyStream) respond() {
	p := s.p
	body := text(p.id(), p.size)
	if p.ends != "" {
		body = body[:p.at]
	}
	for i := range p.pieces {
		n := len(body) / (p.pieces - i)
		s.data(body[:n], p.ends == "" && p.h2.tail == "last" && i == p.pieces-1)
		body = body[n:]
	}
	switch {
	case !s.alive():
	case p.ends != "":
		s.end()
	case p.h2.tail == "empty":
		s.data("", true)
	case p.h2.tail == "trailers":
		s.head(endStream, "x-trail", p.id())
	}
}

// readRequest reads the request to its end, and reports whether it is all of its own.
func (s *faultyStream) readRequest() bool {
	s.read()
	for s.alive() && !s.ended {
		s.c.changed.Wait()
	}
	if s.alive() && s.body.String() != text(s.p.id(), s.p.posts) {
		s.head(endStream, ":status", "599")
		return false
	}
	return s.alive()
}

// read lets the rest of the request come.
func (s *faultyStream) read() {
	s.reads = true
	if n := s.body.Len(); n > 0 && !s.ended {
		_ = s.c.frames.WriteWindowUpdate(s.id, uint32(n))
	}
}

// leaveRequest reads the rest of a request whose response was sent, or says that nobody does
// (RFC 9113 §8.1).
func (s *faultyStream) leaveRequest() {
	switch {
	case !s.alive() || s.ended:
	case s.p.h2.unread:
		_ = s.c.frames.WriteRSTStream(s.id, http2.ErrCodeNo)
		s.over()
	default:
		s.read()
	}
}

// head sends HEADERS. mu is held, as for all that follow.
func (s *faultyStream) head(ends http2.Flags, pairs ...string) {
	if !s.alive() {
		return
	}
	s.c.head(s.id, ends, pairs...)
	if ends.Has(endStream) {
		s.answered = true
		s.finish()
	}
}

// data sends DATA, as far as there is room; mu is not held while it waits.
func (s *faultyStream) data(payload string, last bool) {
	for s.alive() {
		n := min(len(payload), 16<<10-50)
		if ends := last && n == len(payload); n > 0 || ends {
			s.frame(payload[:n], ends)
		}
		if payload = payload[n:]; payload == "" {
			return
		}
	}
}

// frame sends one DATA frame once there is room for it.
func (s *faultyStream) frame(payload string, last bool) {
	var pad []byte
	size := int64(len(payload))
	if s.p.h2.pad > 0 && size > 0 {
		pad = make([]byte, s.p.h2.pad)
		size += int64(1 + len(pad))
	}
	for s.alive() && size > s.c.room.left(s.id) {
		s.c.changed.Wait()
	}
	if !s.alive() {
		return
	}
	s.c.room.spend(s.id, size)
	_ = s.c.frames.WriteDataPadded(s.id, last, []byte(payload), pad)
	if last {
		s.answered = true
		s.finish()
	}
}

// end does what the response ends with.
func (s *faultyStream) end() {
	c, p := s.c, s.p
	switch p.ends {
	case "resets":
		_ = c.frames.WriteRSTStream(s.id, p.h2.code)
		s.over()
	case "short":
		s.data("", true)
	case "beyond":
		s.frame(text(p.id(), p.size)[p.at:]+"beyond", p.h2.fault%2 == 0)
	case "malforms":
		s.malform()
	case "closes":
		s.tear()
		_ = c.conn.(*net.TCPConn).CloseWrite()
		c.dies()
	case "aborts":
		s.tear()
		_ = c.conn.(*net.TCPConn).SetLinger(0)
		c.conn.Close()
		c.dies()
	case "breaks":
		_, _ = c.conn.Write([]byte(breaches[p.h2.fault%len(breaches)](s.id)))
		c.dies() // and waits until the other side closes
	}
	for p.ends == "stalls" && s.alive() {
		c.changed.Wait()
	}
}

// tear begins what the end of the connection cuts: a frame, or its header; or says that it
// comes.
func (s *faultyStream) tear() {
	switch fault := s.p.h2.fault; fault % 3 {
	case 0:
		s.c.goAway()
	case 1:
		whole := append([]byte{0, 1, 0, byte(http2.FrameData), 0}, binary.BigEndian.AppendUint32(nil, s.id)...)
		whole = append(whole, strings.Repeat("?", 256)...)
		if s.p.at >= 0 { // else DATA would be an error
			copy(whole[9:], text(s.p.id(), s.p.size)[s.p.at:])
		}
		at := fault % 9
		if s.p.framing != "length" && s.p.at >= 0 {
			at += min(fault%200, s.p.size-s.p.at)
		}
		_, _ = s.c.conn.Write(whole[:at])
	}
}

// malformedHeads are heads of responses that no client may get.
var malformedHeads = [][]string{
	{":status", "200", "connection", "close"},
	{":status", "200", "transfer-encoding", "chunked"},
	{":status", "200", "X-Upper", "1"},
	{":status", "200", "x-id", "a\nb"},
	{":status", "200", ":status", "200"},
	{":status", "200", ":path", "/"},
	{":status", "200", "content-length", "5", "content-length", "6"},
	{":status", "200", "content-length", "-1"},
	{":status", "20"},
	{":status", "101"},
	{"x-id", "1", ":status", "200"},
	{"x-id", "1"},
	{}, // no fields
}

// malform sends a head or trailers that are malformed.
func (s *faultyStream) malform() {
	fault := s.p.h2.fault
	if s.p.at >= 0 {
		bad := [][]string{{":status", "200"}, {"content-length", "3"}, {"X-Trail", "1"}, {"x-trail", "1", "connection", "close"}}
		s.head(endStream, bad[fault%len(bad)]...)
		return
	}
	if fault %= len(malformedHeads) + 2; fault < len(malformedHeads) {
		s.head(0, malformedHeads[fault]...)
		return
	}
	if fault == len(malformedHeads) {
		s.head(endStream, ":status", "200", "content-length", "5")
		return
	}
	s.data("early", false) // before the head
}
