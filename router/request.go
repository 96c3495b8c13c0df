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
// normalisation: Host as [NormalizeHost] gives it, Path as [NormalizePath] gives
// it, Query without its question mark.
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
	if i := indexField(fields, name); i >= 0 {
		return fields[i].Value, true
	}
	return "", false
}

// indexField returns the index of the first field called name, or -1.
func indexField(fields []Field, name string) int {
	for i := range fields {
		if fields[i].named(name) {
			return i
		}
	}
	return -1
}

// named reports whether the field is called name, in any case.
func (f *Field) named(name string) bool {
	return len(f.Name) == len(name) && strings.EqualFold(f.Name, name)
}
