package h2

import (
	"strings"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// request makes r, whose End is set, of the section, and says what is wrong with
// it (RFC 9113 §8.3.1).
func (s *section) request(r *Request, limits *Settings) (reason string) {
	*r = Request{
		Method: s.get(pseudoMethod), Scheme: s.get(pseudoScheme), Authority: s.get(pseudoAuthority),
		Path: s.get(pseudoPath), Protocol: s.get(pseudoProtocol), Fields: s.fields, Length: s.length, End: r.End,
	}
	tunnel := r.Method == "CONNECT"
	switch {
	case s.reason != "":
		return s.reason
	case s.has(pseudoStatus):
		return ":status in a request"
	case !h1.ValidName(r.Method):
		return ":method is missing or malformed"
	case s.has(pseudoProtocol) && !(tunnel && limits.ExtendedConnect && h1.ValidName(r.Protocol)):
		return ":protocol where it is not allowed, or malformed"
	case tunnel && !s.has(pseudoProtocol):
		if s.has(pseudoScheme) || s.has(pseudoPath) || r.Authority == "" {
			return "CONNECT with :scheme or :path, or without :authority"
		}
	case r.Scheme != "http" && r.Scheme != "https":
		return ":scheme is missing or unknown"
	case !validPath(r.Method, r.Path):
		return ":path is missing or malformed"
	}
	if tunnel {
		r.Length = -1 // there is no content, but what goes through the tunnel
	}
	if r.End && r.Length > 0 {
		return "payload has another length than Content-Length says"
	}
	return s.authority(r)
}

// authority settles what host the request is for.
func (s *section) authority(r *Request) (reason string) {
	switch {
	case !s.has(pseudoAuthority):
		r.Authority = s.host
	case s.hosts > 0 && !strings.EqualFold(s.host, r.Authority):
		return ":authority and Host differ"
	}
	if !h1.ValidHost(r.Authority) {
		return ":authority or Host is malformed"
	}
	return ""
}

// response makes r, whose End is set, of the section, and says what is wrong with
// it (RFC 9113 §8.3.2).
func (s *section) response(r *Response) (reason string) {
	status, ok := h1.Decimal(s.get(pseudoStatus))
	*r = Response{Status: int(status), Fields: s.fields, Length: s.length, End: r.End}
	switch {
	case s.reason != "":
		return s.reason
	case s.seen != 1<<(pseudoStatus-pseudoMethod):
		return ":status is missing or not alone"
	case !ok || len(s.get(pseudoStatus)) != 3 || status < 100:
		return ":status is malformed"
	case status == 101:
		return "101 does not exist in HTTP/2"
	case status < 200 && r.End:
		return "stream ends with an interim response"
	case s.hosts > 0:
		// It means nothing there, but it is no reason to refuse a response either.
		r.Fields = append(r.Fields, Field{Name: "host", Value: s.host})
		s.fields = r.Fields
	}
	return ""
}

// trailers says what is wrong with the section as trailers: pseudo-header fields
// (RFC 9113 §8.1), and fields that frame or route a message (RFC 9110 §6.5.1).
func (s *section) trailers() (reason string) {
	switch {
	case s.reason != "":
		return s.reason
	case s.seen != 0:
		return "pseudo-header field in trailers"
	case s.hosts > 0 || s.length >= 0:
		return "trailers have a field that frames or routes a message"
	}
	return ""
}
