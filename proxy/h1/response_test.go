package h1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestResponse(t *testing.T) {
	for _, tt := range []struct {
		name, method, head string
		want               Response
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
			Response{Minor: 1, Status: 200, Reason: "OK", Fields: fieldsOf("Content-Length", "5"), Framing: Length, Length: 5, KeepAlive: true}},
		{"chunked", "GET", "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
			Response{Minor: 1, Status: 404, Reason: "Not Found", Fields: fieldsOf("Transfer-Encoding", "chunked", "Connection", "close"), Framing: Chunked}},
		{"until close", "GET", "HTTP/1.1 200 \r\n\r\n", Response{Minor: 1, Status: 200, Framing: UntilClose}},
		{"no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
			Response{Minor: 1, Status: 200, Fields: fieldsOf("Content-Length", "0"), Framing: Length, KeepAlive: true}},
		{"reason as sent", "GET", "HTTP/1.1 299 caf\xc3\xa9\t au lait \r\n\r\n",
			Response{Minor: 1, Status: 299, Reason: "café\t au lait ", Framing: UntilClose}},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
			Response{Status: 200, Reason: "OK", Fields: fieldsOf("Content-Length", "1"), Framing: Length, Length: 1}},
		{"HTTP/1.0 that persists", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n",
			Response{Status: 200, Reason: "OK", Fields: fieldsOf("Content-Length", "1", "Connection", "keep-alive"), Framing: Length, Length: 1, KeepAlive: true}},
		{"HEAD keeps the length as a field", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
			Response{Minor: 1, Status: 200, Reason: "OK", Fields: fieldsOf("Content-Length", "5"), KeepAlive: true}},
		{"HEAD of a chunked body", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
			Response{Minor: 1, Status: 200, Reason: "OK", Fields: fieldsOf("Transfer-Encoding", "chunked"), KeepAlive: true}},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
			Response{Minor: 1, Status: 304, Reason: "Not Modified", Fields: fieldsOf("Content-Length", "5"), KeepAlive: true}},
		{"204", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
			Response{Minor: 1, Status: 204, Reason: "No Content", Fields: fieldsOf("Content-Length", "0"), KeepAlive: true}},
		{"204 that states a body can't be trusted", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
			Response{Minor: 1, Status: 204, Reason: "No Content", Fields: fieldsOf("Content-Length", "3")}},
		{"204 that states chunks can't be trusted", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
			Response{Minor: 1, Status: 204, Reason: "No Content", Fields: fieldsOf("Transfer-Encoding", "chunked")}},
		{"100", "POST", "HTTP/1.1 100 Continue\r\n\r\n", Response{Minor: 1, Status: 100, Reason: "Continue", KeepAlive: true}},
		{"101", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
			Response{Minor: 1, Status: 101, Reason: "Switching Protocols", Fields: fieldsOf("Upgrade", "websocket", "Connection", "Upgrade"), Upgrade: "websocket", KeepAlive: true}},
		{"CONNECT", "CONNECT", "HTTP/1.1 200 OK\r\n\r\n", Response{Minor: 1, Status: 200, Reason: "OK", KeepAlive: true}},
		{"CONNECT that fails", "CONNECT", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n",
			Response{Minor: 1, Status: 403, Reason: "Forbidden", Fields: fieldsOf("Content-Length", "2"), Framing: Length, Length: 2, KeepAlive: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, lim := new(Response), DefaultLimits()
			n, err := got.Parse([]byte(tt.head), &lim, tt.method)
			if err != nil || n != len(tt.head) {
				t.Fatal(n, err)
			}
			if diff := cmp.Diff(&tt.want, got, cmpopts.IgnoreUnexported(Response{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestResponseRefused(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, head := range map[string]string{
		"empty line first":       "\r\n" + ok + "\r\n",
		"bare LF":                "HTTP/1.1 200 OK\nA: b\r\n\r\n",
		"short line":             "HTTP/1.1\r\n\r\n",
		"other version":          "HTTP/2.0 200 OK\r\n\r\n",
		"other protocol":         "SSH-2.0-x 200\r\n\r\n",
		"two spaces":             "HTTP/1.1  200 OK\r\n\r\n",
		"two digits":             "HTTP/1.1 20 OK\r\n\r\n",
		"four digits":            "HTTP/1.1 2000 OK\r\n\r\n",
		"below 100":              "HTTP/1.1 099 OK\r\n\r\n",
		"signed":                 "HTTP/1.1 +20 OK\r\n\r\n",
		"no space before reason": "HTTP/1.1 200OK\r\n\r\n",
		"NUL in the reason":      "HTTP/1.1 200 O\x00K\r\n\r\n",
		"bare CR in the reason":  "HTTP/1.1 200 O\rK\r\n\r\n",
		"space before the colon": ok + "A : b\r\n\r\n",
		"folded value":           ok + "A: b\r\n c\r\n\r\n",
		"length and chunked":     ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"length repeated":        ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
		"list of lengths":        ok + "Content-Length: 1,1\r\n\r\n",
		"unknown coding":         ok + "Transfer-Encoding: gzip\r\n\r\n",
		"chunked in HTTP/1.0":    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"100 with a body":        "HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\n",
		"103 with chunks":        "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
		"101 with a body":        "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 9\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var r Response
			lim := DefaultLimits()
			n, err := r.Parse([]byte(head), &lim, "GET")
			if n != 0 || statusOf(err) != 502 {
				t.Errorf("Parse(%q) = %d, %v", head, n, err)
			}
		})
	}
}

// TestResponseLimits shows that a limit of a response is the backend's fault too.
func TestResponseLimits(t *testing.T) {
	lim := smallLimits()
	for head, want := range map[string]int{
		"HTTP/1.1 200 " + strings.Repeat("a", 49) + "\r\n\r\n":              0,
		"HTTP/1.1 200 " + strings.Repeat("a", 50) + "\r\n\r\n":              502,
		"HTTP/1.1 200 " + strings.Repeat("a", 52):                           502,
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 6) + "\r\n":      0,
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 7) + "\r\n":      502,
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 256-24) + "\r\n\r\n": 0,
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 256-23) + "\r\n\r\n": 502,
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 256):                 502,
	} {
		var r Response
		n, err := r.Parse([]byte(head), &lim, "GET")
		if got := statusOf(err); got != want || got == 0 && n != len(head) {
			t.Errorf("Parse(%q) = %d, %v; want status %d", head, n, err, want)
		}
	}
}

// TestResponseReset is TestRequestReset for a response.
func TestResponseReset(t *testing.T) {
	lim := DefaultLimits()
	buf := []byte("HTTP/1.1 500 Secret\r\nContent-Length: 5\r\nConnection: close\r\nX")
	var r Response
	if n, err := r.Parse(buf, &lim, "GET"); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	r.Reset()
	buf = append(buf[:0], "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nAccept-Ranges: bytes\r\n\r\n"...)
	n, err := r.Parse(buf, &lim, "GET")
	if n != len(buf) || err != nil {
		t.Fatal(n, err)
	}
	if r.Status != 200 || r.Framing != Chunked || !r.KeepAlive || len(r.Fields) != 2 {
		t.Errorf("%+v", r)
	}
}
