package h1

// Trailing says whether a field may stand in a trailer section. RFC 9110 §6.5.1
// rules out what a recipient needs before it has the content: fields that frame
// or route a message, modify a request, authenticate, control a response or
// describe the content, and those of one connection. [Body] refuses a trailer
// section that has Content-Length, Transfer-Encoding or Host, which nobody sends
// in good faith, and drops the others.
func Trailing(name string) bool {
	return !IsHopByHop(name) && !forbiddenTrailer(name)
}

func forbiddenTrailer(name string) bool {
	switch len(name) {
	case 3:
		return fold(name, "age")
	case 4:
		return fold(name, "host") || fold(name, "date") || fold(name, "vary")
	case 5:
		return fold(name, "range")
	case 6:
		return fold(name, "cookie") || fold(name, "expect") || fold(name, "pragma")
	case 7:
		return fold(name, "expires") || fold(name, "trailer") || fold(name, "warning")
	case 8:
		return fold(name, "if-match") || fold(name, "if-range") || fold(name, "location")
	case 10:
		return fold(name, "set-cookie")
	case 11:
		return fold(name, "retry-after")
	case 12:
		return fold(name, "content-type") || fold(name, "max-forwards")
	case 13:
		return fold(name, "authorization") || fold(name, "cache-control") ||
			fold(name, "content-range") || fold(name, "if-none-match")
	case 14:
		return fold(name, "content-length")
	case 16:
		return fold(name, "content-encoding") || fold(name, "www-authenticate")
	case 17:
		return fold(name, "if-modified-since")
	case 18:
		return fold(name, "proxy-authenticate")
	case 19:
		return fold(name, "if-unmodified-since") ||
			fold(name, "proxy-authorization")
	}
	return false
}
