// Package h1 is the HTTP/1.1 wire codec (RFC 9112) as pure state machines:
// bytes in, fields and payload out. It does no I/O, starts no goroutine, reads
// no clock and, once its buffers are warm, allocates nothing. The same code
// serves both sides of the proxy: [Request] reads what clients send, [Response]
// what backends answer, [Body] the payload of either, and the Append functions
// write heads and chunks.
//
// The codec refuses whatever two implementations could read differently, since
// that is what request smuggling lives on: it never repairs a message. What it
// accepts it hands out as the peer wrote it, and the framing that it reports
// (Framing, Length) is the only truth about where a message ends; a forwarder
// writes framing fields from that and never copies the peer's.
//
// # Cost
//
// A head is read in one pass: names and targets byte by byte through a class
// table, values eight bytes at a time. A head that arrives in pieces is resumed
// at the first line not yet parsed, and a line is parsed only once its line feed
// is there, so that the work stays linear in the bytes received however they
// are split, and so does the outcome: an error appears at the same byte whether
// the head came whole or one byte at a time.
//
// # Lifetime
//
// Strings handed out alias the buffer that was parsed (trailers alias the
// Body's own). They are valid as long as those bytes are neither overwritten
// nor moved within the buffer.
package h1

import "github.com/lintel-dev/lintel/router"

// Field is one field line. Its strings alias the parsed buffer.
type Field = router.Field

// Limits bounds what a peer can make the codec hold. All values are positive;
// zero leaves no room at all.
type Limits struct {
	Line   int // bytes of a start line, with its CRLF
	Head   int // bytes of a whole head, with empty lines before it and the one that ends it; also of a trailer section
	Fields int // field lines of a head, and of a trailer section
}

// DefaultLimits returns the limits that suit a public gateway. 8 KiB of request
// line is what RFC 9112 §3 asks for at least and what browsers and CDNs stay
// under. 64 KiB of head leaves room for large cookies and Kerberos tickets.
// 128 fields are three times what the busiest real requests carry, and few
// enough that searching them one by one stays cheap.
func DefaultLimits() Limits {
	return Limits{Line: 8 << 10, Head: 64 << 10, Fields: 128}
}

// Framing says how the end of a body is found (RFC 9112 §6.3).
type Framing uint8

// The framings.
const (
	NoBody     Framing = iota // the message ends with its head
	Length                    // a known number of bytes, maybe zero
	Chunked                   // chunks, then a trailer section
	UntilClose                // all bytes until the peer closes; responses only
)

// Error is a message that the codec refuses. The connection can't be used any
// further, because where the message ends is unknown.
type Error struct {
	// Status is what the client should be answered: for a request 400, 414,
	// 431, 501 or 505, for a response always 502.
	Status int
	// Reason says what was wrong, in English and without any of the peer's
	// bytes.
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return "refuse message: " + e.Reason }
