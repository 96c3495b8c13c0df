package h1

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// Bits of a byte's entry in classes.
const (
	tokenByte   = 1 << iota // tchar (RFC 9110 §5.6.2)
	targetByte              // visible ASCII without "#": a target never has a fragment (RFC 9112 §3.2)
	nameByte                // of a registered name in Host: unreserved and sub-delims (RFC 3986 §3.2.2), not percent
	literalByte             // between the brackets of an IPv6 address
)

// classes has one character a byte value, sixteen a row; the low four bits of
// the character are the byte's classes. It is a string because a string is
// constant.
const classes = "" +
	"0000000000000000" + // 00
	"0000000000000000" + // 10
	"07217377667767?2" + // 20
	"??????????:62622" + // 30
	"2??????777777777" + // 40
	"7777777777722237" + // 50
	"3??????777777777" + // 60
	"7777777777723270" + // 70
	"0000000000000000" + // 80
	"0000000000000000" + // 90
	"0000000000000000" + // a0
	"0000000000000000" + // b0
	"0000000000000000" + // c0
	"0000000000000000" + // d0
	"0000000000000000" + // e0
	"0000000000000000" // f0

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// valueEnd returns the index of the first byte of buf[i:] that is a control
// character other than HTAB, or len(buf). Eight bytes are tested at a time: a
// byte below 0x20 or equal to 0x7f sets its high bit in m, and the lowest bit
// set is exact since borrows only run upwards.
func valueEnd(buf []byte, i int) int {
	for {
		for i+8 <= len(buf) {
			w := binary.LittleEndian.Uint64(buf[i:])
			m := ((w - 0x20*ones) | ((w ^ 0x7f*ones) - ones)) &^ w & highs
			if m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		for i < len(buf) && buf[i] >= 0x20 && buf[i] != 0x7f {
			i++
		}
		if i == len(buf) || buf[i] != '\t' {
			return i
		}
		i++
	}
}

// text returns buf[from:to] as a string that aliases buf.
func text(buf []byte, from, to int) string {
	b := buf[from:to]
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// fold says whether s, made of token bytes, is lower in any case. lower holds
// lower-case letters, digits and hyphens only.
func fold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		if s[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// ValidName says whether s may be a field name: a token (RFC 9110 §5.1). The
// parsers have checked what they hand out; this is for names from elsewhere.
func ValidName(s string) bool {
	for i := range len(s) {
		if classes[s[i]]&tokenByte == 0 {
			return false
		}
	}
	return s != ""
}

// ValidLowerName says whether s may be a field name of HTTP/2: a token without upper case
// (RFC 9113 §8.2.1).
func ValidLowerName(s string) bool {
	for i := range len(s) {
		if c := s[i]; classes[c]&tokenByte == 0 || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return s != ""
}

// AppendLowerName appends a field name in lower case, and says whether it may be one.
func AppendLowerName(dst []byte, name string) (lower []byte, ok bool) {
	for i := range len(name) {
		c := name[i]
		if classes[c]&tokenByte == 0 {
			return dst, false
		}
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst, name != ""
}

// ValidTarget says whether s consists of what may stand in a request target.
func ValidTarget(s string) bool {
	for i := range len(s) {
		if classes[s[i]]&targetByte == 0 {
			return false
		}
	}
	return true
}

// ValidValue says whether s may be a field value: no control character but HTAB,
// and no white space at either end (RFC 9110 §5.5).
func ValidValue(s string) bool {
	if s == "" {
		return true
	}
	if isSpace(s[0]) || isSpace(s[len(s)-1]) {
		return false
	}
	return valueEnd(unsafe.Slice(unsafe.StringData(s), len(s)), 0) == len(s)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }
