package h1

// Chunk extensions (RFC 9112 §7.1.1) are read and passed over:
//
//	chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
//
// Each state says what has been read; these are states of [Body].
const (
	beforeExtension state = firstExtension + iota // space: a semicolon must follow
	semicolon                                     // ";" and space
	name                                          // part of a name
	afterName                                     // name and space
	equals                                        // "=" and space
	token                                         // part of a value that is a token
	quoted                                        // part of a value in quotes
	escaped                                       // backslash within quotes
	afterQuotes                                   // closing quote
)

// extend reads the next byte of the extensions of a chunk.
func (b *Body) extend(c byte) {
	if b.extent++; b.extent > maxExtension {
		b.fault = longExtension
		return
	}
	next, ok := b.state, false
	isToken := classes[c]&tokenByte != 0
	switch b.state {
	case beforeExtension:
		ok = isSpace(c)
		next, ok = orSemicolon(c, next, ok)
	case semicolon:
		ok = isSpace(c)
		if isToken {
			next, ok = name, true
		}
	case name, afterName:
		switch {
		case c == '=':
			next, ok = equals, true
		case isSpace(c):
			next, ok = afterName, true
		case b.state == name && isToken:
			ok = true
		case b.state == name && c == '\r':
			next, ok = sizeLF, true
		default:
			next, ok = orSemicolon(c, next, false)
		}
	case equals:
		switch {
		case c == '"':
			next, ok = quoted, true
		case isToken:
			next, ok = token, true
		default:
			ok = isSpace(c)
		}
	case token, afterQuotes:
		switch {
		case c == '\r':
			next, ok = sizeLF, true
		case isSpace(c):
			next, ok = beforeExtension, true
		case b.state == token && isToken:
			ok = true
		default:
			next, ok = orSemicolon(c, next, false)
		}
	case quoted:
		switch {
		case c == '"':
			next, ok = afterQuotes, true
		case c == '\\':
			next, ok = escaped, true
		default:
			ok = isText(c)
		}
	case escaped:
		next, ok = quoted, isText(c)
	}
	if !ok {
		b.fault = badExtension
		return
	}
	b.state = next
}

// orSemicolon moves on to the next extension if c opens it.
func orSemicolon(c byte, next state, ok bool) (state, bool) {
	if c == ';' {
		return semicolon, true
	}
	return next, ok
}

// isText says whether c may stand in a quoted string.
func isText(c byte) bool { return c >= 0x20 && c != 0x7f || c == '\t' }

// hexDigit returns the value of c, or a negative number.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	default:
		return -1
	}
}
