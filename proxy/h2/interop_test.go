package h2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// serve answers on a connection what handle says, until the peer closes. It shows
// how little a driver needs, if it is alone on its goroutine: read, Next, act,
// write.
func serve(conn net.Conn, c *Conn, handle func(*Conn, Event)) error {
	defer conn.Close()
	var failed error
	buf, have := make([]byte, 32<<10), 0
	for {
		if out := c.Output(); len(out) > 0 {
			n, err := conn.Write(out)
			if c.Sent(n); err != nil {
				return err
			}
			handle(c, Event{Kind: Writable})
			continue
		}
		if failed != nil || c.Done() {
			return failed
		}
		n, err := conn.Read(buf[have:])
		if err != nil {
			return err
		}
		have += n
		in := buf[:have]
		for {
			n, e, err := c.Next(in)
			in = in[n:]
			if failed = err; err != nil || e.Kind == None {
				break
			}
			handle(c, e)
		}
		have = copy(buf, in)
	}
}

// echo is a handler that answers every request with its own method, path, fields
// and body, GET with a greeting; trailers come back as well.
type echo struct {
	streams map[uint32]*echoed
}

type echoed struct {
	head     Response
	headSent bool
	body     bytes.Buffer
	trailers []Field
	end      bool
	fin      bool
}

func (h *echo) handle(c *Conn, e Event) {
	s := h.streams[e.Stream]
	switch e.Kind {
	case RequestHead:
		s = &echoed{head: Response{Status: 200, Length: e.Request.Length}, end: e.End}
		s.head.Fields = append(s.head.Fields, Field{Name: "Echo-Method", Value: e.Request.Method}, Field{Name: "Echo-Path", Value: e.Request.Path})
		for _, f := range e.Request.Fields {
			s.head.Fields = append(s.head.Fields, Field{Name: "Echo-" + f.Name, Value: f.Value})
		}
		if e.Request.Method == "GET" {
			s.body.WriteString("hello")
		}
		h.streams[e.Stream] = s
	case HeadTooLarge:
		c.WriteResponse(e.Stream, &Response{Status: 431, Length: 0, End: true})
		c.Reset(e.Stream, NoError)
		return
	case Data:
		s.body.Write(e.Data)
		s.end = e.End
		c.Consumed(e.Stream, len(e.Data))
	case Trailers:
		s.trailers = append(s.trailers, e.Fields...)
		s.end = true
	case StreamReset:
		delete(h.streams, e.Stream)
		return
	}
	if e.Stream != 0 {
		h.write(c, e.Stream)
		return
	}
	for _, id := range slicesSorted(h.streams) {
		h.write(c, id)
	}
}

func slicesSorted(m map[uint32]*echoed) (ids []uint32) {
	for id := range maps.Keys(m) {
		ids = append(ids, id)
	}
	return ids
}

func (h *echo) write(c *Conn, id uint32) {
	s := h.streams[id]
	if s == nil || s.fin {
		return
	}
	if !s.headSent {
		s.headSent = true
		s.head.End = s.end && s.body.Len() == 0 && len(s.trailers) == 0
		s.fin = s.head.End
		c.WriteResponse(id, &s.head)
	}
	if s.fin {
		delete(h.streams, id)
		return
	}
	fin := More
	if s.end && len(s.trailers) == 0 {
		fin = Last
	}
	n, _ := c.WriteData(id, s.body.Bytes(), fin)
	s.body.Next(n)
	if s.body.Len() == 0 && s.end {
		if len(s.trailers) > 0 {
			c.WriteTrailers(id, s.trailers)
		}
		s.fin = true
		delete(h.streams, id)
	}
}

// listenEcho serves echo on loopback until the test ends.
func listenEcho(t testing.TB, s Settings) (addr string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				var c Conn
				c.Init(Server, s)
				h := echo{streams: map[uint32]*echoed{}}
				serve(conn, &c, h.handle)
			})
		}
	})
	t.Cleanup(func() { listener.Close(); all.Wait() })
	return listener.Addr().String()
}

