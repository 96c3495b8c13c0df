package h2

import "encoding/binary"

// head is a header block that is being read: a HEADERS frame and the CONTINUATION
// frames that belong to it.
type head struct {
	open          bool   // CONTINUATION has to follow
	bytes         []byte // what came, unless all of it is in one piece
	continuations int
	stream        uint32
	end           bool    // END_STREAM
	use           use     // what it is for
	code          ErrCode // with useRefuse: what to answer
	reason        string
}

// use says what a header block is for.
type use uint8

const (
	useIgnore use = iota // it keeps the tables in step, nothing else
	useOpen              // it opens a stream
	useStream            // it is about an open stream
	useRefuse            // it is answered with RST_STREAM
)

// priorityLength is the length of the priority fields of HEADERS.
const priorityLength = 5

// beginHeaders checks whether HEADERS may come on the stream (RFC 9113 §5.1).
func (c *Conn) beginHeaders(f *frame) {
	b := &c.in.block
	*b = head{bytes: b.bytes[:0], stream: f.stream, end: f.has(flagEndStream), open: true}
	s := c.streams.find(f.stream)
	switch {
	case s != nil && s.has(theirsEnded):
		b.refuse(StreamClosed, "HEADERS after the end of the stream")
	case s != nil:
		b.use = useStream
	case c.idleStream(f.stream):
		if c.side == Client || f.stream%2 == 0 {
			c.fail(ProtocolError, "HEADERS on an idle stream")
			return
		}
		first := c.lastTheirs == 0
		c.lastTheirs = f.stream
		if first && c.going&(drains|goneSaid) == drains {
			c.sayDrains()
		}
		b.use = useOpen
		if c.going&goneSaid != 0 {
			b.refuse(RefusedStream, "the connection is going away")
		} else if c.streams.n >= int(c.settings.MaxConcurrentStreams) {
			b.refuse(RefusedStream, "too many streams")
		}
	case c.abandoned.has(f.stream):
		c.idle()
	case c.side == Client || c.finished.has(f.stream):
		c.fail(StreamClosed, "HEADERS on a closed stream")
	default:
		c.fail(ProtocolError, "HEADERS on a stream that was passed over")
	}
}

func (b *head) refuse(code ErrCode, reason string) {
	b.use, b.code, b.reason = useRefuse, code, reason
}

func (c *Conn) beginContinuation(*frame) {
	b := &c.in.block
	if !b.open {
		c.fail(ProtocolError, "CONTINUATION without HEADERS")
		return
	}
	if b.continuations++; b.continuations > c.settings.MaxContinuations {
		c.fail(EnhanceYourCalm, "too many CONTINUATION frames")
	}
}

// readBlock reads HEADERS and CONTINUATION (RFC 9113 §6.2 and §6.10).
func (c *Conn) readBlock(p []byte, e *Event) (n int, more bool) {
	in, b := &c.in, &c.in.block
	if !in.ready {
		return c.readBlockPrefix(p)
	}
	if len(p) == 0 && in.left > 0 {
		return 0, false
	}
	n = min(in.left, len(p))
	in.left -= n
	block := p[:n]
	last := in.frame.has(flagEndHeaders)
	if !last || in.left > 0 || len(b.bytes) > 0 {
		b.bytes = append(b.bytes, block...)
		block = b.bytes
	}
	if in.left > 0 {
		return n, false
	}
	if in.tell = false; last {
		b.open = false
		c.endBlock(block, e)
		if cap(b.bytes) > keepBlock {
			b.bytes = nil
		}
	}
	return n, true
}

func (c *Conn) readBlockPrefix(p []byte) (n int, more bool) {
	in, b := &c.in, &c.in.block
	if in.frame.kind == frameContinuation {
		in.ready = true
	} else if n, more = c.readHeadersPrefix(p); !more {
		return n, more
	}
	in.tell = true
	// Twice: what is over the limit once decoded is often not far over it.
	if len(b.bytes)+in.left > 2*c.settings.MaxHeaderBytes {
		c.fail(EnhanceYourCalm, "header block is too large")
	}
	return n, true
}

