package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	rpcquic "github.com/cloudflare/cloudflared/tunnelrpc/quic"

	"github.com/lintel-dev/lintel/internal/edgewire"
)

// edgeTripper sends requests to an Entry on streams, which are connections of TCP here.
type edgeTripper struct {
	t     *testing.T
	entry *Entry
}

// tcpStream is an [edgewire.Stream].
type tcpStream struct {
	*net.TCPConn
	ctx context.Context
	end context.CancelFunc
}

func (s *tcpStream) Context() context.Context { return s.ctx }

func (s *tcpStream) CloseWrite() error {
	s.end()
	return s.TCPConn.CloseWrite()
}

// open lets the Entry serve a request, and returns the edge's end of its stream.
func (e edgeTripper) open(ctx context.Context, r *edgewire.Request) net.Conn {
	e.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		e.t.Fatal(err)
	}
	far, err := listener.Accept()
	if err != nil {
		e.t.Fatal(err)
	}
	s := &tcpStream{TCPConn: far.(*net.TCPConn)}
	s.ctx, s.end = context.WithCancel(ctx)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if !e.entry.ServeRequest(s, r) {
			_ = s.SetLinger(0) // a reset
		}
		s.end()
		s.Close()
	}()
	e.t.Cleanup(func() {
		near.Close()
		<-served
	})
	return near
}

// RoundTrip implements http.RoundTripper.
func (e edgeTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	head := &edgewire.Request{Method: r.Method, Host: r.URL.Host, Target: r.URL.RequestURI()}
	for name, values := range r.Header {
		for _, value := range values {
			head.Fields = append(head.Fields, edgewire.Field{Name: name, Value: value})
		}
	}
	if r.ContentLength > 0 {
		head.Fields = append(head.Fields, edgewire.Field{Name: "content-length", Value: strconv.FormatInt(r.ContentLength, 10)})
	} else if r.Body != nil {
		head.Fields = append(head.Fields, edgewire.Field{Name: "Transfer-Encoding", Value: "chunked"})
	}
	conn := e.open(r.Context(), head)
	go func() {
		if r.Body != nil {
			_, _ = io.Copy(conn, r.Body)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	res, err := answerOf(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	res.Request = r
	return res, nil
}

// answerOf reads the head of a response as cloudflared's own package does.
func answerOf(conn net.Conn) (*http.Response, error) {
	stream := rpcquic.RequestClientStream{ReadWriteCloser: conn}
	answer, err := stream.ReadConnectResponseData()
	if err != nil {
		return nil, err
	}
	res := &http.Response{Header: http.Header{}, ContentLength: -1, Body: conn}
	for _, m := range answer.Metadata {
		if m.Key == edgewire.StatusKey {
			res.StatusCode, _ = strconv.Atoi(m.Val)
			res.Status = m.Val
		} else {
			res.Header.Add(strings.TrimPrefix(m.Key, edgewire.FieldKey), m.Val)
		}
	}
	if answer.Error != "" || res.StatusCode == 0 {
		return nil, fmt.Errorf("no response: %+v", answer)
	}
	return res, nil
}

// What is about the connection to the edge stays here, and framing is the codec's.
func TestHeadsOverQUIC(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		h := r.Header.Clone()
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-Ip", "X-Request-Id", "Accept-Encoding"} {
			h.Del(name)
		}
		w.Header().Set("Cf-Cloudflared-Response-Meta", "forged")
		w.Header().Set("Seen", fmt.Sprintf("%s %s %v %d %q %v %v", r.Method, r.URL, h, r.ContentLength, body, r.TransferEncoding, err))
	}))
	entry := g.server.Entry()
	entry.Lead(Ways{Secure: socketName})
	g.server.Apply(g.table(), nil)
	tripper := edgeTripper{t: t, entry: entry}
	f := func(pairs ...string) (fields []edgewire.Field) {
		for i := 0; i < len(pairs); i += 2 {
			fields = append(fields, edgewire.Field{Name: pairs[i], Value: pairs[i+1]})
		}
		return fields
	}
	for _, tt := range []struct {
		name, method, body string
		fields             []edgewire.Field
		status             int
		seen               string
	}{
		{"none", "GET", "", nil, 200, `GET / map[] 0 "" [] <nil>`},
		{"of the connection", "GET", "", f("connection", "close, X-Hop", "x-hop", "1", "Upgrade", "h2c", "te", "gzip", "Keep-Alive", "1", "Proxy-Connection", "x",
			"Cf-Cloudflared-Proxy-Connection-Upgrade", "x", "cf-cloudflared-proxy-src", "x", "host", "other.test", "Cf-Ray", "y"), 200, `GET / map[Cf-Ray:[y]] 0 "" [] <nil>`},
		{"a length", "POST", "text and more", f("CONTENT-LENGTH", "4"), 200, `POST / map[Content-Length:[4]] 4 "text" [] <nil>`},
		{"chunks", "POST", "text", f("Transfer-Encoding", "chunked", "Content-Length", "9"), 200, `POST / map[] -1 "text" [chunked] <nil>`},
		{"a body that turns out to be none", "DELETE", "", f("transfer-encoding", "Chunked"), 200, `DELETE / map[] 0 "" [] <nil>`},
		{"a body of GET", "GET", "text", f("transfer-encoding", "chunked"), 200, `GET / map[] -1 "text" [chunked] <nil>`},
		{"a negative length", "POST", "", f("Content-Length", "-1"), 400, ""},
		{"two lengths", "POST", "", f("Content-Length", "1", "Content-Length", "2"), 400, ""},
		{"a name that is none", "GET", "", f("X Y", "1"), 400, ""},
		{"no name", "GET", "", f("", "1"), 400, ""},
		{"a method that is none", "GET /x HTTP/1.1\r\nX:", "", nil, 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tripper.t = t
			conn := tripper.open(t.Context(), &edgewire.Request{Method: tt.method, Host: "app.test", Target: "/", Fields: tt.fields})
			_, _ = io.WriteString(conn, tt.body)
			_ = conn.(*net.TCPConn).CloseWrite()
			res, err := answerOf(conn)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tt.status || res.Header.Get("Seen") != tt.seen || res.Header.Get("Cf-Cloudflared-Response-Meta") != "" {
				t.Errorf("%s, seen %s\nwant       %s", res.Status, res.Header.Get("Seen"), tt.seen)
			}
		})
	}
	for _, bad := range []string{"1\r\nX-More: 2", "1\n", " 1", "\x00"} {
		conn := tripper.open(t.Context(), &edgewire.Request{Method: "GET", Host: "app.test", Target: "/", Fields: f("X-Break", bad)})
		if res, err := answerOf(conn); err != nil || res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %v, %v", bad, res, err)
		}
	}
	for _, bad := range []edgewire.Request{{Method: "GET", Host: "app.test\r\nX: y", Target: "/"}, {Method: "GET", Host: "app.test", Target: "/ HTTP/1.1\r\nX: y"}, {Method: "GET", Host: "app.test", Target: "no/path"}} {
		conn := tripper.open(t.Context(), &bad)
		if res, err := answerOf(conn); err != nil || res.StatusCode != http.StatusBadRequest {
			t.Errorf("%+v: %v, %v", bad, res, err)
		}
	}
}

