package h1

import "bytes"

// Response is the head of a response. One Response serves a connection for life;
// its fields are valid after Parse returned n > 0, until the next Parse.
type Response struct {
	Minor  int // of the protocol version: 0 or 1
	Status int // 100 to 999
	Reason string
	Fields []Field

	Framing Framing
	Length  int64 // of the body in bytes, if Framing is Length

	KeepAlive bool   // the connection can be used again once the body is done
	Upgrade   string // the protocol that a 101 switches to, never h2c; "" if none

	section section
}

// Reset makes r forget a head of which only a part has come, and all strings of
// the last one. The owner calls it when r moves to another connection.
func (r *Response) Reset() {
	fields := r.section.fields
	clear(fields[:cap(fields)])
	*r = Response{section: section{fields: fields[:0]}}
}

// Parse reads a head from the start of buf, as [Request.Parse] does. The method
// of the request decides whether a body follows (RFC 9112 §6.3). A 1xx response
// other than 101 is followed by another head.
func (r *Response) Parse(buf []byte, lim *Limits, requestMethod string) (n int, err error) {
	n, f := r.parse(buf, lim)
	if f == none {
		f = r.conclude(requestMethod)
	}
	if f == more {
		return 0, nil
	}
	r.section.pos, r.section.base = 0, nil
	if f != none {
		return 0, f.inResponse()
	}
	return n, nil
}

func (r *Response) parse(buf []byte, lim *Limits) (n int, f fault) {
	s := &r.section
	if f := s.resume(buf, lim); f != none {
		return 0, f
	}
	if s.pos == 0 {
		end, f := r.line(buf)
		if f != none {
			return 0, s.stop(buf, f, lim.Line, longLine)
		}
		if end > lim.Line {
			return 0, longLine
		}
		s.pos, s.scanned = end, 0
	}
	return s.parse(buf, lim)
}

// line reads HTTP-version SP status-code [ SP reason-phrase ] CRLF (RFC 9112
// §4). The space before a missing reason may be missing too, as many servers
// have it.
func (r *Response) line(buf []byte) (end int, f fault) {
	const code = len("HTTP/1.1 ")
	if len(buf) < code+3 {
		if bytes.IndexByte(buf, '\n') >= 0 {
			return 0, badStatus
		}
		return 0, more
	}
	r.Status = 0
	for _, c := range buf[code : code+3] {
		if c-'0' > 9 {
			return 0, badStatus
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if buf[code-1] != ' ' || r.Status < 100 {
		return 0, badStatus
	}
	if r.Minor, f = minorVersion(text(buf, 0, code-1)); f == badVersion {
		return 0, badStatus
	} else if f != none {
		return 0, f
	}
	i := valueEnd(buf, code+3)
	if i+1 >= len(buf) || buf[i] != '\r' || buf[i+1] != '\n' {
		return 0, lineFault(buf, i)
	}
	r.Reason = ""
	if i > code+3 {
		if buf[code+3] != ' ' {
			return 0, badStatus
		}
		r.Reason = text(buf, code+4, i)
	}
	return i + 2, none
}

// conclude works out what the whole head says.
func (r *Response) conclude(method string) fault {
	s := &r.section
	r.Fields = s.fields
	chunked, sized := s.seen&seenChunked != 0, s.seen&seenLength != 0
	if chunked && r.Minor == 0 {
		return oldCoding
	}
	r.KeepAlive = s.keepAlive(r.Minor)
	r.Upgrade = s.upgrade(r.Minor)
	r.Framing, r.Length = UntilClose, 0
	switch {
	case r.Status < 200:
		// A body here would be read as the next head (RFC 9110 §8.6).
		if chunked || s.length > 0 {
			return bodyForbidden
		}
		r.Framing = NoBody
	case r.Status == 204:
		// Servers that state a length may send the bytes too; whatever they do,
		// the connection ends with it.
		r.Framing = NoBody
		r.KeepAlive = r.KeepAlive && !chunked && s.length == 0
	case r.Status == 304, method == "HEAD", method == "CONNECT" && r.Status < 300:
		r.Framing = NoBody
	case chunked:
		r.Framing = Chunked
	case sized:
		r.Framing, r.Length = Length, s.length
	default:
		r.KeepAlive = false
	}
	return none
}
