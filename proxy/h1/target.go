package h1

import "strings"

// split takes the target apart, by its form (RFC 9112 §3.2).
func (r *Request) split() fault {
	r.absolute = false
	switch target := r.Target; {
	case r.Method == "CONNECT":
		return r.splitAuthority(target)
	case target[0] == '/':
		r.splitQuery(target)
		return none
	case target == "*":
		if r.Method != "OPTIONS" {
			return badTarget
		}
		r.Path, r.Query = "*", ""
		return none
	default:
		return r.splitAbsolute(target)
	}
}

func (r *Request) splitQuery(target string) {
	r.Path, r.Query, _ = strings.Cut(target, "?")
}

// splitAuthority reads the authority-form: a host and a port, both needed.
func (r *Request) splitAuthority(target string) fault {
	colon := strings.LastIndexByte(target, ':')
	if colon <= 0 || colon == len(target)-1 || !ValidHost(target) {
		return badTarget
	}
	r.Host, r.Path, r.Query, r.absolute = target, "", "", true
	return none
}

// splitAbsolute reads the absolute-form of http and https. User information is
// refused with all else that is no host (RFC 9110 §4.2.4).
func (r *Request) splitAbsolute(target string) fault {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !fold(scheme, "http") && !fold(scheme, "https") {
		return badTarget
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 || rest[0] == ':' || !ValidHost(rest[:end]) {
		return badTarget
	}
	r.Host, r.absolute = rest[:end], true
	r.splitQuery(rest[end:])
	switch {
	case r.Path != "":
	case r.Method == "OPTIONS" && end == len(rest):
		r.Path = "*" // RFC 9112 §3.2.4
	default:
		r.Path = "/"
	}
	return none
}

// ValidHost says whether s is uri-host [ ":" port ] (RFC 9110 §7.2), maybe empty.
// Percent-encoding, zone identifiers and future address literals are refused:
// no name that a route can have contains them.
func ValidHost(s string) bool {
	if s != "" && s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < len("[::") {
			return false
		}
		for i := 1; i < end; i++ {
			if classes[s[i]]&literalByte == 0 {
				return false
			}
		}
		return validPort(s[end+1:])
	}
	for i := range len(s) {
		if classes[s[i]]&nameByte == 0 {
			return i > 0 && validPort(s[i:])
		}
	}
	return true
}

// validPort says whether s is empty, or a colon and up to five digits that make
// a port number; a colon alone is allowed (RFC 3986 §3.2.3).
func validPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) > len(":65535") {
		return false
	}
	if len(s) == 1 {
		return true
	}
	n, ok := Decimal(s[1:])
	return ok && n <= 65535
}