func (c *Conn) readHeadersPrefix(p []byte) (n int, more bool) {
	in, b := &c.in, &c.in.block
	if !in.frame.has(flagPriority) {
		return c.prefix(p, 0)
	}
	if n, more = c.prefix(p, priorityLength); !more {
		return n, more
	}
	if binary.BigEndian.Uint32(p[n-priorityLength:])&maxStream == b.stream && b.use != useIgnore {
		b.refuse(ProtocolError, "stream depends on itself")
	}
	return n, true
}

// endBlock decodes a header block and acts upon it.
func (c *Conn) endBlock(block []byte, e *Event) {
	b := &c.in.block
	s := c.streams.find(b.stream)
	if b.use == useStream && s == nil {
		b.use = useIgnore // it was reset since the HEADERS frame began
	}
	w := wantFields
	if b.use == useIgnore || b.use == useRefuse {
		w = wantTable
	}
	if !c.section.read(&c.decoder, block, w, &c.settings) {
		c.fail(CompressionError, "header block can't be decoded")
		return
	}
	switch b.use {
	case useOpen:
		c.gotRequest(e)
	case useStream:
		if c.side == Client && !s.has(theirHead) {
			c.gotResponse(s, e)
		} else {
			c.gotTrailers(s, e)
		}
	case useRefuse:
		c.refuse(s, e)
	}
}

// refuse answers the header block with RST_STREAM.
func (c *Conn) refuse(s *stream, e *Event) {
	b := &c.in.block
	if s != nil {
		c.streamError(s, e, b.code, b.reason)
		return
	}
	c.writeReset(b.stream, b.code)
	c.blame()
}

// gotRequest opens a stream for a request.
func (c *Conn) gotRequest(e *Event) {
	b := &c.in.block
	if !c.section.large {
		c.request.End = b.end
		if reason := c.section.request(&c.request, &c.settings); reason != "" {
			b.refuse(ProtocolError, reason)
			c.refuse(nil, e)
			return
		}
	}
	c.progress(headProgress)
	s := c.streams.add(b.stream)
	s.send, s.receive, s.left = c.peer.window, c.startWindow, -1
	s.state = theirHead
	if b.end {
		s.state |= theirsEnded
	}
	if c.section.large {
		*e = Event{Kind: HeadTooLarge, Stream: s.id, End: b.end}
		return
	}
	s.left = c.request.Length
	*e = Event{Kind: RequestHead, Stream: s.id, End: b.end, Request: &c.request}
}

// gotResponse reads the head of a response.
func (c *Conn) gotResponse(s *stream, e *Event) {
	b, r := &c.in.block, &c.response
	if c.section.large {
		c.streamError(s, e, EnhanceYourCalm, "response head is too large")
		return
	}
	r.End = b.end
	reason := c.section.response(r)
	if reason == "" && r.Status >= 200 {
		reason = s.expect(r)
	}
	if reason != "" {
		c.streamError(s, e, ProtocolError, reason)
		return
	}
	if r.Status < 200 {
		c.idle()
	} else {
		s.state |= theirHead
		c.progress(headProgress)
	}
	*e = Event{Kind: ResponseHead, Stream: s.id, End: b.end, Response: r}
	c.endTheirs(s)
}

// endTheirs acts upon END_STREAM of the header block at hand.
func (c *Conn) endTheirs(s *stream) {
	if c.in.block.end {
		s.state |= theirsEnded
		c.finish(s)
	}
}

// expect works out what payload r announces, and says what is wrong with that.
func (s *stream) expect(r *Response) (reason string) {
	switch {
	case s.has(connect) && r.Status < 300:
		s.left = -1
		return ""
	case s.has(bodyless) || r.Status == 204 || r.Status == 304:
		s.left = 0
		return ""
	}
	if s.left = r.Length; r.End && s.left > 0 {
		return "payload has another length than Content-Length says"
	}
	return ""
}

// gotTrailers reads a trailer section (RFC 9113 §8.1).
func (c *Conn) gotTrailers(s *stream, e *Event) {
	reason := c.section.trailers()
	switch {
	case !c.in.block.end:
		reason = "HEADERS amid a message"
	case s.left > 0:
		reason = "payload has another length than Content-Length says"
	}
	switch {
	case reason != "":
		c.streamError(s, e, ProtocolError, reason)
	case c.section.large:
		c.streamError(s, e, EnhanceYourCalm, "trailer section is too large")
	default:
		*e = Event{Kind: Trailers, Stream: s.id, End: true, Fields: c.section.fields}
		c.endTheirs(s)
	}
}
