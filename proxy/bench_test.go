package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// BenchmarkProxy is one exchange after the other over one kept connection: a GET
// that is answered with 1 KiB, client and upstream included.
func BenchmarkProxy(b *testing.B) {
	for _, m := range allModes {
		b.Run(m.name, func(b *testing.B) {
			g := newGateway(b, m, Settings{})
			g.server.settings.Observe = nil
			g.route("/", minimalBackend(b, 1024))
			g.apply()
			c := g.dial()
			benchmarkExchanges(b, c.conn)
		})
	}
}

// BenchmarkDirect is BenchmarkProxy without the proxy: what client and upstream
// cost in it.
func BenchmarkDirect(b *testing.B) {
	backend := minimalBackend(b, 1024)
	conn, err := net.Dial("tcp", backend.Endpoints()[0].Addr.String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	benchmarkExchanges(b, conn)
}

func BenchmarkProxyParallel(b *testing.B) {
	g := newGateway(b, plainMode, Settings{})
	g.server.settings.Observe = nil
	g.route("/", minimalBackend(b, 1024))
	g.apply()
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c := g.dial()
		buf := make([]byte, 4096)
		for pb.Next() {
			exchangeOnce(b, c.conn, buf)
		}
	})
}

const browserRequest = "GET /assets/app.js?v=3 HTTP/1.1\r\n" +
	"Host: app.test\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef\r\n" +
	"Cache-Control: no-cache\r\n" +
	"Referer: https://app.test/\r\n" +
	"Connection: keep-alive\r\n\r\n"

func benchmarkExchanges(b *testing.B, conn net.Conn) {
	buf := make([]byte, 4096)
	for range 10 {
		exchangeOnce(b, conn, buf)
	}
	b.ReportAllocs()
	for b.Loop() {
		exchangeOnce(b, conn, buf)
	}
}

var request = []byte(browserRequest)

// exchangeOnce reads to the mark at the end of minimalBackend's body.
func exchangeOnce(b *testing.B, conn net.Conn, buf []byte) {
	if _, err := conn.Write(request); err != nil {
		b.Fatal(err)
	}
	for n := 0; n == 0 || buf[n-1] != '$'; {
		read, err := conn.Read(buf[n:])
		if err != nil {
			b.Fatal(err)
		}
		n += read
	}
}

// minimalBackend answers every read that ends a head, at next to no cost.
func minimalBackend(b testing.TB, size int) *router.Backend {
	body := append(bytes.Repeat([]byte("x"), size-1), '$')
	response := []byte("HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: text/javascript\r\nContent-Length: " +
		strconv.Itoa(size) + "\r\nEtag: \"abc\"\r\nCache-Control: max-age=60\r\n\r\n")
	response = append(response, body...)
	return rawBackend(b, func(conn net.Conn, _ *bufio.Reader) {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
				if _, err := conn.Write(response); err != nil {
					return
				}
			}
		}
	})
}

// BenchmarkLargeBody is a response of 1 MiB.
func BenchmarkLargeBody(b *testing.B) {
	for _, m := range allModes {
		b.Run(m.name, func(b *testing.B) {
			g := newGateway(b, m, Settings{})
			g.server.settings.Observe = nil
			g.route("/", minimalBackend(b, 1<<20))
			g.apply()
			c := g.dial()
			_ = c.conn.SetDeadline(time.Time{})
			buf := make([]byte, 64<<10)
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.conn.Write(request); err != nil {
					b.Fatal(err)
				}
				res, err := http.ReadResponse(c.in, nil)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{res.Body}, buf); n != 1<<20 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
