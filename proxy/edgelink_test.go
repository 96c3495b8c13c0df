package proxy

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// edgePeer is Cloudflare's edge at the other end of a connection that an Entry serves.
type edgePeer struct {
	*rawH2
	entry *Entry
	stop  context.CancelFunc
	ended chan struct{}
}

func newEdgePeer(t *testing.T, g *gateway, call EdgeCall) *edgePeer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	p := &edgePeer{rawH2: &rawH2{t: t, conn: conn, frames: http2.NewFramer(conn, conn)}, entry: g.server.Entry(), ended: make(chan struct{})}
	p.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.hpack = hpack.NewEncoder(&p.block)
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	go func() {
		defer close(p.ended)
		p.entry.ServeHTTP2(ctx, ours, call)
	}()
	t.Cleanup(func() {
		p.stop()
		conn.Close()
		<-p.ended
		ours.Close()
	})
	p.entry.Lead(Ways{Secure: socketName})
	_, err = io.WriteString(conn, http2.ClientPreface)
	p.must(err)
	p.must(p.frames.WriteSettings())
	return p
}

// fields are those of a response as they are packed.
func (p *edgePeer) fields(head *http2.MetaHeadersFrame) http.Header {
	p.t.Helper()
	all := http.Header{}
	for _, f := range head.RegularFields() {
		if f.Name != "cf-cloudflared-response-headers" {
			continue
		}
		for pair := range strings.SplitSeq(f.Value, ";") {
			name, value, _ := strings.Cut(pair, ":")
			n, err1 := base64.RawStdEncoding.DecodeString(name)
			v, err2 := base64.RawStdEncoding.DecodeString(value)
			if err1 != nil || err2 != nil {
				p.t.Fatalf("field %q is malformed", pair)
			}
			all.Add(string(n), string(v))
		}
	}
	return all
}

func (p *edgePeer) nextHead() *http2.MetaHeadersFrame {
	p.t.Helper()
	head, ok := p.next().(*http2.MetaHeadersFrame)
	if !ok {
		p.t.Fatal("no head comes")
	}
	return head
}

// A gRPC response that is a status alone is one frame: HEADERS with END_STREAM.
func TestTrailersOnlyThroughAnEdge(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	p := newEdgePeer(t, g, nil)
	g.route("/", toH2C.serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "5")
	}))
	g.server.Apply(g.table(), nil)
	p.head(1, 0, ":method", "POST", ":scheme", "https", ":authority", "app.test", ":path", "/a.B/C", "content-type", "application/grpc", "te", "trailers")
	p.must(p.frames.WriteData(1, true, []byte("\x00\x00\x00\x00\x00")))
	head := p.nextHead()
	if fields := p.fields(head); head.PseudoValue("status") != "200" || !head.StreamEnded() || fields.Get("Grpc-Status") != "5" {
		t.Errorf("%v, end %v, fields %v", head.Fields, head.StreamEnded(), fields)
	}
}

func TestRequestsOfAnEdge(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	p := newEdgePeer(t, g, nil)
	g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Cf-Cloudflared-Response-Meta", "forged")
		w.Header().Set("Seen", strings.Join([]string{r.Header.Get("X-Forwarded-For"), r.Header.Get("Cf-Cloudflared-Proxy-Src"), r.Header.Get("Transfer-Encoding"), r.Host}, "|"))
		_, _ = w.Write(body)
	}))
	g.server.Apply(g.table(), nil)
	get := []string{":method", "GET", ":scheme", "http", ":authority", "app.test", ":path", "/", "cf-connecting-ip", "203.0.113.9", "x-forwarded-for", "203.0.113.9"}
	t.Run("a body that turns out to be none", func(t *testing.T) {
		p.head(1, 0, get...)
		p.must(p.frames.WriteData(1, true, nil))
		head := p.nextHead()
		if f := p.fields(head); f.Get("Seen") != "203.0.113.9|||app.test" || f.Get("Content-Length") != "0" || f.Get("Cf-Cloudflared-Response-Meta") != "" {
			t.Errorf("%v", f)
		}
		if x := g.observed(1); x.Client.String() != "203.0.113.9" || x.Protocol != "HTTP/2.0" || x.Scheme != "https" {
			t.Errorf("%+v", x)
		}
	})
	t.Run("a body", func(t *testing.T) {
		p.head(3, 0, get...)
		p.must(p.frames.WriteData(3, true, []byte("text")))
		p.nextHead()
		if body := p.body(3); body != "text" {
			t.Errorf("%q", body)
		}
	})
	t.Run("guarded", func(t *testing.T) {
		p.entry.Lead(Ways{Secure: socketName, Guard: func(r *http.Request) error {
			if r.Host == "app.test" && r.Header.Get("Ticket") == "yes" {
				return nil
			}
			return io.EOF
		}})
		p.head(5, endStream, get...)
		if s := p.status(5); s != "403" {
			t.Errorf("without a ticket: %s", s)
		}
		p.body(5)
		if x := g.observed(3); x.Cause != exchange.CauseNoAccess {
			t.Errorf("cause %q", x.Cause)
		}
		p.head(7, endStream, append(get, "ticket", "yes")...)
		if s := p.status(7); s != "200" {
			t.Errorf("with a ticket: %s", s)
		}
	})
}

