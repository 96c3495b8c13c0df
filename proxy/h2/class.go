package h2

import (
	"strings"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// Bits of a byte's entry in classes.
const (
	nameByte    = 1 << iota // tchar without upper case (RFC 9113 §8.2.1)
	targetByte              // visible ASCII without "#", as in h1: a target never has a fragment
	hostByte                // of a registered name: unreserved and sub-delims (RFC 3986 §3.2.2), not percent
	literalByte             // between the brackets of an IPv6 address
)

// classes has one character a byte value, sixteen a row; the low four bits of
// the character are the byte's classes. It is a string because a string is
// constant.
const classes = "" +
	"0000000000000000" + // 00
	"0000000000000000" + // 10
	"07217377667767?2" + // 20
	"??????????:62622" + // 30
	"2>>>>>>666666666" + // 40
	"6666666666622237" + // 50
	"3??????777777777" + // 60
	"7777777777723270" + // 70
	"0000000000000000" + // 80
	"0000000000000000" + // 90
	"0000000000000000" + // a0
	"0000000000000000" + // b0
	"0000000000000000" + // c0
	"0000000000000000" + // d0
	"0000000000000000" + // e0
	"0000000000000000" // f0

// kind says what a field means to the codec. It depends on the field alone, so
// that a dynamic table keeps it and nothing in there is looked at twice.
type kind uint8

const (
	regular      kind = iota
	malformed         // no message may have it
	pseudoMethod      // the pseudo-header fields
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoProtocol
	pseudoStatus
	isLength // Content-Length
	isCookie
	isHost
	isTE // TE with the value trailers; with another it is malformed
)

// classify returns the kind of a field (RFC 9113 §8.2 and §8.3).
func classify(name, value string) kind {
	k := classifyName(name)
	if k == malformed || !h1.ValidValue(value) {
		return malformed
	}
	if k == isTE && !strings.EqualFold(value, "trailers") {
		return malformed
	}
	return k
}

func classifyName(name string) kind {
	if name == "" {
		return malformed
	}
	if name[0] == ':' {
		return classifyPseudo(name)
	}
	for i := range len(name) {
		if classes[name[i]]&nameByte == 0 {
			return malformed
		}
	}
	switch name {
	case "content-length":
		return isLength
	case "cookie":
		return isCookie
	case "host":
		return isHost
	case "te":
		return isTE
	}
	if h1.IsHopByHop(name) {
		return malformed
	}
	return regular
}

func classifyPseudo(name string) kind {
	switch name {
	case ":method":
		return pseudoMethod
	case ":scheme":
		return pseudoScheme
	case ":authority":
		return pseudoAuthority
	case ":path":
		return pseudoPath
	case ":protocol":
		return pseudoProtocol
	case ":status":
		return pseudoStatus
	}
	return malformed
}

// all says whether s consists of bytes of one class.
func all(s string, class byte) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// validPath says whether s may be :path of a request (RFC 9113 §8.3.1).
func validPath(method, s string) bool {
	if s == "" {
		return false
	}
	if s[0] != '/' {
		return s == "*" && method == "OPTIONS"
	}
	return all(s, targetByte)
}

// validHost says whether s is uri-host [ ":" port ] (RFC 9110 §7.2), maybe empty,
// by the rules of h1: what a route can't have as a name is refused.
func validHost(s string) bool {
	if s != "" && s[0] == '[' {
		end := strings.IndexByte(s, ']')
		return end >= len("[::") && all(s[1:end], literalByte) && validPort(s[end+1:])
	}
	for i := range len(s) {
		if classes[s[i]]&hostByte == 0 {
			return i > 0 && validPort(s[i:])
		}
	}
	return true
}

// validPort says whether s is empty, or a colon and a port number or nothing.
func validPort(s string) bool {
	if s == "" || s == ":" {
		return true
	}
	if s[0] != ':' || len(s) > len(":65535") {
		return false
	}
	n, ok := decimal(s[1:])
	return ok && n <= 65535
}

// decimal reads digits only, up to the largest int64.
func decimal(s string) (n int64, ok bool) {
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
