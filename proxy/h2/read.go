package h2

// input is how far the reading of frames has got.
type input struct {
	preface int  // bytes of the client's preface that have come
	started bool // the first SETTINGS frame has begun

	begun bool  // the header of frame has been read
	ready bool  // and what stands before its payload proper
	frame frame // the one at hand
	left  int   // bytes of its payload proper to come
	pad   int   // bytes of padding to come
	tell  bool  // DATA: payload, or the end of the stream, is still to be told

	window int64 // of new streams, by the last INITIAL_WINDOW_SIZE that came

	block head // the header block at hand
}

// Next reads from the start of p. It consumes n bytes and returns at most one
// event. If that is None, all that p could tell has been told: p[n:], which is
// shorter than a frame's header, 9 bytes, is given again with what follows it. If
// it is another, Next is called again with p[n:], even when that is empty: several
// events may come of one frame. Payload is passed on as it comes, not frame by
// frame, so that a buffer may be smaller than a frame.
//
// An error is an [*Error], and is all that later calls return: all streams are over,
// without further events. A connection that the peer closes needs no call.
func (c *Conn) Next(p []byte) (n int, e Event, err error) {
	if c.sweep && c.err == nil {
		c.sweepOne(&e)
	}
	for more := true; more && e.Kind == None && c.err == nil; {
		var used int
		used, more = c.step(p[n:], &e)
		n += used
	}
	if c.err == nil {
		return n, e, nil
	}
	if !c.over {
		c.over = true
		c.writeGoAway(c.lastTheirs, c.err.Code)
		c.going |= drains | goneSaid
	}
	if e.Kind != None {
		return n, e, nil
	}
	return n, e, c.err
}

// step reads the next piece that has a meaning of its own. It says false if p does
// not have it as a whole.
func (c *Conn) step(p []byte, e *Event) (n int, more bool) {
	in := &c.in
	switch {
	case c.side == Server && in.preface < len(Preface):
		return c.readPreface(p)
	case !in.begun:
		if len(p) < frameHeader {
			return 0, false
		}
		in.frame = parseFrame(p)
		in.begun, in.ready, in.tell, in.left, in.pad = true, false, false, in.frame.length, 0
		c.begin(&in.frame)
		return frameHeader, true
	case in.left == 0 && in.ready && !in.tell && in.pad > 0:
		n = min(in.pad, len(p))
		in.pad -= n
		return n, n > 0
	case in.left == 0 && in.ready && !in.tell:
		c.endFrame(e)
		return 0, true
	}
	switch in.frame.kind {
	case frameData:
		return c.readData(p, e)
	case frameHeaders, frameContinuation:
		return c.readBlock(p, e)
	case frameSettings:
		return c.readSettings(p)
	case framePriority, frameReset, framePing, frameGoAway, frameWindow:
		return c.readControl(p, e)
	default:
		in.ready = true
		return c.skip(p)
	}
}

func (c *Conn) skip(p []byte) (n int, more bool) {
	n = min(c.in.left, len(p))
	c.in.left -= n
	return n, n > 0 || c.in.left == 0
}

func (c *Conn) readPreface(p []byte) (n int, more bool) {
	rest := Preface[c.in.preface:]
	n = min(len(rest), len(p))
	if string(p[:n]) != rest[:n] {
		c.fail(ProtocolError, "connection preface is wrong")
		return 0, false
	}
	c.in.preface += n
	return n, n > 0
}

// begin checks what the header of a frame says.
func (c *Conn) begin(f *frame) {
	in := &c.in
	switch {
	case f.length > int(c.settings.MaxFrameSize):
		c.fail(FrameSizeError, "frame is too large")
		return
	case !in.started && (f.kind != frameSettings || f.has(flagAck)):
		c.fail(ProtocolError, "first frame is not SETTINGS")
		return
	case in.block.open && (f.kind != frameContinuation || f.stream != in.block.stream):
		c.fail(ProtocolError, "header block is interrupted")
		return
	}
	in.started = true
	switch f.kind {
	case frameData, frameHeaders, framePriority, frameReset, frameContinuation:
		if f.stream == 0 {
			c.fail(ProtocolError, "frame is not on a stream")
			return
		}
	case frameSettings, framePing, frameGoAway:
		if f.stream != 0 {
			c.fail(ProtocolError, "frame is on a stream")
			return
		}
	}
	switch f.kind {
	case frameHeaders:
		c.beginHeaders(f)
	case frameContinuation:
		c.beginContinuation(f)
	case framePush:
		c.fail(ProtocolError, "PUSH_PROMISE where push is off")
	default:
		c.beginControl(f)
	}
}

