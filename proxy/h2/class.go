package h2

import (
	"strings"

	"github.com/lintel-dev/lintel/proxy/h1"
)

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
	if !h1.ValidLowerName(name) {
		return malformed
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

// validPath says whether s may be :path of a request (RFC 9113 §8.3.1).
func validPath(method, s string) bool {
	if s == "" {
		return false
	}
	if s[0] != '/' {
		return s == "*" && method == "OPTIONS"
	}
	return h1.ValidTarget(s)
}
