package h2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// outcome is all that can be seen of a connection.
type outcome struct {
	events []string
	output string
	err    string
}

// read hands data to a new Conn, in pieces of up to size bytes drawn from rng, or
// at once. Requests are answered, so that streams end as well.
func read(t *testing.T, side Side, data []byte, rng *rand.Rand) (o outcome) {
	var c Conn
	c.Init(side, DefaultSettings())
	for range 3 * int(side) { // a client has a few requests under way
		c.OpenRequest(&Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Length: -1})
	}
	have := 0
	for in := data; ; {
		if rng == nil || have == len(in) {
			have = len(in)
		} else {
			have = min(len(in), have+1+rng.IntN(1+rng.IntN(60)))
		}
		for {
			n, e, err := c.Next(in[:have])
			if n < 0 || n > have {
				t.Fatalf("%d bytes consumed of %d", n, have)
			}
			in, have = in[n:], have-n
			if err != nil {
				o.err = err.Error()
			}
			if err != nil || e.Kind == None {
				break
			}
			o.see(t, e)
			if e.Kind == RequestHead && e.End {
				c.WriteResponse(e.Stream, &Response{Status: 200, Fields: e.Request.Fields, Length: 0, End: true})
			}
		}
		if o.err != "" || have == len(in) {
			break
		}
		if have >= frameHeader {
			t.Fatalf("%d bytes are left over", have)
		}
	}
	o.output = frameText(t, c.Output(), side)
	return o
}

// see keeps an event, pieces of payload as one.
func (o *outcome) see(t *testing.T, e Event) {
	text := fmt.Sprint(e.Kind, e.Stream, e.Code, e.Fields, e.Ping, e.Reason, e.Request, e.Response)
	if e.Kind == Data {
		if last := len(o.events) - 1; last >= 0 && strings.HasPrefix(o.events[last], text) && !strings.HasSuffix(o.events[last], "END") {
			text = o.events[last]
			o.events = o.events[:last]
		}
		if len(e.Data) == 0 && !e.End {
			t.Fatal("an event without meaning")
		}
		text += string(e.Data)
	}
	if e.End {
		text += "END"
	}
	o.events = append(o.events, text)
	if e.Kind == RequestHead {
		checkAsHTTP1(t, e.Request)
	}
}

// frameText is output as text, without WINDOW_UPDATE: it may come in other portions.
func frameText(t *testing.T, output []byte, side Side) string {
	if len(output) > 1<<20 {
		t.Fatalf("%d bytes of output", len(output))
	}
	if side == Client {
		output = output[len(Preface):]
	}
	var text strings.Builder
	framer := http2.NewFramer(nil, bytes.NewReader(output))
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			if err.Error() != "EOF" {
				t.Fatalf("%q is no output: %v", output, err)
			}
			return text.String()
		}
		if f.Header().Type != http2.FrameWindowUpdate {
			fmt.Fprintln(&text, describe(f))
		}
	}
}

// checkAsHTTP1 writes an accepted request as HTTP/1.1. It must be one request of
// the same meaning.
func checkAsHTTP1(t *testing.T, r *Request) {
	if r.Method == "CONNECT" || r.Authority == "" {
		return
	}
	text := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.Path, r.Authority)
	for _, f := range r.Fields {
		text = fmt.Appendf(text, "%s: %s\r\n", f.Name, f.Value)
	}
	text = append(text, "\r\n"...)
	var parsed h1.Request
	limits := h1.Limits{Line: 1 << 20, Head: 1 << 20, Fields: 1000}
	n, err := parsed.Parse(text, &limits)
	if err != nil || n != len(text) || len(parsed.Fields) != len(r.Fields)+1 {
		t.Fatalf("%q is not one request: %d, %v", text, n, err)
	}
	if parsed.Framing != h1.NoBody && parsed.Length != r.Length || parsed.Upgrade != "" {
		t.Fatalf("%q has another length, or upgrades", text)
	}
}

// seeds are connections after their settings.
func seeds(t testing.TB) (all [][]byte) {
	for _, do := range []func(w *wire){
		func(w *wire) { w.head(1, Last, get("cookie", "a", "cookie", "b")...); w.head(3, Last, get()...) },
		func(w *wire) {
			w.head(1, More, post("content-length", "3")...)
			w.WriteDataPadded(1, true, []byte("abc"), make([]byte, 3))
		},
		func(w *wire) { w.head(1, More, post()...); send(w, 1, 20000); w.head(1, Last, "x", "y") },
		func(w *wire) {
			open(w, 1)
			w.WriteContinuation(1, true, nil)
			w.WriteRSTStream(1, 0)
			w.WriteData(1, true, []byte("x"))
		},
		func(w *wire) {
			w.WritePing(false, [8]byte{1})
			w.WriteSettings(setting(4, 1), setting(1, 0))
			w.WriteWindowUpdate(0, 1)
			w.WriteGoAway(1, 0, []byte("x"))
		},
		func(w *wire) { w.head(1, More, ":status", "103", "link", "x"); w.head(1, Last, ":status", "200") },
		func(w *wire) {
			w.head(3, More, ":status", "200")
			w.WriteData(3, true, []byte("abc"))
			w.WriteGoAway(3, 0, nil)
		},
		func(w *wire) { w.WriteRawFrame(2, 0, 1, make([]byte, 5)); w.WriteRawFrame(77, 1, 1, make([]byte, 50)) },
	} {
		w := rawWire(t, Server, DefaultSettings())
		do(w)
		all = append(all, append([]byte(nil), w.in.Bytes()...))
	}
	return all
}

// FuzzConn reads arbitrary bytes on both sides, at once and in all ways to cut them:
// that makes no difference, and no output that is none.
func FuzzConn(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed, uint64(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		for side, start := range map[Side]string{Server: Preface + settings, Client: settings} {
			in := append([]byte(start), data...)
			whole := read(t, side, in, nil)
			for i := range uint64(3) {
				cut := read(t, side, in, rand.New(rand.NewPCG(seed, i)))
				if fmt.Sprint(whole) != fmt.Sprint(cut) {
					t.Fatalf("side %d: %q\nin pieces: %q", side, whole, cut)
				}
			}
		}
	})
}

func TestPrefaceInPieces(t *testing.T) {
	for _, in := range []string{Preface, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", "x"} {
		whole := read(t, Server, []byte(in), nil)
		for i := range uint64(20) {
			if cut := read(t, Server, []byte(in), rand.New(rand.NewPCG(9, i))); fmt.Sprint(cut) != fmt.Sprint(whole) {
				t.Fatalf("%q: %q, in pieces %q", in, whole, cut)
			}
		}
	}
}
