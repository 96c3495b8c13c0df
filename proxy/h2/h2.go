// Package h2 is HTTP/2 (RFC 9113, with RFC 8441) as a pure state machine: bytes
// and calls in, events and bytes out. It does no I/O, starts no goroutine, reads
// no clock and holds no lock; a [Conn] is used by one goroutine at a time. The
// same code serves both sides of the proxy: [Server] reads what clients send,
// [Client] what backends answer.
//
// The owner of a connection does four things:
//
//   - it hands what it read to [Conn.Next], and acts on the events;
//   - it writes what [Conn.Output] holds, and says so with [Conn.Sent]; while the
//     connection is [Conn.Congested], it does so before it reads on;
//   - it calls the Write methods, and goes on with a body that was not taken as a
//     whole once [Writable] or Sent made room;
//   - it calls [Conn.Consumed] for payload as it gets rid of it, which is what
//     lets the peer send more. This is the back-pressure: all that a peer can
//     make the owner hold is one window.
//
// # Strictness
//
// What is malformed (RFC 9113 §8.1.1) never gets out of the codec as a message:
// it is a stream error or a connection error, as the RFC says. So a request that
// comes out has one meaning also when it is written as HTTP/1.1: names are
// lower-case tokens, values hold no control characters, :path and :authority
// nothing that ends a line, :authority and Host agree, no field concerns the
// connection, and the payload has the length that Content-Length says.
//
// # Defence
//
// Everything that a peer can make the codec hold is bounded by [Settings], and so
// is the work that it can cause without getting on: see the fields there. Since
// there is no clock, bounds on work count frames in relation to progress;
// [Conn.Relax] lets the owner forgive old ones as time goes by.
//
// # Cost
//
// On a warm connection nothing is allocated but the strings of fields that come
// as literals: names and values that the peer put into its dynamic table are
// handed out as they stand there, checked once. Stream records are reused. What
// is written goes into one buffer that is reused too.
package h2

import (
	"errors"
	"fmt"

	"github.com/lintel-dev/lintel/router"
)

// Preface is what a client sends first (RFC 9113 §3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Field is one field line. Names are in lower case.
type Field = router.Field

// Side is the part that a Conn plays.
type Side uint8

// The sides.
const (
	Server Side = iota // reads requests: the downstream side of a proxy
	Client             // writes requests: the upstream side
)

// Fin says whether something is the last of its direction on a stream.
type Fin uint8

// The values of Fin.
const (
	More Fin = iota
	Last     // END_STREAM
)

// Kind says what an [Event] tells.
type Kind uint8

// The kinds of events.
const (
	// None: there is nothing to tell until more bytes come.
	None Kind = iota
	// RequestHead: a request started; Request holds it. Server only.
	RequestHead
	// ResponseHead: a response started, or an interim response (1xx) came, which
	// others follow; Response holds it. Client only.
	ResponseHead
	// HeadTooLarge: a request was larger than the settings allow. The server
	// answers it, say with 431, as if it had been read, and resets the stream with
	// NoError unless End says that nothing follows. Nothing else of it can be known.
	// On the client side such a response is a StreamReset.
	HeadTooLarge
	// Data: payload. Data is empty only with End.
	Data
	// Trailers: Fields holds the trailer section; always with End.
	Trailers
	// StreamReset: the stream is over, at once and both ways; Code says why. It is
	// the peer's doing if Reason is "", otherwise the codec's, and Reason says what
	// was wrong. Streams that never had a head event have none of these either.
	StreamReset
	// Writable: WriteData, which had taken less than all of it, can take more on
	// Stream, or, if Stream is 0, maybe on any stream.
	Writable
	// GoAway: the peer takes no new streams; Code says why. Stream is the last one
	// of ours that it may have acted on: for those above, which it has not seen, a
	// StreamReset with [RefusedStream] follows each, and their requests may be
	// sent elsewhere (RFC 9113 §8.7).
	GoAway
	// SettingsChanged: the peer's settings came, or came anew. WriteData and
	// OpenRequest may succeed where they have not before.
	SettingsChanged
	// PingAck: the peer answered the [Conn.Ping] whose token is Ping.
	PingAck
)