// httpClient is a net/http client that speaks HTTP/2 without TLS.
func httpClient(t testing.TB) *http.Client {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &p, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A client of net/http gets back what it sent, bodies of all sizes, many streams
// at once on one connection.
func TestServerWithNetHTTPClient(t *testing.T) {
	addr := listenEcho(t, DefaultSettings())
	client := httpClient(t)
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			size := []int{0, 1, 1000, 70_000, 1 << 20}[i%5]
			body := bytes.Repeat([]byte{byte(i)}, size)
			req, _ := http.NewRequestWithContext(t.Context(), "POST", fmt.Sprintf("http://%s/p%d?q", addr, i), bytes.NewReader(body))
			req.Header.Set("X-Big", strings.Repeat("b", i*500))
			req.Header["X-Many"] = []string{"a", "b", fmt.Sprint(i)}
			if i%2 == 0 {
				req.ContentLength = -1
				req.Body = io.NopCloser(bytes.NewReader(body))
				req.Trailer = http.Header{"X-Sum": {fmt.Sprint(sha256.Sum256(body))}}
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Errorf("%d: %v", i, err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d: %d bytes come back of %d: %v", i, len(got), size, err)
			}
			if resp.Header.Get("Echo-Path") != fmt.Sprintf("/p%d?q", i) || len(resp.Header["Echo-X-Many"]) != 3 || len(resp.Header.Get("Echo-X-Big")) != i*500 {
				t.Errorf("%d: %v", i, resp.Header)
			}
			if i%2 == 0 && resp.Trailer.Get("X-Sum") != req.Trailer.Get("X-Sum") {
				t.Errorf("%d: trailer %v", i, resp.Trailer)
			}
		})
	}
	all.Wait()
}

// A server of net/http gives our client what it asks for.
func TestClientWithNetHTTPServer(t *testing.T) {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: &p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Path", r.URL.String())
		w.Header().Set("X-Cookie", r.Header.Get("Cookie"))
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
		w.Header().Set("X-Sum", fmt.Sprint(len(body)))
	})}
	var all sync.WaitGroup
	all.Go(func() { server.Serve(listener) })
	defer all.Wait()
	defer server.Shutdown(context.Background())
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f := &fetcher{t: t, want: 100, got: map[uint32]*fetched{}}
	var c Conn
	c.Init(Client, DefaultSettings())
	if err := serve(conn, &c, f.handle); err != nil {
		t.Fatal(err)
	}
	if f.done != f.want {
		t.Errorf("%d of %d exchanges are complete", f.done, f.want)
	}
}

// fetcher keeps some requests under way until it has had what it wants.
type fetcher struct {
	t             testing.TB
	opened, done  int
	want          int
	got           map[uint32]*fetched
	settingsKnown bool
}

type fetched struct {
	body []byte // still to send
	size int
	sum  int
	path string
	hint bool
}

func (f *fetcher) handle(c *Conn, e Event) {
	s := f.got[e.Stream]
	switch e.Kind {
	case SettingsChanged:
		f.settingsKnown = true
	case ResponseHead:
		if e.Response.Status == 103 {
			s.hint = true
			break
		}
		for _, field := range e.Response.Fields {
			if field.Name == "x-path" && field.Value != s.path {
				f.t.Errorf("stream %d: the path arrives as %q", e.Stream, field.Value)
			}
			if field.Name == "x-cookie" && field.Value != "a=b; c=d" {
				f.t.Errorf("stream %d: the cookie arrives as %q", e.Stream, field.Value)
			}
		}
	case Data:
		s.sum += len(e.Data)
		c.Consumed(e.Stream, len(e.Data))
	case Trailers:
		if s.sum != s.size || !s.hint || e.Fields[0].Value != fmt.Sprint(s.size) {
			f.t.Errorf("stream %d: %d bytes of %d, %v", e.Stream, s.sum, s.size, e.Fields)
		}
		f.done++
	case StreamReset:
		f.t.Errorf("stream %d: reset: %v %s", e.Stream, e.Code, e.Reason)
		f.done++
	}
	for f.settingsKnown && f.opened < f.want && c.Streams() < 20 {
		f.open(c)
	}
	for id, s := range f.got {
		f.send(c, id, s)
	}
	if f.done == f.want {
		c.Drain()
	}
}

func (f *fetcher) open(c *Conn) {
	f.opened++
	s := &fetched{size: []int{0, 10, 40_000, 300_000}[f.opened%4], path: fmt.Sprint("/p", f.opened, "?x=", f.opened)}
	s.body = make([]byte, s.size)
	id, err := c.OpenRequest(&Request{Method: "PUT", Scheme: "http", Authority: "example.com", Path: s.path, Length: int64(s.size),
		Fields: []Field{{Name: "Cookie", Value: "a=b; c=d"}}})
	if err != nil {
		f.t.Error(err)
	}
	f.got[id] = s
	if s.size == 0 {
		c.WriteData(id, nil, Last)
	}
}

func (f *fetcher) send(c *Conn, id uint32, s *fetched) {
	if len(s.body) > 0 {
		n, err := c.WriteData(id, s.body, Last)
		if err != nil && !errors.Is(err, ErrClosed) {
			f.t.Error(err)
		}
		s.body = s.body[n:]
	}
}
