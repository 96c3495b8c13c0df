package h2

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// endsWith checks that the codec ended the connection with a code.
func (w *wire) endsWith(code http2.ErrCode) {
	w.t.Helper()
	frames := w.frames()
	if w.err == nil || len(frames) == 0 || frames[len(frames)-1] != "GOAWAY "+code.String() {
		w.t.Errorf("error %v, last frames %q", w.err, frames[max(0, len(frames)-3):])
	}
}

// flood repeats until the codec has had enough, and returns how often.
func (w *wire) flood(limit int, do func(i int)) int {
	for i := range limit {
		do(i)
		w.pump()
		if w.err != nil {
			return i + 1
		}
	}
	return limit
}

func TestRapidReset(t *testing.T) {
	s := DefaultSettings()
	w := newWire(t, Server, s)
	n := w.flood(10*s.MaxResets, func(i int) {
		w.head(uint32(2*i+1), Last, get()...)
		w.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
	})
	w.endsWith(http2.ErrCodeEnhanceYourCalm)
	if n != s.MaxResets+1 {
		t.Errorf("after %d resets, %d are allowed", n, s.MaxResets)
	}
}

// A client that gives up now and then is no attacker, even over a long time, nor is
// one that stops downloads.
func TestResetsOfAnHonestClient(t *testing.T) {
	s := DefaultSettings()
	w := newWire(t, Server, s)
	n := w.flood(10*s.MaxResets, func(i int) {
		id := uint32(2*i + 1)
		w.head(id, Last, get()...)
		w.pump()
		switch i % 3 {
		case 0:
			w.c.WriteResponse(id, &Response{Status: 200, Length: 0, End: true})
		case 1:
			w.WriteRSTStream(id, http2.ErrCodeCancel)
		case 2:
			w.c.WriteResponse(id, &Response{Status: 200, Length: -1})
			w.WriteRSTStream(id, http2.ErrCodeCancel)
		}
	})
	if w.err != nil {
		t.Errorf("after %d: %v", n, w.err)
	}
}

// CVE-2025-8671: it is us who reset, but the peer who made us.
func TestMadeYouReset(t *testing.T) {
	for name, fault := range map[string]func(w *wire, id uint32){
		"WINDOW_UPDATE of 0":      func(w *wire, id uint32) { w.WriteRawFrame(8, 0, id, make([]byte, 4)) },
		"WINDOW_UPDATE overflow":  func(w *wire, id uint32) { w.WriteWindowUpdate(id, 1<<31-1) },
		"PRIORITY of 4 bytes":     func(w *wire, id uint32) { w.WriteRawFrame(2, 0, id, make([]byte, 4)) },
		"PRIORITY on itself":      func(w *wire, id uint32) { w.WritePriority(id, http2.PriorityParam{StreamDep: id}) },
		"DATA after END_STREAM":   func(w *wire, id uint32) { w.WriteData(id, false, []byte("x")) },
		"HEADERS after the end":   func(w *wire, id uint32) { w.head(id, Last, "x", "y") },
		"malformed request after": func(w *wire, id uint32) { w.head(id+2, Last, get(":x", "y")...) },
	} {
		s := DefaultSettings()
		w := newWire(t, Server, s)
		n := w.flood(3*s.MaxResets, func(i int) {
			id := uint32(4*i + 1)
			w.head(id, Last, get()...)
			fault(w, id)
			w.pump()
			w.c.Reset(id, Cancel) // the owner gives up the exchange in any case
		})
		if n > s.MaxResets+1 {
			t.Errorf("%s: after %d resets, %d are allowed", name, n, s.MaxResets)
		}
		w.endsWith(http2.ErrCodeEnhanceYourCalm)
	}
}

