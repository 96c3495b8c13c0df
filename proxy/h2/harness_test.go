package h2

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// link is a server and a client that talk to each other, bytes being carried by
// calls of run.
type link struct {
	t              testing.TB
	server, client Conn
	toServer       []byte
	toClient       []byte
}

func newLink(t testing.TB, s Settings) *link {
	l := &link{t: t}
	l.server.Init(Server, s)
	l.client.Init(Client, s)
	return l
}

// copyOf detaches what an event points to from the codec.
func copyOf(e Event) Event {
	e.Data = append([]byte(nil), e.Data...)
	e.Fields = append([]Field(nil), e.Fields...)
	if e.Request != nil {
		r := *e.Request
		r.Fields = append([]Field(nil), r.Fields...)
		e.Request = &r
	}
	if e.Response != nil {
		r := *e.Response
		r.Fields = append([]Field(nil), r.Fields...)
		e.Response = &r
	}
	return e
}

// pass moves output of from to to and returns the events there.
func pass(from, to *Conn, in *[]byte) (events []Event, err error) {
	*in = append(*in, from.Output()...)
	from.Sent(len(from.Output()))
	for {
		n, e, err := to.Next(*in)
		e = copyOf(e)
		*in = (*in)[n:]
		if err != nil || e.Kind == None {
			return events, err
		}
		events = append(events, e)
	}
}

// run carries bytes both ways until none are left, and returns the events.
func (l *link) run() (atServer, atClient []Event) {
	l.t.Helper()
	for range 100 {
		up, err := pass(&l.client, &l.server, &l.toServer)
		if err != nil {
			l.t.Fatalf("server: %v", err)
		}
		down, err := pass(&l.server, &l.client, &l.toClient)
		if err != nil {
			l.t.Fatalf("client: %v", err)
		}
		atServer, atClient = append(atServer, up...), append(atClient, down...)
		if len(l.client.Output())+len(l.server.Output()) == 0 {
			return atServer, atClient
		}
	}
	l.t.Fatal("the two never stop talking")
	return nil, nil
}

// wire is a peer made with the framer of golang.org/x/net, which writes whatever a
// test wants, and a Conn at the other end.
type wire struct {
	*http2.Framer
	t      testing.TB
	c      Conn
	in     bytes.Buffer
	out    bytes.Buffer
	block  bytes.Buffer
	coder  *hpack.Encoder
	events []Event
	err    error
	deaf   bool // the peer reads nothing
}

// newWire returns a peer of a side, after the preface and settings of both.
func newWire(t testing.TB, side Side, s Settings) *wire {
	w := rawWire(t, side, s)
	if side == Server {
		w.in.WriteString(Preface)
	}
	w.WriteSettings()
	w.WriteSettingsAck()
	w.pump()
	if w.err != nil {
		t.Fatal(w.err)
	}
	w.frames()
	w.events = nil
	return w
}

func rawWire(t testing.TB, side Side, s Settings) *wire {
	w := &wire{t: t}
	w.Framer = http2.NewFramer(&w.in, &w.out)
	w.AllowIllegalReads, w.AllowIllegalWrites = true, true
	w.coder = hpack.NewEncoder(&w.block)
	w.c.Init(side, s)
	if side == Client {
		w.c.Sent(len(Preface))
	}
	return w
}

// pump hands the codec what was written and collects events.
func (w *wire) pump() {
	p := w.in.Bytes()
	for w.err == nil {
		n, e, err := w.c.Next(p)
		p = p[n:]
		if w.err = err; err == nil && e.Kind == None {
			break
		}
		if err == nil {
			w.events = append(w.events, copyOf(e))
		}
	}
	rest := append([]byte(nil), p...)
	w.in.Reset()
	w.in.Write(rest)
	if w.deaf {
		return
	}
	w.out.Write(w.c.Output())
	w.c.Sent(len(w.c.Output()))
}

// frames returns what the codec wrote, a line a frame.
func (w *wire) frames() (lines []string) {
	for {
		f, err := w.ReadFrame()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			w.t.Fatalf("the codec writes a bad frame: %v", err)
		}
		lines = append(lines, describe(f))
	}
}

func describe(f http2.Frame) string {
	h := f.Header()
	s := h.Type.String()
	if h.StreamID != 0 {
		s += " " + string(rune('0'+h.StreamID%10))
	}
	switch f := f.(type) {
	case *http2.RSTStreamFrame:
		s += " " + f.ErrCode.String()
	case *http2.GoAwayFrame:
		s += " " + f.ErrCode.String()
	case *http2.DataFrame:
		s += " " + string(f.Data())
	}
	if h.Type == http2.FrameData || h.Type == http2.FrameHeaders {
		if h.Flags.Has(http2.FlagDataEndStream) {
			s += " END"
		}
	}
	return strings.TrimSpace(s)
}

// encode returns a header block of pairs of names and values.
func (w *wire) encode(pairs ...string) []byte {
	w.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		w.coder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return append([]byte(nil), w.block.Bytes()...)
}

// head writes HEADERS, with END_STREAM for Last.
func (w *wire) head(stream uint32, fin Fin, pairs ...string) {
	w.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: w.encode(pairs...), EndHeaders: true, EndStream: fin == Last,
	})
}

// get is a whole request.
func get(more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "https", ":authority", "example.com", ":path", "/"}, more...)
}

func post(more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "https", ":authority", "example.com", ":path", "/"}, more...)
}
