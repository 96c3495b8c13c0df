package h2

import "encoding/binary"

// writePreface writes what each side sends first (RFC 9113 §3.4).
func (c *Conn) writePreface() {
	s := &c.settings
	if c.side == Client {
		c.out = append(c.out, Preface...)
	}
	at := len(c.out)
	c.out = appendFrame(c.out, frame{kind: frameSettings})
	if c.side == Client {
		c.out = appendSetting(c.out, settingPush, 0)
	} else {
		c.out = appendSetting(c.out, settingStreams, s.MaxConcurrentStreams)
	}
	c.out = appendSetting(c.out, settingWindow, s.StreamWindow)
	c.out = appendSetting(c.out, settingHeaders, uint32(s.MaxHeaderBytes))
	if s.TableSize != defaultTableSize {
		c.out = appendSetting(c.out, settingTable, s.TableSize)
	}
	if s.MaxFrameSize != defaultFrame {
		c.out = appendSetting(c.out, settingFrame, s.MaxFrameSize)
	}
	if s.ExtendedConnect && c.side == Server {
		c.out = appendSetting(c.out, settingProtocol, 1)
	}
	binary.BigEndian.PutUint16(c.out[at+1:], uint16(len(c.out)-at-frameHeader))
	if more := int64(s.ConnWindow) - defaultWindow; more > 0 {
		c.writeWindow(0, more)
	}
}

func (c *Conn) writeWindow(id uint32, n int64) {
	c.out = appendFrame(c.room(), frame{length: 4, kind: frameWindow, stream: id})
	c.out = appendUint32(c.out, uint32(n))
}

func (c *Conn) ping(token uint64) {
	c.out = appendFrame(c.room(), frame{length: 8, kind: framePing})
	c.out = binary.BigEndian.AppendUint64(c.out, token)
}

// readSettings reads one setting (RFC 9113 §6.5).
func (c *Conn) readSettings(p []byte) (n int, more bool) {
	in := &c.in
	if in.ready = true; in.left == 0 {
		return 0, true
	}
	if len(p) < 6 {
		return 0, false
	}
	in.left -= 6
	c.set(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:]))
	return 6, true
}

// set acts upon one setting of the peer.
func (c *Conn) set(id uint16, v uint32) {
	switch id {
	case settingTable:
		c.encoder.resize(v)
	case settingPush:
		if v > 1 || v == 1 && c.side == Client {
			c.fail(ProtocolError, "setting ENABLE_PUSH is wrong")
		}
	case settingStreams:
		c.peer.streams = v
	case settingWindow:
		if v > maxWindow {
			c.fail(FlowControlError, "setting INITIAL_WINDOW_SIZE is wrong")
			return
		}
		c.in.window = int64(v)
	case settingFrame:
		if v < defaultFrame || v > maxFrame {
			c.fail(ProtocolError, "setting MAX_FRAME_SIZE is wrong")
			return
		}
		c.peer.frame = int(v)
	case settingProtocol:
		if v > 1 || v < c.peer.protocol {
			c.fail(ProtocolError, "setting ENABLE_CONNECT_PROTOCOL is wrong")
			return
		}
		c.peer.protocol = v
	}
}

// setWindow changes the windows of all streams (RFC 9113 §6.9.2), once a frame: one
// that repeats the setting thousands of times is no more work than another.
func (c *Conn) setWindow() {
	more := c.in.window - c.peer.window
	c.peer.window = c.in.window
	if more == 0 {
		return
	}
	for _, s := range c.streams.slots {
		if s == nil {
			continue
		}
		if s.send += more; s.send > maxWindow {
			c.fail(FlowControlError, "setting INITIAL_WINDOW_SIZE overflows a window")
			return
		}
	}
}

func (c *Conn) endSettings(f *frame, e *Event) {
	c.idle()
	if !f.has(flagAck) {
		if c.setWindow(); c.err != nil {
			return
		}
		c.out = appendFrame(c.room(), frame{kind: frameSettings, flags: flagAck})
		c.answer()
		*e = Event{Kind: SettingsChanged}
		return
	}
	if c.acked {
		return
	}
	c.acked = true
	c.decoder.limit = uint64(c.settings.TableSize)
	less := c.startWindow - int64(c.settings.StreamWindow)
	c.startWindow -= less
	if less > 0 {
		for _, s := range c.streams.slots {
			if s != nil {
				s.receive -= less
			}
		}
	}
}

// readControl reads a frame that is needed as a whole, GOAWAY apart from its
// debug data.
func (c *Conn) readControl(p []byte, e *Event) (n int, more bool) {
	in := &c.in
	if in.ready {
		return c.skip(p)
	}
	n = min(in.left, 8)
	if len(p) < n {
		return 0, false
	}
	in.ready = true
	in.left -= n
	switch p = p[:n]; in.frame.kind {
	case framePriority:
		c.gotPriority(p, e)
	case frameReset:
		c.gotReset(ErrCode(binary.BigEndian.Uint32(p)), e)
	case framePing:
		c.gotPing(p, e)
	case frameGoAway:
		c.gotGoAway(p, e)
	case frameWindow:
		c.gotWindow(int64(binary.BigEndian.Uint32(p)&maxWindow), e)
	}
	return n, true
}

