package h2

// staticLen is the number of entries of the static table (RFC 7541 Appendix A).
const staticLen = 61

// staticEntry returns entry i of the static table, 1 to staticLen.
func staticEntry(i uint64) (name, value string) {
	if i < 32 {
		return staticLow(i)
	}
	return staticHigh(i)
}

func staticLow(i uint64) (name, value string) {
	switch i {
	case 1:
		return ":authority", ""
	case 2:
		return ":method", "GET"
	case 3:
		return ":method", "POST"
	case 4:
		return ":path", "/"
	case 5:
		return ":path", "/index.html"
	case 6:
		return ":scheme", "http"
	case 7:
		return ":scheme", "https"
	case 8:
		return ":status", "200"
	case 9:
		return ":status", "204"
	case 10:
		return ":status", "206"
	case 11:
		return ":status", "304"
	case 12:
		return ":status", "400"
	case 13:
		return ":status", "404"
	case 14:
		return ":status", "500"
	case 15:
		return "accept-charset", ""
	case 16:
		return "accept-encoding", "gzip, deflate"
	case 17:
		return "accept-language", ""
	case 18:
		return "accept-ranges", ""
	case 19:
		return "accept", ""
	case 20:
		return "access-control-allow-origin", ""
	case 21:
		return "age", ""
	case 22:
		return "allow", ""
	case 23:
		return "authorization", ""
	case 24:
		return "cache-control", ""
	case 25:
		return "content-disposition", ""
	case 26:
		return "content-encoding", ""
	case 27:
		return "content-language", ""
	case 28:
		return "content-length", ""
	case 29:
		return "content-location", ""
	case 30:
		return "content-range", ""
	case 31:
		return "content-type", ""
	}
	panic("h2: no such static entry")
}

func staticHigh(i uint64) (name, value string) {
	switch i {
	case 32:
		return "cookie", ""
	case 33:
		return "date", ""
	case 34:
		return "etag", ""
	case 35:
		return "expect", ""
	case 36:
		return "expires", ""
	case 37:
		return "from", ""
	case 38:
		return "host", ""
	case 39:
		return "if-match", ""
	case 40:
		return "if-modified-since", ""
	case 41:
		return "if-none-match", ""
	case 42:
		return "if-range", ""
	case 43:
		return "if-unmodified-since", ""
	case 44:
		return "last-modified", ""
	case 45:
		return "link", ""
	case 46:
		return "location", ""
	case 47:
		return "max-forwards", ""
	case 48:
		return "proxy-authenticate", ""
	case 49:
		return "proxy-authorization", ""
	case 50:
		return "range", ""
	case 51:
		return "referer", ""
	case 52:
		return "refresh", ""
	case 53:
		return "retry-after", ""
	case 54:
		return "server", ""
	case 55:
		return "set-cookie", ""
	case 56:
		return "strict-transport-security", ""
	case 57:
		return "transfer-encoding", ""
	case 58:
		return "user-agent", ""
	case 59:
		return "vary", ""
	case 60:
		return "via", ""
	case 61:
		return "www-authenticate", ""
	}
	panic("h2: no such static entry")
}

// staticName returns the first entry with a name, 0 if there is none.
func staticName(name []byte) uint64 {
	if len(name) <= 10 {
		return staticShort(name)
	}
	return staticLong(name)
}

func staticShort(name []byte) uint64 {
	switch string(name) {
	case ":authority":
		return 1
	case ":method":
		return 2
	case ":path":
		return 4
	case ":scheme":
		return 6
	case ":status":
		return 8
	case "accept":
		return 19
	case "age":
		return 21
	case "allow":
		return 22
	case "cookie":
		return 32
	case "date":
		return 33
	case "etag":
		return 34
	case "expect":
		return 35
	case "expires":
		return 36
	case "from":
		return 37
	case "host":
		return 38
	case "if-match":
		return 39
	case "if-range":
		return 42
	case "link":
		return 45
	case "location":
		return 46
	case "range":
		return 50
	case "referer":
		return 51
	case "refresh":
		return 52
	case "server":
		return 54
	case "set-cookie":
		return 55
	case "user-agent":
		return 58
	case "vary":
		return 59
	case "via":
		return 60
	}
	return 0
}

func staticLong(name []byte) uint64 {
	switch string(name) {
	case "accept-charset":
		return 15
	case "accept-encoding":
		return 16
	case "accept-language":
		return 17
	case "accept-ranges":
		return 18
	case "access-control-allow-origin":
		return 20
	case "authorization":
		return 23
	case "cache-control":
		return 24
	case "content-disposition":
		return 25
	case "content-encoding":
		return 26
	case "content-language":
		return 27
	case "content-length":
		return 28
	case "content-location":
		return 29
	case "content-range":
		return 30
	case "content-type":
		return 31
	case "if-modified-since":
		return 40
	case "if-none-match":
		return 41
	case "if-unmodified-since":
		return 43
	case "last-modified":
		return 44
	case "max-forwards":
		return 47
	case "proxy-authenticate":
		return 48
	case "proxy-authorization":
		return 49
	case "retry-after":
		return 53
	case "strict-transport-security":
		return 56
	case "transfer-encoding":
		return 57
	case "www-authenticate":
		return 61
	}
	return 0
}