// Streams beyond the limit are refused, cheaply, and not for ever.
func TestTooManyStreams(t *testing.T) {
	s := DefaultSettings()
	w := newWire(t, Server, s)
	n := w.flood(100_000, func(i int) { w.head(uint32(2*i+1), Last, get("x-new", fmt.Sprint(i))...) })
	if len(w.events) != int(s.MaxConcurrentStreams) || w.c.Streams() != len(w.events) {
		t.Errorf("%d streams are open of %d", w.c.Streams(), len(w.events))
	}
	if n != len(w.events)+s.MaxResets+1 {
		t.Errorf("it took %d requests", n)
	}
	w.endsWith(http2.ErrCodeEnhanceYourCalm)
}

// Frames that bring nothing forward are bounded, whether their answers are read or
// not.
func TestControlFloods(t *testing.T) {
	for name, do := range map[string]func(w *wire){
		"SETTINGS":          func(w *wire) { w.WriteSettings(setting(http2.SettingInitialWindowSize, 1)) },
		"SETTINGS ACK":      func(w *wire) { w.WriteSettingsAck() },
		"PING":              func(w *wire) { w.WritePing(false, [8]byte{}) },
		"PING ACK":          func(w *wire) { w.WritePing(true, [8]byte{}) },
		"PRIORITY":          func(w *wire) { w.WriteRawFrame(2, 0, 9, make([]byte, 5)) },
		"WINDOW_UPDATE":     func(w *wire) { w.WriteWindowUpdate(0, 1) },
		"on a stream":       func(w *wire) { w.WriteWindowUpdate(1, 1) },
		"on a closed one":   func(w *wire) { w.WriteWindowUpdate(3, 1) },
		"RST_STREAM":        func(w *wire) { w.WriteRSTStream(3, 0) },
		"empty DATA":        func(w *wire) { w.WriteData(1, false, nil) },
		"padding":           func(w *wire) { w.WriteDataPadded(1, false, nil, make([]byte, 9)) },
		"DATA on reset one": func(w *wire) { w.WriteData(5, false, []byte("x")) },
		"trailers of those": func(w *wire) { w.head(5, Last, "x", "y") },
		"unknown":           func(w *wire) { w.WriteRawFrame(0xbe, 0, 0, nil) },
		"GOAWAY":            func(w *wire) { w.WriteGoAway(0, 0, nil) },
	} {
		for _, reads := range []bool{true, false} {
			s := DefaultSettings()
			w := newWire(t, Server, s)
			w.head(1, More, post()...)
			w.head(3, Last, get()...)
			w.head(5, More, post()...)
			w.pump()
			w.c.WriteResponse(3, &Response{Status: 200, Length: 0, End: true})
			w.c.Reset(5, Cancel)
			w.pump()
			w.frames()
			w.deaf = !reads
			n := w.flood(100_000, func(int) { do(w) })
			if w.err == nil || n > s.MaxControl+10 {
				t.Errorf("%s: %d frames, error %v", name, n, w.err)
			}
			if waiting := len(w.c.Output()); waiting > 32*s.MaxControl {
				t.Errorf("%s: %d bytes of output wait", name, waiting)
			}
		}
	}
}

// Honest connections live long: what they send brings something forward, or time
// goes by.
func TestControlFramesOfHonestPeers(t *testing.T) {
	for name, do := range map[string]func(w *wire, i int){
		"two updates and a PING for each piece of a long download": func(w *wire, i int) {
			if n, err := w.c.WriteData(1, make([]byte, 50), More); n != 50 || err != nil {
				t.Fatal(n, err)
			}
			w.WriteWindowUpdate(0, 50)
			w.WriteWindowUpdate(1, 50)
			w.WritePing(false, [8]byte{})
		},
		"PING for years": func(w *wire, i int) {
			w.WritePing(false, [8]byte{})
			if i%1000 == 0 {
				w.c.Relax()
			}
		},
		"requests with priorities": func(w *wire, i int) {
			id := uint32(2*i + 3)
			w.WriteRawFrame(2, 0, id, make([]byte, 5))
			w.head(id, Last, get()...)
			w.WriteWindowUpdate(0, 1)
			w.WriteRawFrame(0x10, 0, 0, make([]byte, 5))
			w.pump()
			w.c.WriteResponse(id, &Response{Status: 200, Length: 0, End: true})
		},
		"an upload in small pieces": func(w *wire, i int) {
			w.WriteData(1, false, []byte("x"))
			w.WriteWindowUpdate(0, 1)
			w.pump()
			w.c.Consumed(1, 1)
		},
	} {
		w := newWire(t, Server, DefaultSettings())
		w.head(1, More, post()...)
		w.pump()
		w.c.WriteResponse(1, &Response{Status: 200, Length: -1})
		if n := w.flood(20_000, func(i int) { do(w, i) }); w.err != nil {
			t.Errorf("%s: ended after %d: %v", name, n, w.err)
		}
	}
}

