package proxy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// planned is an exchange that goes wrong, or not, as its number tells: client and upstream
// make the same plan of it.
type planned struct {
	number  uint64
	size    int    // of the response's body
	framing string // the field that says so, or none
	posts   int    // size of the request's body, 0 for GET
	early   bool   // the response comes before the upstream reads that
	ends    string // how the upstream does at the byte at of its response: "" is all of it
	at      int
	pieces  int // in which the response comes

	leaves  string // how the client does once it has sent or got leaveAt bytes: "" is not at all
	leaveAt int

	h2 *h2Plan // what the upstream does if it speaks HTTP/2, else nil
}

func pick[T any](random *rand.Rand, all ...T) T { return all[random.IntN(len(all))] }

func plan(number uint64) *planned {
	random := rand.New(rand.NewPCG(number, 7))
	p := &planned{number: number, framing: pick(random, "length", "length", "chunked", "close"), pieces: 1 + random.IntN(3)}
	// About what gathers, what is read at once, and what goes through a pipe.
	p.size = pick(random, 0, 1, random.IntN(3000), 8<<10-random.IntN(400), 8<<10+random.IntN(400), random.IntN(70_000), 64<<10+random.IntN(200_000))
	if random.IntN(3) == 0 {
		p.posts, p.early = pick(random, 1, random.IntN(3000)+1, random.IntN(100_000)+1), random.IntN(4) == 0
	}
	if random.IntN(2) == 0 {
		p.ends = pick(random, "closes", "resets", "closes", "resets", "stalls", "garbles")
		p.at = random.IntN(len(p.response()))
		if random.IntN(3) == 0 { // near its head's end
			p.at = min(p.at, len(p.head())+random.IntN(3)-1)
		}
		if p.ends == "garbles" { // in its head, or in place of a chunk
			if p.at = random.IntN(len(p.head())); p.framing == "chunked" && random.IntN(2) == 0 {
				p.at = len(p.head()) + random.IntN(p.size/chunkSize+1)*len(chunk(text(p.id(), chunkSize)))
			}
		}
	}
	if random.IntN(6) == 0 {
		p.leaves = pick(random, "closes", "resets")
		p.leaveAt = pick(random, 0, random.IntN(100), random.IntN(10_000), random.IntN(300_000))
	}
	return p
}

func (p *planned) id() string { return strconv.FormatUint(p.number, 36) }

func (p *planned) String() string {
	type fields planned
	if p.h2 != nil {
		return fmt.Sprintf("%+v %+v", fields(*p), *p.h2)
	}
	return fmt.Sprintf("%+v", fields(*p))
}

func (p *planned) path() string {
	if p.h2 != nil {
		return p.h2.road + "/" + p.id()
	}
	if p.ends == "stalls" {
		return "/stalls/" + p.id()
	}
	return "/" + p.id()
}

func (p *planned) head() string {
	head := "HTTP/1.1 200 OK\r\nX-Id: " + p.id() + "\r\n"
	switch p.framing {
	case "length":
		head += fmt.Sprintf("Content-Length: %d\r\n", p.size)
	case "chunked":
		head += "Transfer-Encoding: chunked\r\n"
	}
	return head + "\r\n"
}

func (p *planned) response() string {
	body := text(p.id(), p.size)
	if p.framing != "chunked" {
		return p.head() + body
	}
	var out strings.Builder
	out.WriteString(p.head())
	for len(body) > 0 {
		n := min(len(body), chunkSize)
		out.WriteString(chunk(body[:n]))
		body = body[n:]
	}
	return out.String() + "0\r\n\r\n"
}

const chunkSize = 5000

func chunk(p string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(p), p) }

// serve is the upstream's part. It reports whether the connection goes on.
func (p *planned) serve(conn net.Conn, req *http.Request) bool {
	if !p.early && !readPayload(req) {
		_, _ = io.WriteString(conn, "HTTP/1.1 599 Mixed Up\r\nContent-Length: 0\r\n\r\n")
		return false
	}
	out := p.response()
	if p.ends != "" {
		out = out[:p.at]
	}
	for i := range p.pieces {
		n := len(out) / (p.pieces - i)
		_, _ = io.WriteString(conn, out[:n])
		out = out[n:]
	}
	switch p.ends {
	case "":
		return p.framing != "close" && (!p.early || readPayload(req))
	case "resets":
		_ = conn.(*net.TCPConn).SetLinger(0)
	case "stalls":
		_, _ = io.Copy(io.Discard, conn)
	case "garbles":
		_, _ = io.WriteString(conn, "\x00\r\n\x00\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
	}
	return false
}

// abandons reports whether the upstream may not read the whole request: then the connection of
// the client may end after a response that did not say so, or the client give up its request.
func (p *planned) abandons() bool {
	if p.h2 != nil {
		return p.h2.abandons(p)
	}
	return p.posts > 0 && (p.early || p.ends != "")
}

// right reports whether a client may get this status, so many bytes of its body, and see that
// more was to come.
func (p *planned) right(status, n int, cut bool) bool {
	if p.h2 != nil {
		return p.h2.right(p, status, n, cut)
	}
	got := p.at - len(p.head()) // bytes behind the head
	whole := status == 200 && n == p.size && !cut
	partial := status == 200 && n <= p.size && cut
	unread := p.early && p.posts > 0 // what the upstream has not read makes its close a reset
	switch {
	case p.ends == "":
		return whole || unread && p.framing == "close" && (partial || status == 502)
	case got < 0:
		return status == 502 || p.ends == "stalls" && status == 504
	case p.ends == "stalls":
		return partial || status == 504
	case p.ends == "closes" && p.framing == "close":
		return status == 200 && n == got && !cut || unread && (partial || status == 502)
	}
	return partial || status == 502 && (unread || p.ends != "closes")
}

// request is what the client sends.
func (p *planned) request() string {
	method, fields := "GET", ""
	if p.posts > 0 {
		method, fields = "POST", fmt.Sprintf("Content-Length: %d\r\n", p.posts)
	}
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: a\r\nX-Id: %s\r\n%s\r\n%s", method, p.path(), p.id(), fields, text(p.id(), p.posts))
}
