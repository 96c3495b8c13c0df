package h2

// Conn is one side of one connection. Its zero value is readied by Init. No two
// methods may run at once.
type Conn struct {
	side     Side
	settings Settings
	err      *Error // what ended the connection
	over     bool   // and the peer was told

	out  []byte // to write are out[sent:]
	sent int

	in        input
	streams   streams
	decoder   decoder
	encoder   encoder
	section   section
	request   Request
	response  Response
	abandoned recent // streams that we have reset: what comes is ignored
	finished  recent // streams that ended otherwise: what comes is an error

	peer        peerSettings
	lastOurs    uint32 // the last stream that we opened
	lastTheirs  uint32 // the last stream that the peer opened
	refuseAbove uint32 // of the peer's GOAWAY: our streams above have not been seen
	sweep       bool   // some of those are still open
	going       going

	send        int64 // connection window: what the peer lets us send
	receive     int64 // connection window: what the peer may still send
	used        int64 // bytes Consumed that the peer does not know of yet
	startWindow int64 // what a new stream may send to us
	connBlocked bool  // WriteData could not take all for the connection's window
	acked       bool  // the peer has acknowledged our settings

	resets  int // see Settings.MaxResets
	control int // see Settings.MaxControl
	waiting int // answers to control frames in out
}

// peerSettings is what the peer has announced.
type peerSettings struct {
	streams  uint32
	window   int64
	frame    int
	protocol uint32 // ENABLE_CONNECT_PROTOCOL
}

// going is how far the end of the connection has got.
type going uint8

const (
	drains    going = 1 << iota // we have said that we will go, or do so with the first request
	goneSaid                    // we have said which stream is the last
	goneHeard                   // the peer has said that it goes
)

// The defaults of what settings change (RFC 9113 §6.5.2), and other constants.
const (
	defaultWindow = 65535
	defaultFrame  = 16384
	maxFrame      = 1<<24 - 1
	maxWindow     = 1<<31 - 1
	maxStream     = 1<<31 - 1
	// keepBlock is how large an empty buffer for header blocks may be to be kept.
	keepBlock = 16 << 10
	// abandonedKept bounds how many streams are remembered as reset by us: all
	// that may be open by default, twice.
	abandonedKept = 256
	// finishedKept bounds how many are remembered as ended: they only tell apart
	// two errors.
	finishedKept = 32
	// finishedResets is how many resets a finished stream makes up for.
	finishedResets = 2
	// drainToken is the Ping that finds out when the peer knows that we go.
	drainToken = 1<<63 | 0x6c696e74656c
)

// Init readies c for a new connection; buffers and records of an old one are kept.
// Output starts with the preface: what the side has to send first.
func (c *Conn) Init(side Side, s Settings) {
	c.streams.reset()
	c.decoder.reset()
	c.decoder.limit = max(defaultTableSize, uint64(s.TableSize))
	c.encoder.reset(int(s.TableSize))
	c.section.reset()
	c.abandoned.reset()
	c.finished.reset()
	*c = Conn{
		side: side, settings: s, out: c.out[:0],
		in:      input{block: head{bytes: c.in.block.bytes[:0]}, window: defaultWindow},
		streams: c.streams, decoder: c.decoder, encoder: c.encoder, section: c.section,
		abandoned: c.abandoned, finished: c.finished,
		peer:        peerSettings{streams: maxStream, window: defaultWindow, frame: defaultFrame},
		refuseAbove: maxStream,
		send:        defaultWindow,
		receive:     int64(s.ConnWindow),
		startWindow: max(defaultWindow, int64(s.StreamWindow)),
	}
	c.writePreface()
}

// Output returns the bytes that are to be written, in order. They are valid until
// the next call of a method, apart from Sent.
func (c *Conn) Output() []byte { return c.out[c.sent:] }

// Sent says that the first n bytes of Output were written. WriteData may now take
// what it did not for MaxBuffered; there is no event for this.
func (c *Conn) Sent(n int) {
	if c.sent += n; c.sent < len(c.out) {
		return
	}
	c.sent, c.waiting = 0, 0
	if cap(c.out) > 2*(c.settings.MaxBuffered+keepBlock) {
		c.out = nil
	}
	c.out = c.out[:0]
}

// Congested says whether twice MaxBuffered bytes wait in Output, which payload alone
// never comes to. The owner then writes before it reads on, so that nothing piles up
// for a peer that asks and does not listen: heads and trailers are taken whatever
// waits already.
func (c *Conn) Congested() bool { return len(c.Output()) >= 2*c.settings.MaxBuffered }

// room returns out to append to, its written part cut off when that pays.
func (c *Conn) room() []byte {
	if c.sent > len(c.out)/2 {
		c.out = c.out[:copy(c.out, c.out[c.sent:])]
		c.sent = 0
	}
	return c.out
}

// Reset ends the stream both ways, with RST_STREAM if the peer may still care; what
// the peer still sends on it is ignored. A server that has answered in full and does
// not want the rest of the request says NoError (RFC 9113 §8.1). On a stream that is
// over already it does nothing. There is no event for it.
func (c *Conn) Reset(id uint32, code ErrCode) {
	s := c.streams.find(id)
	if s == nil || c.err != nil {
		return
	}
	if s.has(oursEnded) {
		c.resets = max(0, c.resets-finishedResets)
	}
	c.abandon(s, code)
}

// abandon resets a stream.
func (c *Conn) abandon(s *stream, code ErrCode) {
	c.writeReset(s.id, code)
	c.streams.remove(s)
}

// writeReset writes RST_STREAM, for a stream that needs not have a record.
func (c *Conn) writeReset(id uint32, code ErrCode) {
	c.abandoned.add(id, abandonedKept)
	c.out = appendFrame(c.room(), frame{length: 4, kind: frameReset, stream: id})
	c.out = appendUint32(c.out, uint32(code))
}

// finish removes a stream that has ended both ways.
func (c *Conn) finish(s *stream) {
	if !s.has(theirsEnded) || !s.has(oursEnded) {
		return
	}
	c.resets = max(0, c.resets-finishedResets)
	c.finished.add(s.id, finishedKept)
	c.streams.remove(s)
}

// Drain ends the connection gracefully (RFC 9113 §6.8): a server says at once that
// it will go, and a round trip later which stream was the last; all streams up to
// it are served. Before the first, which is on the way, it says nothing: some clients
// take a connection that ends then for one that can't be made. A client opens no further
// stream. It does nothing the second time.
func (c *Conn) Drain() {
	switch {
	case c.going&(drains|goneSaid) != 0 || c.err != nil:
	case c.side == Client:
		c.GoAway(NoError)
	default:
		c.going |= drains
		if c.lastTheirs > 0 {
			c.sayDrains()
		}
	}
}

func (c *Conn) sayDrains() {
	c.writeGoAway(maxStream, NoError)
	c.ping(drainToken)
}

// GoAway says at once that no stream after those already seen will be served. With
// a code other than NoError the owner then writes Output and closes.
func (c *Conn) GoAway(code ErrCode) {
	if c.err != nil || c.going&goneSaid != 0 && code == NoError {
		return
	}
	c.going |= drains | goneSaid
	c.writeGoAway(c.lastTheirs, code)
}

func (c *Conn) writeGoAway(last uint32, code ErrCode) {
	c.out = appendFrame(c.room(), frame{length: 8, kind: frameGoAway})
	c.out = appendUint32(appendUint32(c.out, last), uint32(code))
}

// fail ends the connection, as soon as Next has come to its end.
func (c *Conn) fail(code ErrCode, reason string) {
	if c.err == nil {
		c.err = &Error{Code: code, Reason: reason}
	}
}

// Done says whether the connection has nothing left to do: one of the sides has
// said that it goes, and no stream is open. The owner writes Output and closes.
func (c *Conn) Done() bool {
	return c.err != nil || c.going&(goneSaid|goneHeard) != 0 && c.streams.n == 0
}

// Draining says whether one of the sides has said that it goes.
func (c *Conn) Draining() bool { return c.going != 0 }

// Ping sends a PING, whose answer is the event PingAck. Tokens with the highest
// bit set are the codec's own.
func (c *Conn) Ping(token uint64) {
	if c.err == nil {
		c.ping(token &^ (1 << 63))
	}
}

// Relax halves what is held against the peer under MaxResets and MaxControl, and
// lets go of buffers that are empty. An owner with a clock calls it now and then,
// say every 10 seconds, so that what is rare does not add up over days, and a
// connection that went quiet is small.
func (c *Conn) Relax() {
	c.resets /= 2
	c.control /= 2
	if len(c.out) == 0 {
		c.out = nil
	}
	if c.streams.n == 0 {
		c.streams, c.section, c.request, c.response = streams{}, section{}, Request{}, Response{}
	}
}

// Streams returns the number of open streams.
func (c *Conn) Streams() int { return c.streams.n }

// CanOpen says whether OpenRequest would open a stream: not when the peer's or our
// own limit of streams is reached, after GOAWAY of either side, or when the 2^30
// ids are used up.
func (c *Conn) CanOpen() bool {
	return c.side == Client && c.going == 0 && c.err == nil && c.lastOurs < maxStream-1 &&
		c.streams.n < int(min(c.peer.streams, c.settings.MaxConcurrentStreams))
}

// ExtendedConnect says whether the peer has announced extended CONNECT. Before the
// first SettingsChanged it has not.
func (c *Conn) ExtendedConnect() bool { return c.peer.protocol == 1 }

// blame counts a stream that the peer had reset, one way or the other.
func (c *Conn) blame() {
	if c.resets++; c.resets > c.settings.MaxResets {
		c.fail(EnhanceYourCalm, "too many streams were reset")
	}
}

// idle counts a frame that brings nothing forward.
func (c *Conn) idle() {
	if c.control++; c.control > c.settings.MaxControl {
		c.fail(EnhanceYourCalm, "too many frames that bring nothing forward")
	}
}

// progress makes up for some of those frames.
func (c *Conn) progress(frames int) { c.control = max(0, c.control-frames) }

// answer counts an answer to a control frame, which waits in out.
func (c *Conn) answer() {
	if c.waiting++; c.waiting > c.settings.MaxControl {
		c.fail(EnhanceYourCalm, "too many control frames whose answers are not read")
	}
}