// A peer that takes a byte at a time makes us hold no more than MaxBuffered, and
// wears out.
func TestTinyWindow(t *testing.T) {
	w := newWire(t, Server, DefaultSettings())
	w.WriteSettings(setting(http2.SettingInitialWindowSize, 0))
	answered(w)
	body := make([]byte, 1<<20)
	n := w.flood(100_000, func(int) {
		w.WriteWindowUpdate(1, 1)
		w.pump()
		w.c.WriteData(1, body, Last)
	})
	if n > 2*w.c.settings.MaxControl {
		t.Errorf("it took %d updates", n)
	}
	w.frames()
}

func TestContinuationFlood(t *testing.T) {
	for name, fragment := range map[string][]byte{"empty": nil, "small": []byte("\x00\x01a\x01b"), "large": bytes.Repeat([]byte("\x00\x01a\x01b"), 3000)} {
		w := newWire(t, Server, DefaultSettings())
		open(w, 1)
		n := w.flood(100_000, func(int) { w.WriteContinuation(1, false, fragment) })
		if n > w.c.settings.MaxContinuations+1 || cap(w.c.in.block.bytes) > 4*w.c.settings.MaxHeaderBytes {
			t.Errorf("%s: %d frames, %d bytes", name, n, cap(w.c.in.block.bytes))
		}
		w.endsWith(http2.ErrCodeEnhanceYourCalm)
	}
}

// An HPACK bomb: one large field in the table, and thousands of bytes that each
// stand for it. The stream is answered, the connection goes on, the tables agree.
func TestHPACKBomb(t *testing.T) {
	w := newWire(t, Server, DefaultSettings())
	w.head(1, Last, get("bomb", strings.Repeat("b", 3900))...)
	w.pump()
	block := append(w.encode(get()...), bytes.Repeat([]byte{0x80 | 62}, 16000)...)
	block = append(block, w.encode("x-after", "the bomb")...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 100 {
		w.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 3), EndHeaders: true, EndStream: true, BlockFragment: block})
		w.pump()
		w.c.WriteResponse(uint32(2*i+3), &Response{Status: 431, Length: 0, End: true})
		block = append(w.encode(get()...), bytes.Repeat([]byte{0x80 | 63}, 16000)...)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 20<<20 {
		t.Errorf("%d bytes were allocated for bombs of 63 MB", grown)
	}
	w.head(201+2, Last, get("x-after", "the bomb")...)
	w.pump()
	if w.err != nil || len(w.events) != 102 || w.events[1].Kind != HeadTooLarge || !w.events[1].End {
		t.Fatalf("%d events, error %v", len(w.events), w.err)
	}
	if f := w.events[101].Request.Fields; len(f) != 1 || f[0].Value != "the bomb" {
		t.Errorf("the tables are out of step: %v", f)
	}
}

