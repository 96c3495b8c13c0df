package router

import (
	"net/netip"
	"strconv"
	"strings"
)

// NormalizeHost returns the host of an authority or a Host field, without its
// port and without the dot that may end it, in lower case. An IPv6 address keeps
// its brackets.
//
// It reports false for an empty host, a port that is no port, an address in
// brackets that is not IPv6, an empty label, and characters that RFC 3986 §3.2.2
// does not allow. Escapes are refused too: no DNS name needs them, and they would
// be a second spelling. It allocates only for upper-case letters.
func NormalizeHost(raw string) (host string, ok bool) {
	if strings.HasPrefix(raw, "[") {
		return normalizeAddress(raw)
	}
	name, port, hasPort := strings.Cut(raw, ":")
	if hasPort && !isPort(port) {
		return "", false
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" || name[len(name)-1] == '.' {
		return "", false
	}
	upper := false
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
		case 'A' <= c && c <= 'Z':
			upper = true
		case c == '.':
			if i == 0 || name[i-1] == '.' {
				return "", false
			}
		case !isUnreserved(c) && !isSubDelimiter(c):
			return "", false
		}
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, true
}

// normalizeAddress is NormalizeHost for "[address]" and "[address]:port".
func normalizeAddress(raw string) (host string, ok bool) {
	address, port, ok := strings.Cut(raw[1:], "]")
	if !ok || port != "" && (port[0] != ':' || !isPort(port[1:])) {
		return "", false
	}
	if ip, err := netip.ParseAddr(address); err != nil || !ip.Is6() || ip.Zone() != "" {
		return "", false
	}
	return strings.ToLower(raw[:len(address)+2]), true
}

// isPort reports whether s is a port, or empty (RFC 3986 §3.2.3).
func isPort(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	_, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil
}

// isSubDelimiter reports whether c is one of sub-delims (RFC 3986 §2.2).
func isSubDelimiter(c byte) bool { return strings.IndexByte("!$&'()*+,;=", c) >= 0 }
