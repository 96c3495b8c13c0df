package h1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

func TestAppend(t *testing.T) {
	for want, got := range map[string][]byte{
		"GET /a?b HTTP/1.1\r\n":                   AppendRequestLine(nil, "GET", "/a?b"),
		"HTTP/1.1 200 OK\r\n":                     AppendStatusLine(nil, 200, ""),
		"HTTP/1.1 200 Fine\r\n":                   AppendStatusLine(nil, 200, "Fine"),
		"HTTP/1.1 503 Service Unavailable\r\n":    AppendStatusLine(nil, 503, ""),
		"HTTP/1.1 599 \r\n":                       AppendStatusLine(nil, 599, ""),
		"A: b\r\n":                                AppendField(nil, "A", "b"),
		"Content-Length: 0\r\n":                   AppendLength(nil, 0),
		"Content-Length: 9223372036854775807\r\n": AppendLength(nil, 1<<63-1),
		"Transfer-Encoding: chunked\r\n":          AppendChunked(nil),
		"ff\r\n":                                  AppendChunkSize(nil, 255),
		"3\r\nabc\r\n":                            AppendChunk(nil, []byte("abc")),
		"":                                        AppendChunk(nil, nil),
		"0\r\n\r\n":                               AppendLastChunk(nil, nil),
		"0\r\nA: b\r\nC: \r\n\r\n":                AppendLastChunk(nil, fieldsOf("A", "b", "C", "")),
		"\r\n":                                    AppendCRLF(nil),
	} {
		if string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestAppendIsReadByNetHTTP writes a whole response for net/http to read.
func TestAppendIsReadByNetHTTP(t *testing.T) {
	dst := AppendStatusLine(nil, 404, "")
	dst = AppendField(dst, "Trailer", "Sum")
	dst = AppendChunked(dst)
	dst = AppendCRLF(dst)
	dst = AppendChunk(dst, []byte("no such "))
	dst = AppendChunk(dst, nil)
	dst = AppendChunk(dst, []byte("page"))
	dst = AppendLastChunk(dst, fieldsOf("Sum", "1"))
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(dst)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "no such page" || resp.StatusCode != 404 || resp.Trailer.Get("Sum") != "1" {
		t.Errorf("%q, %v, %+v", body, err, resp)
	}
}

// TestNoAllocations holds the promise that a warm connection allocates nothing.
func TestNoAllocations(t *testing.T) {
	lim := DefaultLimits()
	request, response := []byte(browserRequest), []byte(typicalResponse)
	chunks := AppendLastChunk(AppendChunk(nil, make([]byte, 1000)), fieldsOf("Grpc-Status", "0", "Date", "x"))
	var q Request
	var p Response
	var b Body
	dst := make([]byte, 0, 4096)
	for name, exchange := range map[string]func(){
		"request":          func() { q.Parse(request, &lim) },
		"request in parts": func() { q.Parse(request[:100], &lim); q.Parse(request[:200], &lim); q.Parse(request, &lim) },
		"response":         func() { p.Parse(response, &lim, "GET") },
		"hop-by-hop": func() {
			for _, f := range q.Fields {
				q.HopByHop(f.Name)
			}
		},
		"body": func() {
			b.Reset(Chunked, 0, &lim)
			for in := chunks; !b.Done(); {
				n, _, _ := b.Next(in)
				in = in[n:]
			}
		},
		"append": func() {
			dst = AppendRequestLine(dst[:0], "GET", "/")
			dst = AppendStatusLine(dst, 503, "")
			dst = AppendLength(dst, 12345)
			dst = AppendChunk(dst, request)
			dst = AppendLastChunk(dst, q.Fields)
		},
	} {
		if n := testing.AllocsPerRun(100, exchange); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