// A body that is cut short is no body, and the upstream is told so.
func TestBodyOverQUICThatIsCutShort(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	seen := make(chan error, 1)
	g.route("/", httpBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		seen <- err
	}))
	entry := g.server.Entry()
	entry.Lead(Ways{Secure: socketName})
	g.server.Apply(g.table(), nil)
	conn := edgeTripper{t: t, entry: entry}.open(t.Context(), &edgewire.Request{Method: "POST", Host: "app.test", Target: "/",
		Fields: []edgewire.Field{{Name: "Content-Length", Value: "9"}}})
	_, _ = io.WriteString(conn, "text")
	_ = conn.(*net.TCPConn).CloseWrite()
	if err := <-seen; err == nil {
		t.Error("it ended in order")
	}
}

// When the edge gives a request up, its upstream is left at once.
func TestEdgeGivesUp(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	arrived, left := make(chan struct{}), make(chan struct{})
	g.route("/", httpBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(left)
	}))
	entry := g.server.Entry()
	entry.Lead(Ways{Secure: socketName})
	g.server.Apply(g.table(), nil)
	ctx, giveUp := context.WithCancel(t.Context())
	edgeTripper{t: t, entry: entry}.open(ctx, &edgewire.Request{Method: "GET", Host: "app.test", Target: "/"})
	<-arrived
	start := time.Now()
	giveUp()
	<-left
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("after %v", took)
	}
}
