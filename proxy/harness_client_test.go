package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// raw is a client that sends bytes of the test's choice.
type raw struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func (g *gateway) dial() *raw {
	g.t.Helper()
	if g.mode.h2 || g.mode.h3 {
		g.t.Fatal("a raw client speaks HTTP/1.1")
	}
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		g.t.Fatal(err)
	}
	return g.over(conn)
}

// over is a client on a connection.
func (g *gateway) over(conn net.Conn) *raw {
	if g.mode.tls {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "app.test"})
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	g.t.Cleanup(func() { conn.Close() })
	return &raw{t: g.t, conn: conn, in: bufio.NewReader(conn)}
}

func (r *raw) send(s string) {
	r.t.Helper()
	if _, err := io.WriteString(r.conn, s); err != nil {
		r.t.Fatalf("send: %v", err)
	}
}

// response reads one, body and all.
func (r *raw) response(method string) (*http.Response, string) {
	r.t.Helper()
	res := r.responseHead(method)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatalf("read body: %v", err)
	}
	return res, string(body)
}

func (r *raw) responseHead(method string) *http.Response {
	r.t.Helper()
	res, err := http.ReadResponse(r.in, &http.Request{Method: method})
	if err != nil {
		r.t.Fatalf("read response: %v", err)
	}
	return res
}

// expectEnd checks that the proxy closes the connection without sending more.
func (r *raw) expectEnd() {
	r.t.Helper()
	if rest, err := io.ReadAll(r.in); len(rest) > 0 || err != nil && !errors.Is(err, net.ErrClosed) && isTimeout(err) {
		r.t.Fatalf("connection goes on: %q, %v", rest, err)
	}
}
