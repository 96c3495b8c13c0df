package h1

import (
	"testing"
)

// browserRequest is what a browser sends for a page: ten fields.
const browserRequest = "GET /shop/articles/1234?color=blue&size=xl HTTP/1.1\r\n" +
	"Host: shop.example.com\r\n" +
	"Connection: keep-alive\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
	"Referer: https://shop.example.com/shop/articles\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n" +
	"Cache-Control: max-age=0\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n" +
	"\r\n"

const typicalResponse = "HTTP/1.1 200 OK\r\n" +
	"Date: Tue, 01 Sep 2026 10:00:00 GMT\r\n" +
	"Content-Type: text/html; charset=utf-8\r\n" +
	"Content-Length: 1024\r\n" +
	"Connection: keep-alive\r\n" +
	"Cache-Control: private, max-age=60\r\n" +
	"ETag: \"5f3c-1a2b3c4d5e6f\"\r\n" +
	"Vary: Accept-Encoding\r\n" +
	"X-Request-Id: 4f9d3c0e-7f1a-4b8c-9d2e-1a2b3c4d5e6f\r\n" +
	"\r\n"

func BenchmarkRequestBrowser(b *testing.B) { benchmarkRequest(b, browserRequest) }

func BenchmarkRequestSmall(b *testing.B) {
	benchmarkRequest(b, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
}

func benchmarkRequest(b *testing.B, head string) {
	buf, lim := []byte(head), DefaultLimits()
	var r Request
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := r.Parse(buf, &lim); n != len(buf) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkResponse(b *testing.B) {
	buf, lim := []byte(typicalResponse), DefaultLimits()
	var r Response
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := r.Parse(buf, &lim, "GET"); n != len(buf) || err != nil {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkChunkedBody reads four chunks of 4 KiB and a trailer.
func BenchmarkChunkedBody(b *testing.B) {
	var buf []byte
	for range 4 {
		buf = AppendChunk(buf, make([]byte, 4096))
	}
	buf = AppendLastChunk(buf, []Field{{Name: "Grpc-Status", Value: "0"}})
	lim := DefaultLimits()
	var body Body
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(Chunked, 0, &lim)
		for in := buf; !body.Done(); {
			n, _, err := body.Next(in)
			if err != nil {
				b.Fatal(err)
			}
			in = in[n:]
		}
	}
}