// What is meant for the connector does not come to a Rule.
func TestCallsOfAnEdge(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	kinds := make(chan string, 1)
	p := newEdgePeer(t, g, func(kind string, stream io.ReadWriteCloser) {
		kinds <- kind
		_, _ = io.Copy(stream, stream)
	})
	p.head(1, 0, ":method", "GET", ":scheme", "http", ":authority", "app.test", ":path", "/", "cf-cloudflared-proxy-connection-upgrade", "control-stream")
	if kind := <-kinds; kind != "control-stream" {
		t.Errorf("kind %q", kind)
	}
	if s := p.status(1); s != "200" {
		t.Error(s)
	}
	for _, word := range []string{"one", "two"} {
		p.must(p.frames.WriteData(1, false, []byte(word)))
		if got := p.payload(1, len(word)); got != word {
			t.Errorf("%q", got)
		}
	}
	p.must(p.frames.WriteData(1, true, nil))
	if rest := p.body(1); rest != "" {
		t.Errorf("%q", rest)
	}
}

// Whoever stops it sends GOAWAY, and what is under way comes to its end.
func TestAnEdgeIsSentAway(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	p := newEdgePeer(t, g, nil)
	arrived, release := make(chan struct{}), make(chan struct{})
	g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "ok")
	}))
	g.server.Apply(g.table(), nil)
	p.get(1, "/")
	<-arrived
	p.stop()
	if f, ok := p.next().(*http2.GoAwayFrame); !ok || f.ErrCode != http2.ErrCodeNo {
		t.Errorf("%v", f)
	}
	if f, ok := p.next().(*http2.GoAwayFrame); !ok || f.LastStreamID != 1 {
		t.Errorf("%v", f)
	}
	close(release)
	if s, body := p.status(1), p.body(1); s != "200" || body != "ok" {
		t.Errorf("%s %q", s, body)
	}
	<-p.ended
}

// A user who goes away takes his request along, and the connection stays.
func TestAnEdgeResetsAStream(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	p := newEdgePeer(t, g, nil)
	arrived, gone := make(chan struct{}), make(chan struct{})
	g.route("/wait", httpBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) {}))
	g.server.Apply(g.table(), nil)
	id := uint32(1)
	for range 700 { // more than a client of our own sockets may
		p.get(id, "/wait")
		<-arrived
		p.must(p.frames.WriteRSTStream(id, http2.ErrCodeCancel))
		<-gone
		id += 2
	}
	if x := g.observed(1); x.Cause != exchange.CauseClientGone {
		t.Errorf("cause %q", x.Cause)
	}
	p.get(id, "/")
	if s := p.status(id); s != "200" {
		t.Error(s)
	}
}

func TestAnEdgeIsToldThatTheEntryIsFull(t *testing.T) {
	g := newGateway(t, plainMode, Settings{MaxConnections: 1})
	p := newEdgePeer(t, g, nil)
	arrived, release := make(chan struct{}), make(chan struct{})
	g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}))
	g.server.Apply(g.table(), nil)
	p.get(1, "/")
	<-arrived
	p.get(3, "/")
	if s := p.status(3); s != "503" {
		t.Error(s)
	}
	close(release)
	if s := p.status(1); s != "200" {
		t.Error(s)
	}
}
