package h1

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// version11 is "HTTP/1.1" as eight bytes in memory read as a little-endian number.
const version11 = 'H' | 'T'<<8 | 'T'<<16 | 'P'<<24 | '/'<<32 | '1'<<40 | '.'<<48 | '1'<<56

// maxBlankLines is how many empty lines may stand before a request line. RFC
// 9112 §2.2 asks for at least one: some clients send a CRLF after a body.
const maxBlankLines = 2

// Request is the head of a request. One Request serves a connection for life;
// its fields are valid after Parse returned n > 0, until the next Parse.
type Request struct {
	Method string
	Target string // as it was sent
	Minor  int    // of the protocol version: 0 or 1
	Fields []Field

	Framing Framing
	Length  int64 // of the body in bytes, if Framing is Length

	// Host is the authority of the target if that has one, else the value of
	// the Host field; "" if it was empty or, in HTTP/1.0, missing. A forwarder
	// writes its Host field from this one (RFC 9112 §3.2.2).
	Host string
	// Path and Query are the target's, split at the first question mark and
	// otherwise as sent. Path is "*" for an OPTIONS request about the whole
	// server, and "" for CONNECT.
	Path, Query string

	KeepAlive bool   // the client wants the connection to persist
	Expect100 bool   // the client waits for 100 (Continue) before it sends the body
	Upgrade   string // the first protocol that the client offers to switch to, never h2c; "" if none

	section  section
	absolute bool // Host and Path came from an absolute-form or authority-form target
}

// Reset makes r forget a head of which only a part has come, and all strings of
// the last one. The owner calls it when r moves to another connection.
func (r *Request) Reset() {
	fields := r.section.fields
	clear(fields[:cap(fields)])
	*r = Request{section: section{fields: fields[:0]}}
}

// Clone returns a copy that stays valid, for whoever does not parse another head with it.
func (r *Request) Clone() Request {
	c := *r
	c.Fields = CloneFields(r.Fields)
	c.section = section{seen: r.section.seen, fields: c.Fields}
	for _, s := range []*string{&c.Method, &c.Target, &c.Host, &c.Path, &c.Query, &c.Upgrade} {
		*s = strings.Clone(*s)
	}
	return c
}

// CloneFields returns a copy of fields that stays valid.
func CloneFields(fields []Field) []Field {
	all := make([]Field, len(fields))
	for i := range fields {
		all[i] = Field{Name: strings.Clone(fields[i].Name), Value: strings.Clone(fields[i].Value)}
	}
	return all
}

// Parse reads a head from the start of buf. It returns the number of bytes that
// the head has; or 0 and nil if there are more to come, and is then called with
// the same bytes and those that followed; or an [*Error]. buf may have moved
// meanwhile, and may go on with a body and further requests.
func (r *Request) Parse(buf []byte, lim *Limits) (n int, err error) {
	n, f := r.parse(buf, lim)
	if f == more {
		return 0, nil
	}
	r.section.pos, r.section.base = 0, nil
	if f != none {
		return 0, f.inRequest()
	}
	return n, nil
}

func (r *Request) parse(buf []byte, lim *Limits) (n int, f fault) {
	s := &r.section
	if f := s.resume(buf, lim); f != none {
		return 0, f
	}
	if s.pos == 0 {
		if f := r.start(buf, lim); f != none {
			return 0, f
		}
	}
	if n, f = s.parse(buf, lim); f != none {
		return 0, f
	}
	return n, r.conclude()
}

// start reads the request line, and empty lines before it. A first byte that
// can't begin a request, say that of a TLS handshake, is refused at once.
func (r *Request) start(buf []byte, lim *Limits) fault {
	s := &r.section
	i, f := skipBlankLines(buf)
	if f != none {
		return f
	}
	if classes[buf[i]]&tokenByte == 0 {
		return badMethod
	}
	end, f := r.line(buf, i)
	if f != none {
		s.scanned = max(s.scanned, i)
		return s.stop(buf, f, lim.Line, longLine)
	}
	if end > lim.Line {
		return longLine
	}
	s.pos, s.scanned = end, 0
	return none
}

