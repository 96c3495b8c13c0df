package h1

// Chunk extensions (RFC 9112 §7.1.1) are checked and passed over:
//
//	chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
//
// These are the states of [Body] between a chunk size and the LF of its line.
const (
	beforeSemicolon state = firstExtension + iota // space, which a semicolon must follow
	afterSemicolon                                // ";" and maybe space
	inName                                        // part of a name
	afterName                                     // a name and space
	afterEquals                                   // "=" and maybe space
	inToken                                       // part of a value that is a token
	inQuotes                                      // part of a value in quotes
	afterBackslash                                // a backslash in quotes
	afterQuotes                                   // the closing quote
	refused                                       // what the grammar has no place for
)

// extend reads the next byte of the extensions of a chunk.
func (b *Body) extend(c byte) {
	if b.extent++; b.extent > maxExtension {
		b.fault = longExtension
		return
	}
	b.state = extended(b.state, c)
	if b.state == refused {
		b.fault = badExtension
	}
}

// extended returns the state that byte c leads to from s.
func extended(s state, c byte) state {
	token := classes[c]&tokenByte != 0
	switch s {
	case beforeSemicolon:
		return separated(c, beforeSemicolon)
	case afterSemicolon:
		switch {
		case token:
			return inName
		case isSpace(c):
			return afterSemicolon
		}
	case inName, afterName:
		switch {
		case token && s == inName:
			return inName
		case c == '\r' && s == inName:
			return sizeLF
		case c == '=':
			return afterEquals
		}
		return separated(c, afterName)
	case afterEquals:
		switch {
		case token:
			return inToken
		case c == '"':
			return inQuotes
		case isSpace(c):
			return afterEquals
		}
	case inToken, afterQuotes:
		switch {
		case token && s == inToken:
			return inToken
		case c == '\r':
			return sizeLF
		}
		return separated(c, beforeSemicolon)
	case inQuotes, afterBackslash:
		switch {
		case c == '"' && s == inQuotes:
			return afterQuotes
		case c == '\\' && s == inQuotes:
			return afterBackslash
		case isText(c):
			return inQuotes
		}
	}
	return refused
}

// separated is the state after c where an extension may end: a semicolon opens
// the next one, and space leads to spaced.
func separated(c byte, spaced state) state {
	switch {
	case c == ';':
		return afterSemicolon
	case isSpace(c):
		return spaced
	default:
		return refused
	}
}

// isText says whether c may stand in a quoted string.
func isText(c byte) bool { return c >= 0x20 && c != 0x7f || c == '\t' }
