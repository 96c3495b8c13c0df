package router

import (
	"slices"
	"strings"
)

// Apply changes fields in place and returns them; the slice may have moved. On a
// nil filter it returns fields as they are.
//
// Set leaves one line of a name. Add appends to the last line of a name, after a
// comma, as HTTPHeaderFilter has it, and makes a line where there is none.
func (f *HeaderFilter) Apply(fields []Field) []Field {
	if f == nil {
		return fields
	}
	for _, set := range f.Set {
		fields = setField(fields, set)
	}
	for _, add := range f.Add {
		fields = addField(fields, add)
	}
	for _, name := range f.Remove {
		fields = removeField(fields, name)
	}
	return fields
}

// setField gives the first line of the name the value and drops the others.
func setField(fields []Field, set Field) []Field {
	i := indexField(fields, set.Name)
	if i < 0 {
		return append(fields, set)
	}
	fields[i] = set
	rest := removeField(fields[i+1:], set.Name)
	return fields[:i+1+len(rest)]
}

// addField appends to the value of the name. Set-Cookie alone always gets a line
// of its own: its values cannot be joined (RFC 9110 §5.3).
func addField(fields []Field, add Field) []Field {
	if strings.EqualFold(add.Name, "Set-Cookie") {
		return append(fields, add)
	}
	for i := range slices.Backward(fields) {
		if !fields[i].named(add.Name) {
			continue
		}
		if fields[i].Value == "" {
			fields[i].Value = add.Value
		} else {
			fields[i].Value += "," + add.Value
		}
		return fields
	}
	return append(fields, add)
}

// removeField drops every line of the name, in place.
func removeField(fields []Field, name string) []Field {
	return slices.DeleteFunc(fields, func(f Field) bool { return f.named(name) })
}
