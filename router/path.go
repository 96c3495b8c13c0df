package router

import "bytes"

// NormalizePath returns the one spelling that all equivalent paths have (RFC 3986
// §6.2.2): escapes of unreserved characters are decoded, all other escapes stay,
// with upper-case digits, and dot segments are removed, escaped ones too. An empty
// path is "/". Slashes are not merged, and an escaped slash stays escaped: it is
// no border between elements. raw comes without query and fragment.
//
// It reports false for a path that does not begin with a slash and for a percent
// sign that begins no escape. It allocates only when something changes.
func NormalizePath(raw string) (path string, ok bool) {
	if raw == "" {
		return "/", true
	}
	if raw[0] != '/' {
		return "", false
	}
	changes := false
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '%':
			c, ok := unescape(raw[i:])
			if !ok {
				return "", false
			}
			changes = changes || isUnreserved(c) || isLowerHex(raw[i+1]) || isLowerHex(raw[i+2])
			i += 2
		case '/':
			changes = changes || isDotSegment(raw[i+1:])
		}
	}
	if !changes {
		return raw, true
	}
	var stack [256]byte
	return string(removeDotSegments(decodeUnreserved(stack[:0], raw))), true
}

// decodeUnreserved appends path to b with its escapes normalised.
func decodeUnreserved(b []byte, path string) []byte {
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b = append(b, path[i])
			continue
		}
		if c, _ := unescape(path[i:]); isUnreserved(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex(path[i+1]), upperHex(path[i+2]))
		}
		i += 2
	}
	return b
}

// removeDotSegments removes "." and ".." segments in place (RFC 3986 §5.2.4). path
// begins with a slash, and so does the result.
func removeDotSegments(path []byte) []byte {
	out := path[:0]
	for len(path) > 0 {
		end := 1
		for end < len(path) && path[end] != '/' {
			end++
		}
		segment, rest := path[1:end], path[end:]
		switch string(segment) {
		case ".":
		case "..":
			if i := bytes.LastIndexByte(out, '/'); i >= 0 {
				out = out[:i]
			}
		default:
			out = append(append(out, '/'), segment...)
			path = rest
			continue
		}
		if len(rest) == 0 {
			out = append(out, '/')
		}
		path = rest
	}
	return out
}

// isDotSegment reports whether the first segment of path is "." or "..".
func isDotSegment(path string) bool {
	dots := 0
	for dots < len(path) && path[dots] == '.' {
		dots++
	}
	return (dots == 1 || dots == 2) && (dots == len(path) || path[dots] == '/')
}

// unescape decodes the escape that s begins with.
func unescape(s string) (c byte, ok bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	high, ok1 := hexDigit(s[1])
	low, ok2 := hexDigit(s[2])
	return high<<4 | low, ok1 && ok2
}

func hexDigit(c byte) (value byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func isLowerHex(c byte) bool { return 'a' <= c && c <= 'f' }

func upperHex(c byte) byte {
	if isLowerHex(c) {
		return c - 'a' + 'A'
	}
	return c
}

// isUnreserved reports whether c is an unreserved character (RFC 3986 §2.3).
func isUnreserved(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~'
}
