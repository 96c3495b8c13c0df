package router

import (
	"strconv"
	"strings"
)

// Apply changes a normalised path that match matched, by the table in
// HTTPPathModifier's documentation. A ReplacePrefix on any other match than a
// prefix leaves the path as it is. The result always begins with a slash.
func (m PathModifier) Apply(path string, match PathMatch) string {
	switch m.Kind {
	case ReplaceFullPath:
		return absolute(m.Value)
	case ReplacePrefix:
		rest, ok := strings.CutPrefix(path, compilePath(match))
		if !ok || match.Kind != PathPrefix {
			return path
		}
		if rest == "" {
			return absolute(m.Value)
		}
		return absolute(strings.TrimSuffix(m.Value, "/") + rest)
	default:
		return path
	}
}

// absolute puts a slash before a path that begins with none.
func absolute(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return "/" + path
}

// Location returns the value of the redirect's Location field for a request that
// match matched. The query stays as it came. Without any hostname (an HTTP/1.0
// request may have none) it is the path alone.
func (r *Redirect) Location(from *Request, match PathMatch) string {
	var b strings.Builder
	path := r.Path.Apply(from.Path, match)
	host := r.Hostname
	if host == "" {
		host = from.Host
	}
	b.Grow(len("https://:65535/.?") + len(host) + len(path) + len(from.Query))
	if host != "" {
		b.WriteString(r.Scheme)
		b.WriteString("://")
		b.WriteString(host)
		if r.Port != 0 {
			b.WriteByte(':')
			b.WriteString(strconv.Itoa(r.Port))
		}
	} else if strings.HasPrefix(path, "//") {
		b.WriteString("/.") // or else the path would be read as a host (RFC 3986 §4.2)
	}
	b.WriteString(path)
	if from.Query != "" {
		b.WriteByte('?')
		b.WriteString(from.Query)
	}
	return b.String()
}
