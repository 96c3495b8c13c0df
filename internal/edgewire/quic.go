package edgewire

import (
	"context"
	"encoding/binary"
	"net"
	"strconv"
)

// Over QUIC each request has a stream of its own. It begins with DataSignature and Version, and then
// the request's head, a message of Cap'n Proto; the response does the same. What follows
// are their bodies.
const (
	DataSignature = "\x0A\x36\xCD\x12\xA1\x3E"
	Version       = "01"
)

// The keys in heads over QUIC.
const (
	MethodKey = "HttpMethod"
	HostKey   = "HttpHost"
	FieldKey  = "HttpHeader:" // and the name
	StatusKey = "HttpStatus"
)

// Field is a field of a request.
type Field struct{ Name, Value string }

// Request is the head of a request over QUIC. What it points to is valid until the request
// was served.
type Request struct {
	Method, Host string
	Target       string // path and query
	// WebSocket says that the client asks for one, whatever Fields say.
	WebSocket bool
	// Fields are those of the client as if it spoke HTTP/1.1, and the edge's own.
	Fields []Field
}

// Stream is the stream of a request over QUIC: what is read is the request's body, and a
// response is written, its head (see [Head]) first. One goroutine reads and one writes at a
// time; deadlines are set by any.
type Stream interface {
	net.Conn
	// CloseWrite ends the response. Nothing is written after it.
	CloseWrite() error
	// Context ends when the edge does not want the response any more, and with CloseWrite.
	Context() context.Context
}

// Head is the head of a response over QUIC that is put together.
//
//	ConnectResponse {error @0 :Text; metadata @1 :List(Metadata)}
//	Metadata {key @0 :Text; val @1 :Text}
//
// It is a message of one segment: the root pointer, the two pointers of the response, the tag
// of the list, two pointers for each element, and then the texts.
type Head struct {
	buf   []byte
	start int // where the message begins
	next  int // the word for the next element's pointers
}

const (
	word = 8 // bytes

	faultWord = 1
	listWord  = 2
	tagWord   = 3
)

// Kinds of pointers and sizes of elements.
const (
	listPointer   = 1
	byteElements  = 2
	composite     = 7
	twoPointers   = 2 << 16
	kindBits      = 2 // below an offset or a count
	elementBits   = 3 // below a count
	upperHalf     = 32
	segmentHeader = word // that there is one segment, and how many words it has
)

// BeginHead begins a head with a status and so many fields, behind what is in dst. The
// status 0 is none, as for TCP streams. A fault is why there is no response; "" is none.
func BeginHead(dst []byte, status, fields int, fault string) Head {
	elements := fields
	if status != 0 {
		elements++
	}
	h := Head{buf: append(append(dst, DataSignature...), Version...)}
	h.start = len(h.buf)
	h.next = tagWord + 1
	h.zeros(segmentHeader + (h.next+2*elements)*word)
	h.put(0, 0, twoPointers)
	h.text(faultWord, fault, "")
	h.put(listWord, listPointer, composite|2*elements<<elementBits)
	h.put(tagWord, elements<<kindBits, twoPointers)
	if status != 0 {
		h.element(StatusKey, "", strconv.Itoa(status))
	}
	return h
}

// Add adds a field. It is called as often as BeginHead was told.
func (h *Head) Add(name, value string) { h.element(FieldKey, name, value) }

// End returns what was begun with, and the head behind it.
func (h *Head) End() []byte {
	size := (len(h.buf) - h.start - segmentHeader) / word
	binary.LittleEndian.PutUint64(h.buf[h.start:], uint64(size)<<upperHalf)
	return h.buf
}

// element adds to the list.
func (h *Head) element(prefix, name, value string) {
	h.text(h.next, prefix, name)
	h.text(h.next+1, value, "")
	h.next += 2
}

// text adds the text of two parts, to which the pointer at a word leads.
func (h *Head) text(at int, first, second string) {
	n := len(first) + len(second)
	if n == 0 {
		return // a pointer to nothing is ""
	}
	end := (len(h.buf) - h.start - segmentHeader) / word
	h.put(at, listPointer|(end-at-1)<<kindBits, byteElements|(n+1)<<elementBits)
	h.buf = append(append(h.buf, first...), second...)
	h.zeros(word - n%word) // one at least, which ends it
}

// put fills a word of the segment by its halves.
func (h *Head) put(at, low, high int) {
	binary.LittleEndian.PutUint64(h.buf[h.start+segmentHeader+at*word:], uint64(uint32(low))|uint64(high)<<upperHalf)
}

// zeros adds n of them.
func (h *Head) zeros(n int) {
	const some = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for ; n > len(some); n -= len(some) {
		h.buf = append(h.buf, some...)
	}
	h.buf = append(h.buf, some[:n]...)
}