func TestTooManyFields(t *testing.T) {
	fields := func(n int, name string) []string {
		f := get()
		for i := range n {
			f = append(f, name, fmt.Sprint(i))
		}
		return f
	}
	for _, test := range []struct {
		fields []string
		large  bool
	}{
		{fields(128, "x"), false}, {fields(129, "x"), true}, {fields(1000, "cookie"), false}, {fields(2000, "cookie"), true},
		{get("x", strings.Repeat("y", 65000)), false}, {get("x", strings.Repeat("y", 66000)), true},
	} {
		w := newWire(t, Server, DefaultSettings())
		w.coder = hpack.NewEncoder(&w.block)
		block := w.encode(test.fields...)
		w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: block[:min(len(block), 16000)]})
		for rest := block[min(len(block), 16000):]; ; {
			n := min(len(rest), 16000)
			w.WriteContinuation(1, n == len(rest), rest[:n])
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
		w.head(3, Last, get()...)
		w.pump()
		if len(w.events) != 2 || (w.events[0].Kind == HeadTooLarge) != test.large || w.events[1].Kind != RequestHead {
			t.Errorf("%d fields: events %v, error %v", len(test.fields)/2, w.events, w.err)
		}
	}
}

func TestLargeResponsesAndTrailersAreReset(t *testing.T) {
	long := strings.Repeat("y", 66000*8/5)
	huffman := hpack.AppendHuffmanString(nil, long)
	block := append([]byte{0x88, 0x00, 0x01, 'x', 0xff}, 0, 0, 0)
	binaryLength(block[5:], len(huffman)-127)
	block = append(block, huffman...)
	for _, head := range []bool{true, false} {
		w := newWire(t, Client, DefaultSettings())
		request1(w)
		if b := block; !head {
			w.head(1, More, ":status", "200")
			w.block.Reset()
			writeParted(w, b[1:])
		} else {
			writeParted(w, b)
		}
		w.pump()
		if last := w.events[len(w.events)-1]; last.Kind != StreamReset || last.Code != EnhanceYourCalm || w.err != nil {
			t.Errorf("last event %v, error %v", last, w.err)
		}
	}
}

// binaryLength writes n as three bytes of an HPACK integer.
func binaryLength(p []byte, n int) {
	p[0], p[1], p[2] = byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)
}

func writeParted(w *wire, block []byte) {
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: block[:16000]})
	for block = block[16000:]; len(block) > 16000; block = block[16000:] {
		w.WriteContinuation(1, false, block[:16000])
	}
	w.WriteContinuation(1, true, block)
}

// What a codec remembers of closed streams does not grow with them.
func TestClosedStreamsAreForgotten(t *testing.T) {
	w := newWire(t, Server, DefaultSettings())
	for i := range 5000 {
		id := uint32(2*i + 1)
		w.head(id, More, post()...)
		w.pump()
		w.c.WriteResponse(id, &Response{Status: 413, Length: 0, End: true})
		w.c.Reset(id, NoError)
		w.out.Reset()
		w.events = nil
	}
	if n := cap(w.c.abandoned.ids) + cap(w.c.finished.ids) + len(w.c.streams.slots) + len(w.c.streams.free); n > 1000 || w.err != nil {
		t.Errorf("%d records are kept, error %v", n, w.err)
	}
}

// Ten thousand quiet connections, each after a page of a browser, fit in a proxy's
// memory.
func TestQuietConnectionsAreSmall(t *testing.T) {
	const connections, most = 200, 24 << 10
	conns := make([]*wire, connections)
	body := make([]byte, 60<<10)
	for i := range conns {
		w := newWire(t, Server, DefaultSettings())
		for id := uint32(1); id < 60; id += 2 {
			w.head(id, Last, append(browserFields(), "x-trace", fmt.Sprint(i, id))...)
			w.pump()
			w.c.WriteResponse(id, &Response{Status: 200, Fields: responseFields(), Length: -1})
			w.c.WriteData(id, body[:2000], Last)
		}
		w.pump()
		w.c.Relax()
		conns[i] = &wire{c: w.c}
	}
	var all, none runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&all)
	clear(conns)
	runtime.GC()
	runtime.ReadMemStats(&none)
	if each := (all.HeapAlloc - none.HeapAlloc) / connections; each > most {
		t.Errorf("a quiet connection takes %d bytes, more than %d", each, most)
	} else {
		t.Logf("a quiet connection takes %d bytes", each)
	}
}
