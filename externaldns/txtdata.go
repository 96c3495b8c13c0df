package externaldns

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// maxString is how many octets a string of a TXT record has at most (RFC 1035 section
// 3.3.14).
const maxString = 255

// TextStrings cuts a text into the strings of a TXT record, escaped as in a zone file
// (section 5.1 there), which is how package dns keeps them.
func TextStrings(text string) []string {
	var all []string
	for len(text) > maxString {
		all, text = append(all, escape(text[:maxString])), text[maxString:]
	}
	return append(all, escape(text))
}

// TextOf is the inverse of TextStrings: it joins the strings of a TXT record.
func TextOf(escaped []string) string {
	var b strings.Builder
	for _, s := range escaped {
		for i := 0; i < len(s); i++ {
			switch {
			case s[i] != '\\' || i+1 == len(s):
				b.WriteByte(s[i])
			case i+3 < len(s) && isDigits(s[i+1:i+4]):
				b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
				i += 3
			default:
				i++
				b.WriteByte(s[i])
			}
		}
	}
	return b.String()
}

// ParseText returns the text of a TXT record that is written as in a zone file: strings in
// quotes. One without quotes is the text itself.
func ParseText(content string) string {
	if !strings.HasPrefix(content, `"`) {
		return content
	}
	rr, err := dns.NewRR(". 0 IN TXT " + content)
	if err != nil {
		return content
	}
	text, is := rr.(*dns.TXT)
	if !is {
		return content
	}
	return TextOf(text.Txt)
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func escape(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
