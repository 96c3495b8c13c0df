package h2

// Conn is one side of one connection. Its zero value is readied by Init. No two
// methods may run at once.
type Conn struct {
	side     Side
	settings Settings
	out      []byte
}

// Init readies c for a new connection; buffers and records of an old one are kept.
// Output starts with the preface: what the side has to send first.
func (c *Conn) Init(side Side, s Settings) { c.side, c.settings = side, s }

// Next reads from the start of p. It consumes n bytes and returns at most one
// event. If that is None, all that p could tell has been told: p[n:], which is
// short or empty, is given again with what follows it. If it is another, Next is
// called again with p[n:], even when that is empty: several events may come of
// one frame. Payload is passed on as it comes, not frame by frame.
//
// An error is an [*Error], and is all that later calls return. A connection that
// the peer closes needs no call.
func (c *Conn) Next(p []byte) (n int, e Event, err error) { return 0, Event{}, nil }

// Output returns the bytes that are to be written, in order. They are valid until
// the next call of a method, apart from Sent.
func (c *Conn) Output() []byte { return c.out }

// Sent says that the first n bytes of Output were written. WriteData may now take
// what it did not for MaxBuffered; there is no event for this.
func (c *Conn) Sent(n int) {}

// WriteResponse writes a head: any number of interim ones, then one other. It is
// always taken. Names are lower-cased; fields that may not be sent are left out,
// see [Response], and so are those whose name or value is malformed.
// The error is ErrClosed. Server only.
func (c *Conn) WriteResponse(stream uint32, r *Response) error { return nil }

// OpenRequest opens a stream and writes the head of a request, as WriteResponse
// does. The error is ErrNoStream or, for an r.Protocol, ErrNoProtocol. Client only.
func (c *Conn) OpenRequest(r *Request) (stream uint32, err error) { return 0, nil }

// WriteData writes payload and returns how much of p was taken: what the windows
// of the stream and the connection and MaxBuffered allow. With Last the stream
// ends behind p, if all of it was taken; an empty p always is. For less than all
// of it the owner waits for Writable or for Sent and calls again with the rest.
// The error is ErrClosed.
func (c *Conn) WriteData(stream uint32, p []byte, fin Fin) (n int, err error) { return 0, nil }

// Window returns how many bytes WriteData would take now: 0 on a closed stream.
func (c *Conn) Window(stream uint32) int { return 0 }

// WriteTrailers ends the stream with a trailer section, as WriteResponse writes
// fields. The error is ErrClosed.
func (c *Conn) WriteTrailers(stream uint32, fields []Field) error { return nil }

// Reset ends the stream both ways, with RST_STREAM if the peer may still care; what
// the peer still sends on it is ignored. A server that has answered in full and does
// not want the rest of the request says NoError (RFC 9113 §8.1). On a stream that is
// over already it does nothing. There is no event for it.
func (c *Conn) Reset(stream uint32, code ErrCode) {}

// Consumed says that n bytes of the stream's payload have been got rid of, which
// opens the windows again. It must come for all bytes of Data events in the end,
// also for those that are thrown away and after the stream is over; otherwise the
// connection's window closes for good.
func (c *Conn) Consumed(stream uint32, n int) {}

// Drain ends the connection gracefully (RFC 9113 §6.8): a server says at once that
// it will go, and a round trip later which stream was the last; all streams up to
// it are served. A client opens no further one. It does nothing the second time.
func (c *Conn) Drain() {}

// GoAway says at once that no stream after those already seen will be served. With
// a code other than NoError the owner then writes Output and closes.
func (c *Conn) GoAway(code ErrCode) {}

// Done says whether the connection has nothing left to do: one of the sides has
// said that it goes, and no stream is open. The owner writes Output and closes.
func (c *Conn) Done() bool { return false }

// Draining says whether one of the sides has said that it goes.
func (c *Conn) Draining() bool { return false }

// Ping sends a PING, whose answer is the event PingAck. Tokens with the highest
// bit set are the codec's own.
func (c *Conn) Ping(token uint64) {}

// Relax halves what is held against the peer under MaxResets and MaxControl. An
// owner with a clock calls it now and then, say every 10 seconds, so that what is
// rare does not add up over days.
func (c *Conn) Relax() {}

// Streams returns the number of open streams.
func (c *Conn) Streams() int { return 0 }

// CanOpen says whether OpenRequest would open a stream: not when the peer's or our
// own limit of streams is reached, after GOAWAY of either side, or when the 2^30
// ids are used up.
func (c *Conn) CanOpen() bool { return false }

// ExtendedConnect says whether the peer has announced extended CONNECT. Before the
// first SettingsChanged it has not.
func (c *Conn) ExtendedConnect() bool { return false }
