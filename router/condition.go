package router

import "strings"

// holds reports whether r meets every condition but that of the path.
func (m *Match) holds(r *Request) bool {
	if m.Method != "" && m.Method != r.Method {
		return false
	}
	for i := range m.Headers {
		if !m.Headers[i].matchFields(r.Fields) {
			return false
		}
	}
	for i := range m.Query {
		if !m.Query[i].matchQuery(r.Query) {
			return false
		}
	}
	return true
}

// matchFields compares the value of the field called m.Name. Several lines of one
// name count as one value, joined by commas (RFC 9110 §5.3).
func (m *ValueMatch) matchFields(fields []Field) bool {
	first := indexField(fields, m.Name)
	if first < 0 {
		return false
	}
	fields = fields[first:]
	if indexField(fields[1:], m.Name) < 0 {
		return m.matchValue(fields[0].Value)
	}
	if m.Regexp != nil {
		return m.Regexp.MatchString(joinFields(fields, m.Name))
	}
	return equalJoined(fields, m)
}

// matchValue compares a value that is in one piece.
func (m *ValueMatch) matchValue(value string) bool {
	if m.Regexp != nil {
		return m.Regexp.MatchString(value)
	}
	return m.Value == value
}

// equalJoined compares the joined values of the lines called m.Name with m.Value,
// piece by piece.
func equalJoined(fields []Field, m *ValueMatch) bool {
	want, ok := strings.CutPrefix(m.Value, fields[0].Value)
	for i := indexField(fields[1:], m.Name); ok && i >= 0; i = indexField(fields[1:], m.Name) {
		fields = fields[i+1:]
		if want, ok = strings.CutPrefix(want, ","); ok {
			want, ok = strings.CutPrefix(want, fields[0].Value)
		}
	}
	return ok && want == ""
}

// joinFields joins the values of all lines called name.
func joinFields(fields []Field, name string) string {
	var values []string
	for i := range fields {
		if fields[i].named(name) {
			values = append(values, fields[i].Value)
		}
	}
	return strings.Join(values, ",")
}

// matchQuery compares the first parameter called m.Name.
func (m *ValueMatch) matchQuery(query string) bool {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		if !equalDecoded(name, m.Name) {
			continue
		}
		if m.Regexp != nil {
			return m.Regexp.MatchString(decodeQuery(value))
		}
		return equalDecoded(value, m.Value)
	}
	return false
}

// equalDecoded reports whether raw, a name or value of a query, stands for want.
func equalDecoded(raw, want string) bool {
	for raw != "" {
		c, size := firstDecoded(raw)
		if want == "" || want[0] != c {
			return false
		}
		raw, want = raw[size:], want[1:]
	}
	return want == ""
}

// decodeQuery returns what raw, a name or value of a query, stands for.
func decodeQuery(raw string) string {
	if !strings.ContainsAny(raw, "%+") {
		return raw
	}
	var b strings.Builder
	b.Grow(len(raw))
	for raw != "" {
		c, size := firstDecoded(raw)
		b.WriteByte(c)
		raw = raw[size:]
	}
	return b.String()
}

// firstDecoded returns the first byte that raw stands for, and how many bytes of
// raw say so. A percent sign that begins no escape stands for itself, as in the
// URL standard's application/x-www-form-urlencoded.
func firstDecoded(raw string) (c byte, size int) {
	switch raw[0] {
	case '+':
		return ' ', 1
	case '%':
		if c, ok := unescape(raw); ok {
			return c, 3
		}
	}
	return raw[0], 1
}