// Event is one thing that happened. What it points to is valid until the next call
// of Next, Init or Relax, but strings are for good.
type Event struct {
	Kind     Kind
	End      bool // the peer sends nothing more on Stream; with heads, Data and Trailers
	Code     ErrCode
	Stream   uint32 // 0 is the connection
	Request  *Request
	Response *Response
	Fields   []Field // of Trailers
	Data     []byte  // aliases the bytes given to Next
	Ping     uint64
	Reason   string
}

// Request is the head of a request.
type Request struct {
	Method    string
	Scheme    string // "http" or "https"; "" for CONNECT
	Authority string // host and maybe port: :authority, else the Host field; "" if neither came
	Path      string // with its query, as :path has it; "" for CONNECT
	Protocol  string // of extended CONNECT (RFC 8441), say "websocket"; else ""
	// Fields are the others in order, Content-Length and te: trailers among them,
	// but not Host; several Cookie fields are joined into one (RFC 9113 §8.2.3). In
	// a request to send, Host, Content-Length and all that concerns a connection
	// are left out, te: trailers excepted.
	Fields []Field
	// Length is Content-Length, -1 without. In a request to send it is the only
	// source of that field.
	Length int64
	End    bool // there is neither body nor trailers
}

// Response is the head of a response.
type Response struct {
	Status int // 100 to 999; 1xx is interim, never with End
	// Fields are all but :status, in order. In a response to send, Content-Length
	// and all that concerns a connection are left out.
	Fields []Field
	// Length is Content-Length, -1 without. In a response to send it is the only
	// source of that field, and not written with 1xx and 204. The response to a
	// HEAD request and 304 have no payload whatever it says.
	Length int64
	End    bool // there is neither body nor trailers
}

// ErrCode is an error code (RFC 9113 §7).
type ErrCode uint32

// The error codes.
const (
	NoError            ErrCode = 0x0
	ProtocolError      ErrCode = 0x1
	InternalError      ErrCode = 0x2
	FlowControlError   ErrCode = 0x3
	SettingsTimeout    ErrCode = 0x4
	StreamClosed       ErrCode = 0x5
	FrameSizeError     ErrCode = 0x6
	RefusedStream      ErrCode = 0x7
	Cancel             ErrCode = 0x8
	CompressionError   ErrCode = 0x9
	ConnectError       ErrCode = 0xa
	EnhanceYourCalm    ErrCode = 0xb
	InadequateSecurity ErrCode = 0xc
	HTTP11Required     ErrCode = 0xd
)

// String returns the RFC's name of c.
func (c ErrCode) String() string {
	names := [...]string{
		"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
		"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
		"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
	}
	if int64(c) < int64(len(names)) {
		return names[c]
	}
	return fmt.Sprintf("error code 0x%x", uint32(c))
}

// Error is why a connection can't go on (RFC 9113 §5.4.1). Output ends with the
// GOAWAY that tells the peer; the owner writes it and closes.
type Error struct {
	Code ErrCode
	// Reason says what was wrong, in English and without any of the peer's bytes.
	Reason string
}

// Error returns the reason and the code.
func (e *Error) Error() string { return "end connection: " + e.Reason + " (" + e.Code.String() + ")" }

// Errors of the methods that write.
var (
	// ErrClosed: the stream is over, or this direction of it, or never was.
	ErrClosed = errors.New("h2: stream is closed")
	// ErrNoStream: no stream can be opened now. See [Conn.CanOpen].
	ErrNoStream = errors.New("h2: no stream can be opened")
	// ErrNoProtocol: the peer has not announced extended CONNECT (RFC 8441 §3).
	ErrNoProtocol = errors.New("h2: peer has no extended CONNECT")
)
