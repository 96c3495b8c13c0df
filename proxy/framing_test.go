package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestResponseFraming(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		long := strings.Repeat("0123456789abcdef", 20_000)
		type backend struct {
			name, bytes string
			status      int
			body        string
			length      int64 // as the client sees it; -1 chunked
			headLength  string
		}
		backends := []backend{
			{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 5, "5"},
			{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", 0, "0"},
			{"long", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long), 200, long, int64(len(long)), ""},
			{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 200, "hello", -1, ""},
			{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", 0, ""},
			{"not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nEtag: \"a\"\r\n\r\n", 304, "", 5, ""},
			{"odd status", "HTTP/1.1 299 Whatever You Like\r\nContent-Length: 1\r\n\r\na", 299, "a", 1, "1"},
			{"no reason", "HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\na", 200, "a", 1, "1"},
		}
		for _, b := range backends {
			g.route("/"+strings.ReplaceAll(b.name, " ", "-"), rawBackend(t, answering(b.bytes)))
		}
		g.route("/head", rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")))
		g.route("/close", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\nhello")
		}))
		g.apply()

		c := g.dial()
		for _, b := range backends {
			for range 2 {
				c.send("GET /" + strings.ReplaceAll(b.name, " ", "-") + " HTTP/1.1\r\nHost: a\r\n\r\n")
				res, body := c.response("GET")
				if res.StatusCode != b.status || body != b.body || res.ContentLength != b.length && b.status == 200 {
					t.Errorf("%s: %s, %d bytes, length %d", b.name, res.Status, len(body), res.ContentLength)
				}
			}
		}
		c.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.response("HEAD"); res.StatusCode != 200 || res.ContentLength != 5 {
			t.Errorf("HEAD: %s, length %d", res.Status, res.ContentLength)
		}
		c.send("GET /close HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, body := c.response("GET"); body != "hello" || len(res.TransferEncoding) != 1 {
			t.Errorf("until close: %s %q", res.Status, body)
		}

		for _, path := range []string{"/chunked", "/close"} {
			old := g.dial()
			old.send("GET " + path + " HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
			res, body := old.response("GET")
			if body != "hello" || len(res.TransferEncoding) != 0 || !res.Close {
				t.Errorf("%s with 1.0: %q, %v, close %v", path, body, res.TransferEncoding, res.Close)
			}
			old.expectEnd()
		}
	})
}

func TestTrailers(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(200)
			_, _ = w.Write(body)
			w.Header().Set("X-Sum", "of "+r.Trailer.Get("X-Check")+" te "+r.Header.Get("Te"))
		}))
		g.apply()
		req, _ := http.NewRequest("POST", g.url("/"), io.MultiReader(strings.NewReader("abc"), strings.NewReader("def")))
		req.Trailer = http.Header{"X-Check": {"7"}}
		req.Header.Set("TE", "gzip, trailers")
		if g.mode.h2 || g.mode.h3 { // which allow nothing else (RFC 9113 §8.2.2, RFC 9114 §4.2)
			req.Header.Set("TE", "trailers")
		}
		res, body := g.do(req)
		if body != "abcdef" || res.Trailer.Get("X-Sum") != "of 7 te trailers" {
			t.Errorf("%q, trailers %v", body, res.Trailer)
		}
	})
}

func TestLargeBodiesBothWays(t *testing.T) {
	runAtOnce(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			if r.ContentLength > 0 {
				w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
			}
			_, _ = io.Copy(w, r.Body)
		}))
		g.apply()
		const size = 8 << 20
		for _, length := range []int64{size, -1} {
			req, _ := http.NewRequest("POST", g.url("/"), io.LimitReader(&pattern{}, size))
			req.ContentLength = length
			res, err := g.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var want pattern
			n, err := io.Copy(&want, res.Body)
			res.Body.Close()
			if n != size || err != nil || want.wrong {
				t.Errorf("length %d: %d bytes back, error %v, wrong bytes %v", length, n, err, want.wrong)
			}
		}
		if g.observed(2).Received != size || g.observed(2).Sent != size {
			t.Errorf("observed %d in, %d out", g.observed(2).Received, g.observed(2).Sent)
		}
	})
}

// pattern is an endless sequence of bytes; written to, it compares.
type pattern struct {
	at    int
	wrong bool
}

// patternPeriod is after how many bytes the pattern starts over.
const patternPeriod = 2048

// patternBytes is many periods, so that it is copied and compared in large pieces.
var patternBytes = func() []byte {
	b := make([]byte, 32*patternPeriod)
	for i := range b {
		b[i] = byte(i * 31 >> 3)
	}
	return b
}()

// next returns what comes next, at most n bytes.
func (p *pattern) next(n int) []byte {
	b := patternBytes[p.at%patternPeriod:]
	b = b[:min(n, len(b))]
	p.at += len(b)
	return b
}

func (p *pattern) Read(b []byte) (int, error) {
	return copy(b, p.next(len(b))), nil
}

func (p *pattern) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		want := p.next(len(rest))
		p.wrong = p.wrong || !bytes.Equal(rest[:len(want)], want)
		rest = rest[len(want):]
	}
	return len(b), nil
}

// What a server sends piece by piece reaches the client piece by piece.
func TestStreams(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		next := make(chan string)
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for event := range next {
				_, _ = io.WriteString(w, event)
				_ = http.NewResponseController(w).Flush()
			}
		}))
		g.apply()
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		next <- "data: 0\n\n"
		res := c.responseHead("GET")
		for i := range 3 {
			event := make([]byte, len("data: 0\n\n"))
			if _, err := io.ReadFull(res.Body, event); err != nil || string(event) != fmt.Sprintf("data: %d\n\n", i) {
				t.Fatalf("event %d: %q, %v", i, event, err)
			}
			if i < 2 {
				next <- fmt.Sprintf("data: %d\n\n", i+1)
			}
		}
		close(next)
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("end: %q, %v", rest, err)
		}
	})
}

// A response may run while its request still does.
func TestFullDuplex(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			_ = control.EnableFullDuplex()
			_ = control.Flush()
			buf := make([]byte, 100)
			for {
				n, err := r.Body.Read(buf)
				_, _ = w.Write(buf[:n])
				_ = control.Flush()
				if err != nil {
					return
				}
			}
		}))
		g.apply()
		c := g.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		res := c.responseHead("POST")
		for _, word := range []string{"one", "two", "three"} {
			c.send(fmt.Sprintf("%x\r\n%s\r\n", len(word), word))
			got := make([]byte, len(word))
			if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != word {
				t.Fatalf("%q, %v", got, err)
			}
		}
		c.send("0\r\n\r\n")
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("end: %q, %v", rest, err)
		}
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.response("GET"); res.StatusCode != 200 {
			t.Errorf("next response is %d", res.StatusCode)
		}
	})
}
