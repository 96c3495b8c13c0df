package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// h3Planned is a planned exchange whose client speaks HTTP/3: that does other things.
type h3Planned struct {
	*planned
	counted bool   // the request's body has a Content-Length
	raw     bool   // the client makes the frames itself
	sending bool   // leaveAt is of what it sends
	bad     string // the frame that is malformed
}

func planH3(number uint64) *h3Planned {
	random := rand.New(rand.NewPCG(number, 8))
	p := &h3Planned{planned: plan(number), counted: random.IntN(2) == 0, raw: random.IntN(2) == 0}
	p.leaves = ""
	if random.IntN(3) != 0 {
		return p
	}
	p.leaves = pick(random, "cancels", "cancels", "stops", "stops", "resets", "resets", "closes", "vanishes", "short", "long", "malformed", "malformed")
	p.raw = p.leaves != "cancels"
	if p.leaves == "malformed" {
		p.bad = pick(random, "no head", "head", "fields", "settings", "reserved", "cut", "trailers", "after trailers")
		p.counted = p.counted && p.bad != "after trailers" // or it is whole before
	}
	// That a frame was cut http3 knows by the length alone: else it takes the end of the stream
	// for that of the body (RFC 9114 §7.1 wants an error).
	if p.leaves == "short" || p.leaves == "long" || p.bad == "cut" {
		p.counted, p.posts = true, max(p.posts, 1+random.IntN(20_000))
	}
	p.sending = p.leaves == "resets" || random.IntN(2) == 0
	p.leaveAt = pick(random, 0, random.IntN(100), random.IntN(10_000), random.IntN(300_000))
	if p.sending {
		size := len(p.request())
		p.leaveAt = pick(random, random.IntN(min(size, 200)), random.IntN(size+1))
	}
	return p
}

// ill reports whether the request is malformed.
func (p *h3Planned) ill() bool {
	return p.leaves == "short" || p.leaves == "long" || p.leaves == "malformed"
}

// wrecks reports whether the client's connection may end with the exchange.
func (p *h3Planned) wrecks() bool {
	return p.leaves == "closes" || p.leaves == "vanishes" || p.leaves == "malformed" && p.bad != "trailers"
}

// request is all that a raw client sends on the stream.
func (p *h3Planned) request() string {
	fields := []string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", p.path(), "x-id", p.id()}
	if p.posts > 0 {
		fields[1] = "POST"
		if p.counted {
			fields = append(fields, "content-length", strconv.Itoa(p.posts))
		}
	}
	head, body := string(headers(fields...)), text(p.id(), p.posts)
	switch p.leaves {
	case "short":
		body = body[:p.number%uint64(p.posts)]
	case "long":
		if body += "x"; p.number%2 == 0 {
			return head + data(body)
		}
	}
	half := body[:len(body)/2]
	switch p.bad {
	case "no head":
		return data("x") + head + data(body)
	case "head":
		return head[:len(head)-1]
	case "fields":
		return string(frame(frameHeaders, []byte("\xff\xff\xff\xff"))) + data(body)
	case "settings":
		return head + data(half) + string(frame(frameSettings, nil)) + data(body[len(half):])
	case "reserved":
		return head + data(half) + string(frame(0x2, nil)) + data(body[len(half):])
	case "cut":
		return head + strings.TrimSuffix(data(body), body[len(body)-1:])
	case "trailers":
		return head + data(half) + string(headers(":path", "/")) + data(body[len(half):])
	case "after trailers":
		return head + data(body) + string(headers("x-after", "1")) + data("x")
	}
	return head + data(half) + data(body[len(half):])
}

func data(p string) string {
	if p == "" {
		return ""
	}
	return string(frame(frameData, []byte(p)))
}

// h3Client is a connection of a client's own, over a socket of its own.
type h3Client struct {
	socket    net.PacketConn
	transport *quic.Transport
	conn      *quic.Conn
	http      *http3.ClientConn
}

func (g *gateway) dialPlanned(config *quic.Config) *h3Client {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		g.t.Error(err)
		return nil
	}
	c := &h3Client{socket: socket, transport: &quic.Transport{Conn: socket}}
	ctx, cancel := context.WithTimeout(g.t.Context(), ample)
	defer cancel()
	address, _ := net.ResolveUDPAddr("udp", g.address())
	c.conn, err = c.transport.Dial(ctx, address, &tls.Config{InsecureSkipVerify: true, ServerName: "app.test", NextProtos: []string{http3.NextProtoH3}}, config)
	if err != nil {
		g.t.Errorf("dial QUIC: %v", err)
		c.close()
		return nil
	}
	c.http = (&http3.Transport{DisableCompression: true}).NewClientConn(c.conn)
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, g.url("/settled"), nil)
	res, err := c.http.RoundTrip(req) // then the gateway is done with the handshake too
	if err != nil {
		g.t.Errorf("first response: %v", err)
		c.close()
		return nil
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return c
}

func (c *h3Client) close() {
	if c.conn != nil {
		_ = c.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
	}
	_ = c.transport.Close()
	c.socket.Close()
}

// leave is how the client ends an exchange, or its connection.
func (c *h3Client) leave(p *h3Planned, stream *quic.Stream) {
	switch p.leaves {
	case "stops":
		stream.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	case "resets":
		stream.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	case "closes":
		_ = c.conn.CloseWithError(quic.ApplicationErrorCode(pick(rand.New(rand.NewPCG(p.number, 1)), http3.ErrCodeNoError, http3.ErrCodeInternalError, 0x4242)), "")
	case "vanishes":
		c.socket.Close()
	}
}

// send sends the request of a raw client.
func (c *h3Client) send(p *h3Planned, stream *quic.Stream) {
	out, rest := p.request(), ""
	if p.sending && !p.ill() {
		out, rest = out[:p.leaveAt], out[p.leaveAt:]
	}
	for i := range p.pieces {
		n := len(out) / (p.pieces - i)
		_, _ = io.WriteString(stream, out[:n]) // it may be refused: what comes back tells
		out = out[n:]
	}
	if p.sending && !p.ill() {
		c.leave(p, stream)
	}
	_, _ = io.WriteString(stream, rest)
	_ = stream.Close()
}

var errLeft = errors.New("the client has left")

// leaving is a stream of which so many bytes are read.
type leaving struct {
	io.Reader
	left  int
	leave func()
}

func (l *leaving) Read(p []byte) (int, error) {
	if l.left == 0 {
		l.leave()
		return 0, errLeft
	}
	n, err := l.Reader.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
