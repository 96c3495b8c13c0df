package h1

import (
	"bytes"
	"strings"
	"unsafe"
)

// section reads the field lines of a head or of a trailer section, and notes
// what those fields say that steer a connection. After more it is resumed with
// a longer buffer.
type section struct {
	base    *byte // start of the buffer that the state belongs to
	pos     int   // start of the first line not parsed yet
	scanned int   // buf[pos:scanned] has no line feed

	fields []Field
	seen   seen
	host   int   // index in fields of Host, if seen
	offer  int   // index in fields of the first Upgrade, if seen
	length int64 // of Content-Length, if seen
	listed int   // bytes of all Connection values
	items  int   // elements of all Connection values, empty ones too
}

// maxConnection bounds the values of Connection in bytes, and maxOptions the
// elements. Real ones stay below 50 and have up to three; a forwarder searches
// them once for every field that it copies.
const (
	maxConnection = 1 << 10
	maxOptions    = 16
)

// seen is a set of facts about a section.
type seen uint16

const (
	seenHost seen = 1 << iota
	seenLength
	seenChunked
	seenContinue // Expect: 100-continue
	seenUpgrade  // an Upgrade field
	optClose     // Connection lists close
	optKeepAlive // ... keep-alive
	optUpgrade   // ... upgrade
	optOther     // ... the name of another field
)

// forget readies s for the next message, keeping the room for its fields.
func (s *section) forget() {
	*s = section{fields: s.fields[:0]}
}

// resume readies s for buf. Anything but none ends the call: the line where s
// stands still has no end.
func (s *section) resume(buf []byte, lim *Limits) fault {
	if s.base != unsafe.SliceData(buf) {
		// The bytes moved, and what was parsed points to where they were. Buffers
		// grow by factors, so that starting over stays linear.
		s.forget()
		s.base = unsafe.SliceData(buf)
		return none
	}
	if s.scanned == 0 || bytes.IndexByte(buf[s.scanned:], '\n') >= 0 {
		return none
	}
	if s.pos == 0 {
		return s.stop(buf, more, lim.Line, longLine)
	}
	return s.stop(buf, more, lim.Head, longHead)
}

// stop settles what became of the line at s.pos, which ended in f. Nothing is
// held against a line before its line feed is there, so that the outcome does
// not depend on how the bytes were split; only its length is: it may end at
// limit, and is over if it goes further.
func (s *section) stop(buf []byte, f fault, limit int, over fault) fault {
	from := max(s.pos, s.scanned)
	lf := bytes.IndexByte(buf[from:], '\n')
	if lf < 0 {
		s.scanned = len(buf)
		if len(buf) > limit {
			return over
		}
		return more
	}
	if from+lf >= limit {
		return over
	}
	if f == more {
		return badLineEnd
	}
	return f
}

// parse reads field lines from s.pos on. With none, end is where the empty line
// ends that ends the section.
func (s *section) parse(buf []byte, lim *Limits) (end int, f fault) {
	for {
		start := s.pos
		i := start
		for i < len(buf) && classes[buf[i]]&tokenByte != 0 {
			i++
		}
		if i == start {
			return s.finish(buf, lim)
		}
		if i == len(buf) || buf[i] != ':' {
			return 0, s.stop(buf, moreAt(buf, i, badName), lim.Head, longHead)
		}
		name := text(buf, start, i)
		i++
		for i < len(buf) && isSpace(buf[i]) {
			i++
		}
		from := i
		i = valueEnd(buf, i)
		if i+1 >= len(buf) || buf[i] != '\r' || buf[i+1] != '\n' {
			return 0, s.stop(buf, lineFault(buf, i), lim.Head, longHead)
		}
		next := i + 2
		for i > from && isSpace(buf[i-1]) {
			i--
		}
		value := text(buf, from, i)
		if next > lim.Head {
			return 0, longHead
		}
		if len(s.fields) >= lim.Fields {
			return 0, manyFields
		}
		if f := s.note(name, value); f != none {
			return 0, f
		}
		s.fields = append(s.fields, Field{Name: name, Value: value})
		s.pos, s.scanned = next, 0
	}
}

// finish reads the empty line at the end of a section.
func (s *section) finish(buf []byte, lim *Limits) (end int, f fault) {
	i := s.pos
	if i+1 >= len(buf) || buf[i] != '\r' || buf[i+1] != '\n' {
		f := badName
		if i == len(buf) || buf[i] == '\r' || buf[i] == '\n' {
			f = lineFault(buf, i)
		}
		return 0, s.stop(buf, f, lim.Head, longHead)
	}
	if i+2 > lim.Head {
		return 0, longHead
	}
	return i + 2, none
}

