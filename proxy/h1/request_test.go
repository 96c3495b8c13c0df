package h1

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// parseRequest parses one whole head.
func parseRequest(t *testing.T, head string) (*Request, error) {
	t.Helper()
	r, lim := new(Request), DefaultLimits()
	n, err := r.Parse([]byte(head), &lim)
	if err == nil && n != len(head) {
		t.Fatalf("Parse(%q) = %d, want all %d bytes", head, n, len(head))
	}
	return r, err
}

// fieldsOf makes fields of names and values in turn.
func fieldsOf(pairs ...string) (fields []Field) {
	for pair := range slices.Chunk(pairs, 2) {
		fields = append(fields, Field{Name: pair[0], Value: pair[1]})
	}
	return fields
}

// statusOf returns the status of a refusal, or 0 for nil.
func statusOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

func TestRequest(t *testing.T) {
	for _, tt := range []struct {
		name, head string
		want       Request
	}{
		{"origin-form", "GET /a/b?c=d?e HTTP/1.1\r\nHost: a.example\r\n\r\n",
			Request{Method: "GET", Target: "/a/b?c=d?e", Minor: 1, Fields: fieldsOf("Host", "a.example"), Host: "a.example", Path: "/a/b", Query: "c=d?e", KeepAlive: true}},
		{"absolute-form wins over Host", "GET http://b.example:81/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n",
			Request{Method: "GET", Target: "http://b.example:81/x?y", Minor: 1, Fields: fieldsOf("Host", "a.example"), Host: "b.example:81", Path: "/x", Query: "y", KeepAlive: true}},
		{"absolute-form without path", "GET HTTPS://b.example?y HTTP/1.1\r\nHost: a.example\r\n\r\n",
			Request{Method: "GET", Target: "HTTPS://b.example?y", Minor: 1, Fields: fieldsOf("Host", "a.example"), Host: "b.example", Path: "/", Query: "y", KeepAlive: true}},
		{"asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n",
			Request{Method: "OPTIONS", Target: "*", Minor: 1, Fields: fieldsOf("Host", "a.example"), Host: "a.example", Path: "*", KeepAlive: true}},
		{"OPTIONS of a server in absolute-form", "OPTIONS http://b.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
			Request{Method: "OPTIONS", Target: "http://b.example", Minor: 1, Fields: fieldsOf("Host", "a.example"), Host: "b.example", Path: "*", KeepAlive: true}},
		{"authority-form", "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n",
			Request{Method: "CONNECT", Target: "[2001:db8::1]:443", Minor: 1, Fields: fieldsOf("Host", "a.example", "Content-Length", "0"), Host: "[2001:db8::1]:443", KeepAlive: true}},
		{"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n",
			Request{Method: "GET", Target: "/", Path: "/"}},
		{"HTTP/1.0 that persists", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
			Request{Method: "GET", Target: "/", Path: "/", Fields: fieldsOf("Connection", "Keep-Alive"), KeepAlive: true}},
		{"HTTP/1.1 that closes", "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: x, ,\t CLOSE\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Connection", "x, ,\t CLOSE")}},
		{"close wins over keep-alive", "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Connection", "keep-alive", "Connection", "close")}},
		{"length", "POST / HTTP/1.1\r\nHost: a.example\r\ncontent-LENGTH:\t007 \r\n\r\n",
			Request{Method: "POST", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "content-LENGTH", "007"), Framing: Length, Length: 7, KeepAlive: true}},
		{"largest length", "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9223372036854775807\r\n\r\n",
			Request{Method: "POST", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Content-Length", "9223372036854775807"), Framing: Length, Length: 1<<63 - 1, KeepAlive: true}},
		{"chunked and 100-continue", "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n",
			Request{Method: "POST", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Transfer-Encoding", "Chunked", "Expect", "100-Continue"), Framing: Chunked, Expect100: true, KeepAlive: true}},
		{"100-continue without content", "GET / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Expect", "100-continue"), KeepAlive: true}},
		{"100-continue in HTTP/1.0", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
			Request{Method: "POST", Target: "/", Path: "/", Fields: fieldsOf("Expect", "100-continue", "Content-Length", "1"), Framing: Length, Length: 1}},
		{"upgrade", "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Upgrade", "websocket", "Connection", "keep-alive, Upgrade"), Upgrade: "websocket", KeepAlive: true}},
		{"upgrade that Connection does not list", "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Upgrade", "websocket"), KeepAlive: true}},
		{"upgrade passes over h2c", "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: h2c , websocket, x\r\nConnection: upgrade\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Upgrade", "h2c , websocket, x", "Connection", "upgrade"), Upgrade: "websocket", KeepAlive: true}},
		{"upgrade to h2c only", "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: H2C\r\nConnection: upgrade, HTTP2-Settings\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Upgrade", "H2C", "Connection", "upgrade, HTTP2-Settings"), KeepAlive: true}},
		{"upgrade passes over what is no protocol", "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: foo h2c, /1, a/, a/b/c, h2c/1, HTTP/3\r\nConnection: upgrade\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Upgrade", "foo h2c, /1, a/, a/b/c, h2c/1, HTTP/3", "Connection", "upgrade"), Upgrade: "HTTP/3", KeepAlive: true}},
		{"as many options in Connection as may be", "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: " + strings.Repeat("x,", 16) + "\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "Connection", strings.Repeat("x,", 16)), KeepAlive: true}},
		{"values", "GET / HTTP/1.1\r\nHost:a.example\r\nA:\r\nB: \t \r\nC: \tx\ty \t\r\nD: caf\xc3\xa9\r\nE:::\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example", "A", "", "B", "", "C", "x\ty", "D", "café", "E", "::"), KeepAlive: true}},
		{"empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example"), KeepAlive: true}},
		{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n",
			Request{Method: "GET", Target: "/", Minor: 1, Path: "/", Fields: fieldsOf("Host", ""), KeepAlive: true}},
		{"any token is a method, by case", "!get / HTTP/1.1\r\nHost: a.example\r\n\r\n",
			Request{Method: "!get", Target: "/", Minor: 1, Path: "/", Host: "a.example", Fields: fieldsOf("Host", "a.example"), KeepAlive: true}},
		{"path as sent", "GET //a/../%2F\\|{}\"? HTTP/1.1\r\nHost: a.example\r\n\r\n",
			Request{Method: "GET", Target: "//a/../%2F\\|{}\"?", Minor: 1, Path: "//a/../%2F\\|{}\"", Host: "a.example", Fields: fieldsOf("Host", "a.example"), KeepAlive: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseRequest(t, tt.head)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got, cmpopts.IgnoreUnexported(Request{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRequestHost(t *testing.T) {
	for host, want := range map[string]bool{
		"a.example": true, "A.example:8080": true, "a.example:": true, "a_b.example": true, "127.0.0.1:80": true,
		"[::1]": true, "[::1]:80": true, "[2001:DB8::1.2.3.4]": true, "a:65535": true, "x!$&'()*+,;=~": true,
		"a b": false, "a/b": false, "a@b": false, "a?b": false, "a#b": false, "a\\b": false, "a%20b": false, "a,b c": false,
		"a:b": false, "a:80:80": false, "a:65536": false, "a:123456": false, "a:+80": false, "a:-1": false, ":80": false,
		"[::1": false, "[]": false, "[::1]x": false, "[::1]80": false, "[::1%25eth0]": false, "[v1.x]": false, "::1": false,
		"caf\xc3\xa9.example": false, "a\"": false, "<a>": false, "a|b": false, "a^b": false, "a`b": false, "a{b}": false,
	} {
		_, err := parseRequest(t, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if got := err == nil; got != want {
			t.Errorf("Host %q accepted: %v (%v)", host, got, err)
		}
	}
}

// TestRequestRefused has one head a mistake; each is refused with a status and
// nothing else can be read from it.
func TestRequestRefused(t *testing.T) {
	const get, end = "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n"
	for _, tt := range []struct {
		name, head string
		want       int
	}{
		// RFC 9112 §2.2
		{"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
		{"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
		{"bare LF at the end", get + "\n", 400},
		{"bare LF first", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"bare CR first", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"bare CR in a value", get + "X: a\rb\r\n" + end, 400},
		{"bare CR before the end", get + "\r\r\n", 400},
		{"CR CR LF", get + "X: a\r\r\n" + end, 400},
		{"three empty lines first", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"space before the method", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"folded line first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
		// §2.3
		{"HTTP/2", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
		{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
		{"HTTP/0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505},
		{"no minor version", "GET / HTTP/1\r\nHost: a\r\n\r\n", 400},
		{"two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
		{"lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
		{"other protocol", "GET / ICAP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no version", "GET /\r\nHost: a\r\n\r\n", 400},
		{"space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
		{"tls", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
		// §3
		{"two spaces after the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"tab", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"method is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no method", "/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		// §3.2
		{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"control byte in the target", "GET /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"delete in the target", "GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"not ASCII in the target", "GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"relative target", "GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"query alone", "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"asterisk-form of GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"asterisk and more", "OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"authority-form of GET", "GET a.example:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"CONNECT to a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"CONNECT without port", "CONNECT a.example HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"CONNECT with empty port", "CONNECT a.example: HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"CONNECT with a length", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 400},
		{"CONNECT with chunks", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"unknown scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no authority", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"port alone", "GET http://:80/a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"user information", "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"no Host with absolute-form", "GET http://a/ HTTP/1.1\r\n\r\n", 400},
		{"bad Host with absolute-form", "GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n", 400},
		{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400},
		{"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		// §5
		{"space before the colon", get + "X : a\r\n" + end, 400},
		{"tab before the colon", get + "X\t: a\r\n" + end, 400},
		{"no colon", get + "X\r\n" + end, 400},
		{"no name", get + ": a\r\n" + end, 400},
		{"name is no token", get + "X(: a\r\n" + end, 400},
		{"name is not ASCII", get + "\xc3\xa9: a\r\n" + end, 400},
		{"folded value", get + "X: a\r\n b\r\n" + end, 400},
		{"folded value by tab", get + "X: a\r\n\tb\r\n" + end, 400},
		{"folded empty value", get + "X:\r\n \r\n" + end, 400},
		{"NUL in a value", get + "X: a\x00\r\n" + end, 400},
		{"vertical tab in a value", get + "X: \x0b\r\n" + end, 400},
		{"delete in a value", get + "X: \x7f\r\n" + end, 400},
		{"long Connection", get + "Connection: " + strings.Repeat("x", 1024) + "\r\nConnection: x\r\n" + end, 431},
		{"many options in Connection", get + "Connection: " + strings.Repeat("x,", 12) + "\r\nConnection: a,,,,b\r\n" + end, 431},
		// §6.1
		{"unknown coding", get + "Transfer-Encoding: gzip\r\n" + end, 501},
		{"coding before chunked", get + "Transfer-Encoding: gzip, chunked\r\n" + end, 501},
		{"identity", get + "Transfer-Encoding: identity\r\n" + end, 501},
		{"no coding", get + "Transfer-Encoding:\r\n" + end, 501},
		{"chunked twice", get + "Transfer-Encoding: chunked, chunked\r\n" + end, 501},
		{"chunked with a parameter", get + "Transfer-Encoding: chunked;q=1\r\n" + end, 501},
		{"chunked in quotes", get + "Transfer-Encoding: \"chunked\"\r\n" + end, 501},
		{"two codings", get + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + end, 400},
		{"chunked, then another line", get + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" + end, 400},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"length and chunked", get + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n" + end, 400},
		{"chunked and length", get + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n" + end, 400},
		// §6.2
		{"length repeated", get + "Content-Length: 1\r\nContent-Length: 1\r\n" + end, 400},
		{"lengths that differ", get + "Content-Length: 1\r\nContent-Length: 2\r\n" + end, 400},
		{"list of lengths", get + "Content-Length: 1, 1\r\n" + end, 400},
		{"signed", get + "Content-Length: +1\r\n" + end, 400},
		{"negative", get + "Content-Length: -1\r\n" + end, 400},
		{"hexadecimal", get + "Content-Length: 0x1\r\n" + end, 400},
		{"fraction", get + "Content-Length: 1.0\r\n" + end, 400},
		{"underscore", get + "Content-Length: 1_0\r\n" + end, 400},
		{"inner space", get + "Content-Length: 1 0\r\n" + end, 400},
		{"no digits", get + "Content-Length:\r\n" + end, 400},
		{"one beyond int64", get + "Content-Length: 9223372036854775808\r\n" + end, 400},
		{"nineteen nines", get + "Content-Length: 9999999999999999999\r\n" + end, 400},
		{"beyond uint64", get + "Content-Length: 18446744073709551617\r\n" + end, 400},
		{"not ASCII digits", get + "Content-Length: \xd9\xa1\r\n" + end, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseRequest(t, tt.head)
			if got := statusOf(err); got != tt.want {
				t.Errorf("%q: status %d, want %d (%v)", tt.head, got, tt.want, err)
			}
		})
	}
}

// TestRequestLimits has heads at each limit, and one byte or field above it.
func TestRequestLimits(t *testing.T) {
	lim := Limits{Line: 40, Head: 120, Fields: 3}
	line := func(n int) string { // a request line of n bytes
		return "GET /" + strings.Repeat("a", n-len("GET / HTTP/1.1\r\n")) + " HTTP/1.1\r\n"
	}
	head := func(n int) string { // a head of n bytes
		const before = "GET / HTTP/1.1\r\nHost: a\r\nX: "
		return before + strings.Repeat("a", n-len(before)-4) + "\r\n\r\n"
	}
	for _, tt := range []struct {
		name, head string
		want       int
	}{
		{"line at the limit", line(40) + "Host: a\r\n\r\n", 0},
		{"line over the limit", line(41) + "Host: a\r\n\r\n", 414},
		{"line far over the limit", line(4000) + "Host: a\r\n\r\n", 414},
		{"bad line over the limit", "GET / \x00" + line(41) + "Host: a\r\n\r\n", 414},
		{"line without end", "GET /" + strings.Repeat("a", 36), 414},
		{"head at the limit", head(120), 0},
		{"head over the limit", head(121), 431},
		{"empty line over the limit", head(120)[:118] + "a\r\n\r\n", 431},
		{"head without end", head(130)[:121], 431},
		{"name without end", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a", 100), 431},
		{"fields at the limit", "GET / HTTP/1.1\r\nHost: a\r\nB: b\r\nC: c\r\n\r\n", 0},
		{"fields over the limit", "GET / HTTP/1.1\r\nHost: a\r\nB: b\r\nC: c\r\nD: d\r\n\r\n", 431},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Request
			n, err := r.Parse([]byte(tt.head), &lim)
			if got := statusOf(err); got != tt.want || got == 0 && n != len(tt.head) {
				t.Errorf("Parse = %d, %v; want status %d", n, err, tt.want)
			}
		})
	}
}

func TestHopByHop(t *testing.T) {
	r, err := parseRequest(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret\r\nConnection:x-other , host, Content-Length\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"connection": true, "Keep-Alive": true, "PROXY-Connection": true, "TE": true, "Transfer-Encoding": true, "Upgrade": true,
		"x-secret": true, "X-Other": true,
		"Host": false, "Content-Length": false, "Trailer": false, "Cookie": false, "X": false, "close": true,
	} {
		if got := r.HopByHop(name); got != want {
			t.Errorf("HopByHop(%q) = %v", name, got)
		}
	}
	if IsHopByHop("X-Secret") {
		t.Error("IsHopByHop knows what a message nominates")
	}
}

// TestRequestReset shows that a Request that saw half a head of one connection
// carries nothing of it to the next, even in the same buffer.
func TestRequestReset(t *testing.T) {
	lim := DefaultLimits()
	buf := make([]byte, 0, 200)
	var r Request
	buf = append(buf, "POST /secret HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX"...)
	if n, err := r.Parse(buf, &lim); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	r.Reset()
	buf = append(buf[:0], "GET / HTTP/1.1\r\nHost: b\r\nAccept: text/plain, and what makes it longer\r\n\r\n"...)
	n, err := r.Parse(buf, &lim)
	if n != len(buf) || err != nil {
		t.Fatal(n, err)
	}
	if r.Host != "b" || r.Framing != NoBody || len(r.Fields) != 2 {
		t.Errorf("%+v", r)
	}
}
