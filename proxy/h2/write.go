package h2

import (
	"strconv"
	"strings"
	"unsafe"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// What makes up for frames that bring nothing forward, see Settings.MaxControl.
const (
	// headProgress: a request or response brings a handful, of priority or for
	// its windows.
	headProgress = 8
	// dataProgress: a peer may answer each piece of payload with two
	// WINDOW_UPDATEs and a PING.
	dataProgress = 3
	// windowProgress: one more for so many bytes of ours. What is cut shorter than
	// that by a window, the peer has only itself to thank for.
	windowProgress = 256
)

// writing returns a stream that may still be written to, nil if it is none.
func (c *Conn) writing(id uint32) *stream {
	s := c.streams.find(id)
	if s == nil || s.has(oursEnded) || c.err != nil {
		return nil
	}
	return s
}

// WriteResponse writes a head: any number of interim ones, then one other. It is
// always taken. Names are lower-cased; fields that may not be sent are left out,
// see [Response], and so are those whose name or value is malformed.
// The error is ErrClosed. Server only.
func (c *Conn) WriteResponse(stream uint32, r *Response) error {
	s := c.writing(stream)
	if s == nil || s.has(ourHead) || c.side == Client {
		return ErrClosed
	}
	fin := More
	if r.Status >= 200 {
		s.state |= ourHead
		c.progress(headProgress)
		if r.End {
			fin = Last
		}
	}
	at := c.openBlock()
	c.writeStatus(r.Status)
	c.writeFields(r.Fields, response)
	if r.Length >= 0 && r.Status >= 200 && r.Status != 204 {
		c.writeNumber("content-length", r.Length)
	}
	c.closeBlock(at, stream, fin)
	c.endOurs(s, fin)
	return nil
}

// OpenRequest opens a stream and writes the head of a request, as WriteResponse
// does. The error is ErrNoStream or, for an r.Protocol, ErrNoProtocol. Client only.
func (c *Conn) OpenRequest(r *Request) (stream uint32, err error) {
	if !c.CanOpen() {
		return 0, ErrNoStream
	}
	if r.Protocol != "" && !c.ExtendedConnect() {
		return 0, ErrNoProtocol
	}
	c.lastOurs = (c.lastOurs + 1) | 1 // the odd ones
	s := c.streams.add(c.lastOurs)
	s.send, s.receive, s.left = c.peer.window, c.startWindow, -1
	s.state = ourHead
	fin := More
	if r.End {
		fin = Last
	}
	switch r.Method {
	case "HEAD":
		s.state |= bodyless
	case "CONNECT":
		s.state |= connect
	}
	at := c.openBlock()
	c.writePseudo(":method", r.Method)
	c.writePseudo(":scheme", r.Scheme)
	c.writePseudo(":authority", r.Authority)
	c.writePseudo(":path", r.Path)
	c.writePseudo(":protocol", r.Protocol)
	c.writeFields(r.Fields, request)
	if r.Length >= 0 {
		c.writeNumber("content-length", r.Length)
	}
	c.closeBlock(at, s.id, fin)
	c.endOurs(s, fin)
	return c.lastOurs, nil
}

// WriteTrailers ends the stream with a trailer section, as WriteResponse writes
// fields. The error is ErrClosed.
func (c *Conn) WriteTrailers(stream uint32, fields []Field) error {
	s := c.writing(stream)
	if s == nil || !s.has(ourHead) {
		return ErrClosed
	}
	at := c.openBlock()
	c.writeFields(fields, trailer)
	c.closeBlock(at, stream, Last)
	c.endOurs(s, Last)
	return nil
}

// endOurs acts upon END_STREAM of ours.
func (c *Conn) endOurs(s *stream, fin Fin) {
	if fin == Last {
		s.state |= oursEnded
		c.finish(s)
	}
}

// WriteData writes payload and returns how much of p was taken: what the windows
// of the stream and the connection and MaxBuffered allow. With Last the stream
// ends behind p, if all of it was taken; an empty p always is. For less than all
// of it the owner waits for Writable or for Sent and calls again with the rest.
// The error is ErrClosed.
func (c *Conn) WriteData(stream uint32, p []byte, fin Fin) (n int, err error) {
	s := c.writing(stream)
	if s == nil || !s.has(ourHead) {
		return 0, ErrClosed
	}
	if n = len(p); n > 0 {
		n = min(n, c.window(s))
	}
	if n < len(p) {
		fin = More
		if s.send <= int64(n) {
			s.state |= blocked
		} else if c.send <= int64(n) {
			c.connBlocked = true
		}
		if n == 0 {
			return 0, nil
		}
	} else if n == 0 && fin == More {
		return 0, nil
	}
	s.send -= int64(n)
	c.send -= int64(n)
	if n == len(p) {
		c.progress(dataProgress)
	}
	c.progress(n / windowProgress)
	c.out = c.room()
	for rest := p[:n]; ; {
		piece := rest[:min(len(rest), c.peer.frame)]
		rest = rest[len(piece):]
		f := frame{length: len(piece), kind: frameData, stream: stream}
		if len(rest) == 0 && fin == Last {
			f.flags = flagEndStream
		}
		c.out = append(appendFrame(c.out, f), piece...)
		if len(rest) == 0 {
			break
		}
	}
	c.endOurs(s, fin)
	return n, nil
}

// Window returns how many bytes WriteData would take now: 0 on a closed stream.
func (c *Conn) Window(stream uint32) int {
	if s := c.writing(stream); s != nil {
		return c.window(s)
	}
	return 0
}

func (c *Conn) window(s *stream) int {
	room := int64(c.settings.MaxBuffered - len(c.Output()))
	return int(max(0, min(room, s.send, c.send)))
}

// openBlock starts a header block in out and returns where.
func (c *Conn) openBlock() (at int) {
	c.out = c.room()
	at = len(c.out)
	c.out = appendFrame(c.out, frame{})
	c.out = c.encoder.begin(c.out)
	return at
}

// closeBlock ends the header block at at. The rare one that is larger than a frame
// is parted.
func (c *Conn) closeBlock(at int, stream uint32, fin Fin) {
	f := frame{kind: frameHeaders, stream: stream}
	if fin == Last {
		f.flags = flagEndStream
	}
	size := len(c.out) - at - frameHeader
	for size > c.peer.frame {
		f.length = c.peer.frame
		appendFrame(c.out[:at], f)
		at += frameHeader + c.peer.frame
		size -= c.peer.frame
		c.out = append(c.out, make([]byte, frameHeader)...)
		copy(c.out[at+frameHeader:], c.out[at:at+size])
		f = frame{kind: frameContinuation, stream: stream}
	}
	f.length = size
	f.flags |= flagEndHeaders
	appendFrame(c.out[:at], f)
}

// part is the kind of section that a field is written into.
type part uint8

const (
	request part = iota
	response
	trailer
)

// writeFields writes the fields that may be sent in such a section.
func (c *Conn) writeFields(fields []Field, in part) {
	for i := range fields {
		f := &fields[i]
		if !sendable(f, in) || !c.encoder.setName(f.Name) {
			continue
		}
		c.out = c.encoder.append(c.out, f.Value)
	}
}

// sendable says whether a field may be sent. Content-Length comes from elsewhere.
func sendable(f *Field, in part) bool {
	switch len(f.Name) {
	case 2:
		if strings.EqualFold(f.Name, "te") {
			return in == request && strings.EqualFold(f.Value, "trailers")
		}
	case 4:
		return in == response || !strings.EqualFold(f.Name, "host")
	case 14:
		return !strings.EqualFold(f.Name, "content-length")
	}
	return !h1.IsHopByHop(f.Name)
}

// writePseudo writes a pseudo-header field, unless it is empty.
func (c *Conn) writePseudo(name, value string) {
	if value == "" {
		return
	}
	if i := staticPair(name, value); i > 0 {
		c.out = append(c.out, 0x80|i)
		return
	}
	c.encoder.lower = append(c.encoder.lower[:0], name...)
	c.out = c.encoder.append(c.out, value)
}

// staticPair returns the index of a pseudo-header field in the static table, 0 if
// it is not there.
func staticPair(name, value string) byte {
	switch {
	case name == ":method" && value == "GET":
		return 2
	case name == ":method" && value == "POST":
		return 3
	case name == ":path" && value == "/":
		return 4
	case name == ":scheme" && value == "http":
		return 6
	case name == ":scheme" && value == "https":
		return 7
	}
	return 0
}

func (c *Conn) writeNumber(name string, n int64) {
	var digits [20]byte
	b := strconv.AppendInt(digits[:0], n, 10)
	c.encoder.lower = append(c.encoder.lower[:0], name...)
	c.out = c.encoder.append(c.out, unsafe.String(unsafe.SliceData(b), len(b)))
}

// writeStatus writes :status.
func (c *Conn) writeStatus(status int) {
	var index byte
	switch status {
	case 200:
		index = 8
	case 204:
		index = 9
	case 206:
		index = 10
	case 304:
		index = 11
	case 400:
		index = 12
	case 404:
		index = 13
	case 500:
		index = 14
	default:
		c.writeNumber(":status", int64(status))
		return
	}
	c.out = append(c.out, 0x80|index)
}