// beginControl checks the lengths that are fixed.
func (c *Conn) beginControl(f *frame) {
	wrong := false
	switch f.kind {
	case frameReset, frameWindow:
		wrong = f.length != 4
	case framePing:
		wrong = f.length != 8
	case frameGoAway:
		wrong = f.length < 8
	case frameSettings:
		wrong = f.length%6 != 0 || f.has(flagAck) && f.length > 0
	case frameData:
		wrong = f.has(flagPadded) && f.length == 0
	}
	if wrong {
		c.fail(FrameSizeError, "frame has a wrong length")
	}
	if c.idleStream(f.stream) && (f.kind == frameReset || f.kind == frameWindow || f.kind == frameData) {
		c.fail(ProtocolError, "frame is on an idle stream")
	}
}

// idleStream says whether a stream has never been open (RFC 9113 §5.1.1).
func (c *Conn) idleStream(id uint32) bool {
	if c.side == Server {
		return id > c.lastTheirs || id%2 == 0 && id != 0
	}
	return id > c.lastOurs || id%2 == 0 && id != 0
}

// prefix reads what may stand before the payload of DATA and HEADERS: the length
// of padding, and priority of that many bytes. It says false until all is there.
func (c *Conn) prefix(p []byte, priority int) (n int, ok bool) {
	in := &c.in
	if in.frame.has(flagPadded) {
		n = 1
	}
	n += priority
	if in.frame.length < n {
		c.fail(FrameSizeError, "frame has a wrong length")
		return 0, false
	}
	if len(p) < n {
		return 0, false
	}
	if in.frame.has(flagPadded) {
		in.pad = int(p[0])
	}
	if in.left = in.frame.length - n - in.pad; in.left < 0 {
		c.fail(ProtocolError, "padding is longer than the frame")
		return 0, false
	}
	in.ready = true
	return n, true
}

// readData reads DATA (RFC 9113 §6.1).
func (c *Conn) readData(p []byte, e *Event) (n int, more bool) {
	in := &c.in
	if !in.ready {
		n, more = c.prefix(p, 0)
		if more {
			c.beginData(e, n+in.pad)
		}
		return n, more
	}
	if in.left > 0 && len(p) == 0 {
		return 0, false
	}
	n = min(in.left, len(p))
	in.left -= n
	in.tell = in.left > 0
	s := c.streams.find(in.frame.stream)
	if s == nil { // maybe since the last piece of the frame
		c.giveBack(int64(n))
		return n, true
	}
	*e = Event{Kind: Data, Stream: s.id, Data: p[:n], End: in.left == 0 && in.frame.has(flagEndStream)}
	if e.End {
		s.state |= theirsEnded
		c.finish(s)
	}
	return n, true
}

// beginData accounts for a DATA frame, of which extra bytes are padding.
func (c *Conn) beginData(e *Event, extra int) {
	in, f := &c.in, &c.in.frame
	end := f.has(flagEndStream)
	in.tell = in.left > 0 || end
	if c.receive -= int64(f.length); c.receive < 0 {
		c.fail(FlowControlError, "more payload than the connection's window")
		return
	}
	c.giveBack(int64(extra))
	s := c.streams.find(f.stream)
	if s == nil {
		if in.left < windowProgress {
			c.idle()
		}
		if !c.abandoned.has(f.stream) {
			c.writeReset(f.stream, StreamClosed)
			c.blame()
		}
		return
	}
	s.receive -= int64(f.length)
	switch {
	case s.has(theirsEnded):
		c.streamError(s, e, StreamClosed, "DATA after the end of the stream")
	case c.side == Client && !s.has(theirHead):
		c.streamError(s, e, ProtocolError, "DATA before a response")
	case s.receive < 0:
		c.streamError(s, e, FlowControlError, "more payload than the stream's window")
	case s.left >= 0 && (int64(in.left) > s.left || end && int64(in.left) < s.left):
		c.streamError(s, e, ProtocolError, "payload has another length than Content-Length says")
	default:
		if s.left >= 0 {
			s.left -= int64(in.left)
		}
		c.consumed(s, int64(extra))
		if in.left > 0 {
			c.progress(1)
		} else if !end {
			c.idle()
		}
	}
}

// streamError resets a stream for what the peer did wrong on it.
func (c *Conn) streamError(s *stream, e *Event, code ErrCode, reason string) {
	*e = Event{Kind: StreamReset, Stream: s.id, Code: code, Reason: reason}
	c.abandon(s, code)
	c.blame()
}

// endFrame is called when all of a frame has been read.
func (c *Conn) endFrame(e *Event) {
	in := &c.in
	in.begun = false
	switch in.frame.kind {
	case frameSettings:
		c.endSettings(&in.frame, e)
	case frameData, frameHeaders, frameContinuation, framePriority, frameReset, framePing, frameGoAway, frameWindow:
	default:
		c.idle()
	}
}
