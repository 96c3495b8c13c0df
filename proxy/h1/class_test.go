package h1

import (
	"strings"
	"testing"
)

// TestClasses compares the table with the grammars that it stands for.
func TestClasses(t *testing.T) {
	const alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for c := range 256 {
		b := byte(c)
		isIn := func(set string) bool { return strings.IndexByte(set, b) >= 0 }
		for _, class := range []struct {
			name string
			bit  byte
			want bool
		}{
			{"token", tokenByte, isIn(alnum + "!#$%&'*+-.^_`|~")},
			{"target", targetByte, b > 0x20 && b < 0x7f && b != '#'},
			{"name", nameByte, isIn(alnum + "-._~" + "!$&'()*+,;=")},
			{"literal", literalByte, isIn("0123456789abcdefABCDEF:.")},
		} {
			if got := classes[b]&class.bit != 0; got != class.want {
				t.Errorf("byte %#02x in class %s: %v, want %v", b, class.name, got, class.want)
			}
		}
	}
}

// TestValueEnd puts every byte at every place of a word, behind bytes that make
// neighbours borrow.
func TestValueEnd(t *testing.T) {
	for _, filler := range []byte{' ', 'a', '~', 0x80, 0xff, '\t'} {
		for length := range 20 {
			for at := range length {
				for c := range 256 {
					buf := []byte(strings.Repeat(string([]byte{filler}), length))
					buf[at] = byte(c)
					want := length
					if c < 0x20 && c != '\t' || c == 0x7f {
						want = at
					}
					if got := valueEnd(buf, 0); got != want {
						t.Fatalf("valueEnd(% x) = %d, want %d", buf, got, want)
					}
				}
			}
		}
	}
}

func TestValidNameAndValue(t *testing.T) {
	for s, want := range map[string]bool{
		"": false, "X-Forwarded-For": true, "x y": false, "x:": false, "x\r": false, "é": false,
	} {
		if got := ValidName(s); got != want {
			t.Errorf("ValidName(%q) = %v", s, got)
		}
	}
	for s, want := range map[string]bool{
		"": true, "a b\tc": true, "é": true, "a\r\nX: y": false, "a\x00": false, " a": false, "a\t": false, "\x7f": false,
	} {
		if got := ValidValue(s); got != want {
			t.Errorf("ValidValue(%q) = %v", s, got)
		}
	}
}