// skipBlankLines returns where the request line starts.
func skipBlankLines(buf []byte) (int, fault) {
	i := 0
	for range maxBlankLines {
		if i == len(buf) || buf[i] != '\r' {
			break
		}
		if i+1 == len(buf) {
			return 0, more
		}
		if buf[i+1] != '\n' {
			return 0, badStart
		}
		i += 2
	}
	return i, moreAt(buf, i, none)
}

// line reads method SP request-target SP HTTP-version CRLF (RFC 9112 §3).
func (r *Request) line(buf []byte, start int) (end int, f fault) {
	i := start
	for i < len(buf) && classes[buf[i]]&tokenByte != 0 {
		i++
	}
	if i == len(buf) || buf[i] != ' ' {
		return 0, moreAt(buf, i, badMethod)
	}
	r.Method = text(buf, start, i)
	i++
	from := i
	for i < len(buf) && classes[buf[i]]&targetByte != 0 {
		i++
	}
	if i == len(buf) || buf[i] != ' ' || i == from {
		return 0, moreAt(buf, i, badTarget)
	}
	r.Target = text(buf, from, i)
	i++
	if r.Minor, end, f = version(buf, i); f != none {
		return 0, f
	}
	return end, r.split()
}

// version reads HTTP-version CRLF from i on (RFC 9112 §2.3).
func version(buf []byte, i int) (minor, end int, f fault) {
	if i+10 <= len(buf) && binary.LittleEndian.Uint64(buf[i:]) == version11 && buf[i+8] == '\r' && buf[i+9] == '\n' {
		return 1, i + 10, none
	}
	lf := bytes.IndexByte(buf[i:], '\n')
	switch {
	case lf < 0:
		return 0, 0, more
	case lf == 0 || buf[i+lf-1] != '\r':
		return 0, 0, badLineEnd
	}
	minor, f = minorVersion(text(buf, i, i+lf-1))
	return minor, i + lf + 1, f
}

// minorVersion returns 0 for HTTP/1.0 and 1 for HTTP/1.1.
func minorVersion(v string) (minor int, f fault) {
	switch {
	case v == "HTTP/1.1":
		return 1, none
	case v == "HTTP/1.0":
		return 0, none
	case len(v) == 8 && v[:5] == "HTTP/" && v[5]-'0' <= 9 && v[6] == '.' && v[7]-'0' <= 9:
		return 0, otherVersion
	default:
		return 0, badVersion
	}
}

// conclude works out what the whole head says.
func (r *Request) conclude() fault {
	s := &r.section
	r.Fields = s.fields
	host := ""
	switch {
	case s.seen&seenHost != 0:
		host = s.fields[s.host].Value
	case r.Minor > 0:
		return noHost
	}
	if !ValidHost(host) {
		return badHost
	}
	if !r.absolute {
		r.Host = host
	}
	r.Framing, r.Length = NoBody, 0
	switch {
	case s.seen&seenChunked != 0:
		if r.Minor == 0 {
			return oldCoding
		}
		r.Framing = Chunked
	case s.seen&seenLength != 0:
		r.Framing, r.Length = Length, s.length
	}
	if r.Method == "CONNECT" {
		// CONNECT has no content (RFC 9110 §9.3.6): what follows is the tunnel's.
		if r.Framing == Chunked || r.Length > 0 {
			return bodyForbidden
		}
		r.Framing = NoBody
	}
	r.KeepAlive = s.keepAlive(r.Minor)
	r.Expect100 = s.seen&seenContinue != 0 && r.Minor > 0 && (r.Framing == Chunked || r.Length > 0)
	r.Upgrade = s.upgrade(r.Minor)
	return none
}
