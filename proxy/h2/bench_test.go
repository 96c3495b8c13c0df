package h2

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/http2"
)

// browserFields is what a browser sends for a page: four pseudo-header fields and
// twelve others.
func browserFields() []string {
	return []string{
		":method", "GET", ":authority", "shop.example.com", ":scheme", "https", ":path", "/shop/articles/1234?color=blue&size=xl",
		"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36",
		"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
		"accept-encoding", "gzip, deflate, br, zstd",
		"accept-language", "en-GB,en;q=0.9,de;q=0.8",
		"referer", "https://shop.example.com/shop/articles",
		"cookie", "session=0123456789abcdef0123456789abcdef",
		"cookie", "theme=dark",
		"cache-control", "max-age=0",
		"upgrade-insecure-requests", "1",
		"sec-fetch-dest", "document",
		"sec-fetch-mode", "navigate",
		"sec-fetch-site", "same-origin",
	}
}

func responseFields() []Field {
	return []Field{
		{Name: "Date", Value: "Tue, 01 Sep 2026 10:00:00 GMT"},
		{Name: "Content-Type", Value: "text/html; charset=utf-8"},
		{Name: "Cache-Control", Value: "private, max-age=60"},
		{Name: "ETag", Value: "\"5f3c-1a2b3c4d5e6f\""},
		{Name: "Vary", Value: "Accept-Encoding"},
		{Name: "X-Request-Id", Value: "4f9d3c0e-7f1a-4b8c-9d2e-1a2b3c4d5e6f"},
	}
}

// next sets the stream of the HEADERS frame at the start of p.
func setStream(p []byte, id uint32) { binary.BigEndian.PutUint32(p[5:], id) }

// BenchmarkServer is one exchange as a server sees it, on a warm connection: the
// request of a browser is read, a head and 1 KiB are written.
func BenchmarkServer(b *testing.B) {
	w := newWire(b, Server, DefaultSettings())
	w.head(1, Last, browserFields()...)
	w.pump()
	w.c.WriteResponse(1, &Response{Status: 200, Length: -1, End: true})
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: w.encode(browserFields()...), EndHeaders: true, EndStream: true})
	in := append([]byte(nil), w.in.Bytes()...)
	benchmarkServer(b, w, in, nil)
}

// BenchmarkServerLiteralPath is the same with a path that is new each time, and a
// request id that is new in each response.
func BenchmarkServerLiteralPath(b *testing.B) {
	w := newWire(b, Server, DefaultSettings())
	w.head(1, Last, browserFields()...)
	w.pump()
	w.c.WriteResponse(1, &Response{Status: 200, Length: -1, End: true})
	fields := browserFields()
	path := fields[7]
	block := append([]byte{0x04, byte(len(path))}, path...)
	block = append(w.encode(fields[:6]...), block...)
	block = append(block, w.encode(fields[8:]...)...)
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block, EndHeaders: true, EndStream: true})
	in := append([]byte(nil), w.in.Bytes()...)
	id := []byte("4f9d3c0e-7f1a-4b8c-9d2e-1a2b3c4d5e6f")
	benchmarkServer(b, w, in, id)
}

func benchmarkServer(b *testing.B, w *wire, in, id []byte) {
	c := &w.c
	body := make([]byte, 1024)
	r := Response{Status: 200, Fields: responseFields(), Length: 1024}
	stream := uint32(3)
	update := []byte{0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 4, 0}
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		if id != nil {
			binary.LittleEndian.PutUint64(id, i*0x9e3779b97f4a7c15&0x3f3f3f3f3f3f3f3f|0x4040404040404040)
			r.Fields[5].Value = string(id)
		}
		setStream(in, stream)
		n, e, err := c.Next(in)
		if n != len(in) || err != nil || e.Kind != RequestHead {
			b.Fatal(n, e, err)
		}
		c.WriteResponse(stream, &r)
		if n, err := c.WriteData(stream, body, Last); n != len(body) || err != nil {
			b.Fatal(n, err)
		}
		if n, _, err := c.Next(update); n != len(update) || err != nil {
			b.Fatal(n, err)
		}
		c.Sent(len(c.Output()))
		if stream += 2; stream > 1<<30 {
			stream = 3
			c.lastTheirs = 1
		}
	}
}

// BenchmarkClient is one exchange as a client sees it: the request of a browser is
// written, a head and 1 KiB are read.
func BenchmarkClient(b *testing.B) {
	w := newWire(b, Client, DefaultSettings())
	c := &w.c
	req := Request{Method: "GET", Scheme: "https", Authority: "shop.example.com", Path: "/shop/articles/1234?color=blue&size=xl", Length: -1, End: true}
	fields := browserFields()
	for i := 8; i < len(fields); i += 2 {
		req.Fields = append(req.Fields, Field{Name: fields[i], Value: fields[i+1]})
	}
	answer := []string{":status", "200", "content-length", "1024"}
	for _, f := range responseFields() {
		answer = append(answer, toLower(f.Name), f.Value)
	}
	id, _ := c.OpenRequest(&req)
	w.head(id, Last, answer[:2]...)
	w.pump()
	id, _ = c.OpenRequest(&req)
	w.head(id, More, answer...)
	w.WriteData(id, true, make([]byte, 1024))
	w.pump()
	w.c.Consumed(id, 1024)
	w.head(id, More, answer...)
	head := w.in.Len()
	w.WriteData(id, true, make([]byte, 1024))
	in := append([]byte(nil), w.in.Bytes()...)
	b.ReportAllocs()
	for b.Loop() {
		id, err := c.OpenRequest(&req)
		if err != nil {
			b.Fatal(err)
		}
		setStream(in, id)
		setStream(in[head:], id)
		n, e, err := c.Next(in)
		if err != nil || e.Kind != ResponseHead {
			b.Fatal(n, e, err)
		}
		if n, e, err = c.Next(in[n:]); err != nil || !e.End {
			b.Fatal(n, e, err)
		}
		c.Consumed(id, 1024)
		c.Sent(len(c.Output()))
		if c.lastOurs > 1<<30 {
			c.lastOurs = 1
		}
	}
}

func toLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}