// gotPriority checks PRIORITY, which is otherwise of no use (RFC 9113 §5.3.2).
func (c *Conn) gotPriority(p []byte, e *Event) {
	c.idle()
	id := c.in.frame.stream
	switch {
	case c.in.frame.length != 5:
		c.streamFault(id, e, FrameSizeError, "PRIORITY has a wrong length")
	case binary.BigEndian.Uint32(p)&maxStream == id:
		c.streamFault(id, e, ProtocolError, "stream depends on itself")
	}
}

// streamFault is a stream error on a stream that may be in any state. One that is
// idle can't be reset, so that there it is the connection that ends.
func (c *Conn) streamFault(id uint32, e *Event, code ErrCode, reason string) {
	if s := c.streams.find(id); s != nil {
		c.streamError(s, e, code, reason)
	} else if c.idleStream(id) {
		c.fail(code, reason)
	} else if c.idle(); !c.abandoned.has(id) {
		c.writeReset(id, code)
		c.blame()
	}
}

// gotReset acts upon RST_STREAM (RFC 9113 §6.4).
func (c *Conn) gotReset(code ErrCode, e *Event) {
	s := c.streams.find(c.in.frame.stream)
	if s == nil {
		c.idle()
		return
	}
	*e = Event{Kind: StreamReset, Stream: s.id, Code: code}
	answered := s.has(ourHead)
	c.finished.add(s.id, finishedKept)
	c.streams.remove(s)
	if c.side == Server && !answered {
		c.blame()
	}
}

// gotPing answers PING (RFC 9113 §6.7).
func (c *Conn) gotPing(p []byte, e *Event) {
	c.idle()
	if !c.in.frame.has(flagAck) {
		c.out = appendFrame(c.room(), frame{length: 8, kind: framePing, flags: flagAck})
		c.out = append(c.out, p...)
		c.answer()
		return
	}
	token := binary.BigEndian.Uint64(p)
	if token == drainToken && c.going&drains != 0 {
		c.GoAway(NoError)
		return
	}
	*e = Event{Kind: PingAck, Ping: token}
}

// gotGoAway acts upon GOAWAY (RFC 9113 §6.8).
func (c *Conn) gotGoAway(p []byte, e *Event) {
	c.idle()
	last := binary.BigEndian.Uint32(p) & maxStream
	c.going |= goneHeard
	if c.side == Client && last < c.refuseAbove {
		c.refuseAbove = last
		c.sweep = true
	}
	*e = Event{Kind: GoAway, Stream: last, Code: ErrCode(binary.BigEndian.Uint32(p[4:]))}
}

// sweepOne ends one of the streams that the peer has not seen.
func (c *Conn) sweepOne(e *Event) {
	for _, s := range c.streams.slots {
		if s != nil && s.id > c.refuseAbove {
			*e = Event{Kind: StreamReset, Stream: s.id, Code: RefusedStream}
			c.abandoned.add(s.id, abandonedKept)
			c.streams.remove(s)
			return
		}
	}
	c.sweep = false
}

// gotWindow acts upon WINDOW_UPDATE (RFC 9113 §6.9).
func (c *Conn) gotWindow(n int64, e *Event) {
	c.idle()
	id := c.in.frame.stream
	if id == 0 {
		c.send += n
		switch {
		case n == 0:
			c.fail(ProtocolError, "WINDOW_UPDATE of 0")
		case c.send > maxWindow:
			c.fail(FlowControlError, "WINDOW_UPDATE overflows the connection's window")
		case c.connBlocked && c.send > 0:
			c.connBlocked = false
			*e = Event{Kind: Writable}
		}
		return
	}
	if n == 0 {
		c.streamFault(id, e, ProtocolError, "WINDOW_UPDATE of 0")
		return
	}
	s := c.streams.find(id)
	if s == nil {
		return
	}
	s.send += n
	switch {
	case s.send > maxWindow:
		c.streamError(s, e, FlowControlError, "WINDOW_UPDATE overflows the stream's window")
	case s.has(blocked) && s.send > 0:
		s.state &^= blocked
		*e = Event{Kind: Writable, Stream: id}
	}
}

// Consumed says that n bytes of the stream's payload have been got rid of, which
// opens the windows again. It must come for all bytes of Data events in the end,
// also for those that are thrown away and after the stream is over; otherwise the
// connection's window closes for good.
func (c *Conn) Consumed(id uint32, n int) {
	if n <= 0 || c.err != nil {
		return
	}
	c.giveBack(int64(n))
	if s := c.streams.find(id); s != nil {
		c.consumed(s, int64(n))
	}
}

// giveBack opens the connection's window by n bytes, in steps of half of it.
func (c *Conn) giveBack(n int64) {
	window := int64(c.settings.ConnWindow)
	if c.used = min(c.used+n, window-c.receive); c.used*2 >= window {
		c.writeWindow(0, c.used)
		c.receive += c.used
		c.used = 0
	}
}

// consumed opens the stream's window in the same way.
func (c *Conn) consumed(s *stream, n int64) {
	if s.has(theirsEnded) {
		return
	}
	if s.used = min(s.used+n, c.startWindow-s.receive); s.used*2 >= int64(c.settings.StreamWindow) {
		c.writeWindow(s.id, s.used)
		s.receive += s.used
		s.used = 0
	}
}
