package router

import "strings"

// Field is one header field line (RFC 9110 §5). Name and Value may alias a
// connection's read buffer: they are valid until the exchange ends, and
// whoever keeps them longer clones them.
type Field struct {
	Name  string
	Value string
}

// Request is what [Table.Match] reads. It is filled by the data plane after
// normalisation: Host lower-case without port or trailing dot, Path the
// absolute path with dot segments removed, Query without its question mark.
type Request struct {
	Method string
	Host   string
	Path   string
	Query  string
	Fields []Field
}

// Lookup returns the value of the first field called name (in any case), and
// whether there is one. Several lines of one name are joined by the caller of
// a match, as RFC 9110 §5.3 has it.
func Lookup(fields []Field, name string) (string, bool) {
	for i := range fields {
		if len(fields[i].Name) == len(name) && strings.EqualFold(fields[i].Name, name) {
			return fields[i].Value, true
		}
	}
	return "", false
}