// moreAt is more if i is the end of buf, else f.
func moreAt(buf []byte, i int, f fault) fault {
	if i == len(buf) {
		return more
	}
	return f
}

// lineFault says why buf[i:] is not the CRLF that was expected after text.
func lineFault(buf []byte, i int) fault {
	switch {
	case i == len(buf), buf[i] == '\r' && i+1 == len(buf):
		return more
	case buf[i] == '\r', buf[i] == '\n':
		return badLineEnd
	default:
		return badValue
	}
}

// note keeps what a field says that the codec itself must know. The length of
// the name rules out nearly all fields.
func (s *section) note(name, value string) fault {
	switch len(name) {
	case 4:
		if fold(name, "host") {
			return s.noteHost()
		}
	case 6:
		if fold(name, "expect") && fold(value, "100-continue") {
			s.seen |= seenContinue
		}
	case 7:
		if fold(name, "upgrade") && s.seen&seenUpgrade == 0 {
			s.seen |= seenUpgrade
			s.offer = len(s.fields)
		}
	case 10:
		if fold(name, "connection") {
			return s.noteConnection(value)
		}
	case 14:
		if fold(name, "content-length") {
			return s.noteLength(value)
		}
	case 17:
		if fold(name, "transfer-encoding") {
			return s.noteCoding(value)
		}
	}
	return none
}

func (s *section) noteHost() fault {
	if s.seen&seenHost != 0 {
		return twoHosts
	}
	s.seen |= seenHost
	s.host = len(s.fields)
	return none
}

// noteLength reads Content-Length (RFC 9110 §8.6). A repeated one is refused
// even if it agrees, since not everybody compares; a list is not a number.
func (s *section) noteLength(value string) fault {
	if s.seen&seenLength != 0 {
		return twoLengths
	}
	if s.seen&seenChunked != 0 {
		return lengthAndChunked
	}
	n, ok := Decimal(value)
	if !ok {
		return badLength
	}
	s.seen |= seenLength
	s.length = n
	return none
}

// noteCoding reads Transfer-Encoding (RFC 9112 §6.1), of which we know chunked.
func (s *section) noteCoding(value string) fault {
	switch {
	case s.seen&seenChunked != 0:
		return twoCodings
	case s.seen&seenLength != 0:
		return lengthAndChunked
	case !fold(value, "chunked"):
		return otherCoding
	}
	s.seen |= seenChunked
	return none
}

// noteConnection reads the options of one Connection line (RFC 9110 §7.6.1).
func (s *section) noteConnection(value string) fault {
	if s.listed += len(value); s.listed > maxConnection {
		return longConnection
	}
	for rest := value; rest != ""; {
		if s.items++; s.items > maxOptions {
			return longConnection
		}
		var option string
		option, rest = nextItem(rest)
		switch {
		case option == "":
		case fold(option, "keep-alive"):
			s.seen |= optKeepAlive
		case fold(option, "close"):
			s.seen |= optClose
		case fold(option, "upgrade"):
			s.seen |= optUpgrade
		default:
			s.seen |= optOther
		}
	}
	return none
}

// keepAlive says whether the connection persists after a message of the given
// minor version (RFC 9112 §9.3).
func (s *section) keepAlive(minor int) bool {
	if s.seen&optClose != 0 {
		return false
	}
	return minor > 0 || s.seen&optKeepAlive != 0
}

// upgrade returns the protocol that the message switches to or offers to, or "".
// HTTP/1.0 has none (RFC 9110 §7.8), and h2c is passed over: RFC 9113 §3.1 has
// given it up, and behind a proxy that forwards it the rest of the connection
// escapes every rule. So is what is no protocol, as someone may find h2c in it.
func (s *section) upgrade(minor int) string {
	if s.seen&(seenUpgrade|optUpgrade) != seenUpgrade|optUpgrade || minor == 0 {
		return ""
	}
	for rest := s.fields[s.offer].Value; rest != ""; {
		var protocol string
		protocol, rest = nextItem(rest)
		name, version, versioned := strings.Cut(protocol, "/")
		if ValidName(name) && (!versioned || ValidName(version)) && !fold(name, "h2c") {
			return protocol
		}
	}
	return ""
}

// Decimal reads digits only, up to the largest int64.
func Decimal(s string) (n int64, ok bool) {
	if s == "" || len(s) > len("9223372036854775807") {
		return 0, false
	}
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int64(d) // nineteen digits overflow into the sign at most
	}
	return n, n >= 0
}
