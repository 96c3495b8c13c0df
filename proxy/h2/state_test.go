package h2

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// A peer breaks the rules of frames and streams. What follows is an error of the
// kind that RFC 9113 asks for; "" means that it is no error.
func TestFrameErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		side Side
		want string // the last frame that the codec writes
		do   func(w *wire)
	}{
		{"unknown frame", Server, "", func(w *wire) { w.WriteRawFrame(0xfe, 0xff, 7, []byte("what")) }},
		{"PRIORITY_UPDATE", Server, "", func(w *wire) { w.WriteRawFrame(0x10, 0, 0, []byte("\x00\x00\x00\x01u=1")) }},
		{"frame too large", Server, "GOAWAY FRAME_SIZE_ERROR", func(w *wire) { w.WriteRawFrame(0xfe, 0, 0, make([]byte, 16385)) }},
		{"DATA on stream 0", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteData(0, true, nil) }},
		{"DATA on idle stream", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteData(1, true, nil) }},
		{"DATA on even stream", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.head(5, Last, get()...); w.WriteData(2, true, nil) }},
		{"DATA after END_STREAM", Server, "RST_STREAM 1 STREAM_CLOSED", func(w *wire) { w.head(1, Last, get()...); w.WriteData(1, true, nil) }},
		{"DATA after RST_STREAM", Server, "RST_STREAM 1 STREAM_CLOSED", func(w *wire) {
			w.head(1, More, get()...)
			w.WriteRSTStream(1, http2.ErrCodeCancel)
			w.WriteData(1, true, nil)
		}},
		{"padding as long as DATA", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.head(1, More, post()...); w.WriteRawFrame(0, 8, 1, []byte("\x05abcd")) }},
		{"padding up to the end", Server, "", func(w *wire) { w.head(1, More, post()...); w.WriteRawFrame(0, 8, 1, []byte("\x04abcd")) }},
		{"padded DATA of 0 bytes", Server, "GOAWAY FRAME_SIZE_ERROR", func(w *wire) { w.head(1, More, post()...); w.WriteRawFrame(0, 8, 1, nil) }},

		{"HEADERS on stream 0", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.head(0, Last, get()...) }},
		{"HEADERS on even stream", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.head(2, Last, get()...) }},
		{"HEADERS on lower stream", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.head(5, Last, get()...); w.head(3, Last, get()...) }},
		{"HEADERS after END_STREAM", Server, "RST_STREAM 1 STREAM_CLOSED", func(w *wire) { w.head(1, Last, get()...); w.head(1, Last, get()...) }},
		{"HEADERS after RST_STREAM", Server, "GOAWAY STREAM_CLOSED", func(w *wire) {
			w.head(1, More, get()...)
			w.WriteRSTStream(1, http2.ErrCodeCancel)
			w.head(1, Last, get()...)
		}},
		{"HEADERS with bad padding", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteRawFrame(1, 0xc, 1, []byte("\x09\x82\x84\x87")) }},
		{"HEADERS too short for priority", Server, "GOAWAY FRAME_SIZE_ERROR", func(w *wire) { w.WriteRawFrame(1, 0x24, 1, []byte("\x00\x00")) }},
		{"HEADERS that depend on themselves", Server, "RST_STREAM 1 PROTOCOL_ERROR", func(w *wire) {
			w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: w.encode(get()...), Priority: http2.PriorityParam{StreamDep: 1, Weight: 9}})
		}},
		{"HEADERS with priority", Server, "", func(w *wire) {
			w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, EndHeaders: true, PadLength: 3, BlockFragment: w.encode(get()...), Priority: http2.PriorityParam{StreamDep: 1, Exclusive: true}})
		}},
		{"broken header block", Server, "GOAWAY COMPRESSION_ERROR", func(w *wire) { w.WriteRawFrame(1, 5, 1, []byte("\xff\xff\xff")) }},
		{"CONTINUATION without HEADERS", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteContinuation(1, true, nil) }},
		{"CONTINUATION after the block", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.head(1, Last, get()...); w.WriteContinuation(1, true, nil) }},
		{"CONTINUATION on another stream", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { open(w, 1); w.WriteContinuation(3, true, nil) }},
		{"PING within a block", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { open(w, 1); w.WritePing(false, [8]byte{}) }},
		{"unknown frame within a block", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { open(w, 1); w.WriteRawFrame(0xfe, 0, 1, nil) }},
		{"CONTINUATION", Server, "", func(w *wire) { open(w, 1); w.WriteContinuation(1, false, nil); w.WriteContinuation(1, true, nil) }},

		{"PRIORITY on stream 0", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteRawFrame(2, 0, 0, make([]byte, 5)) }},
		{"PRIORITY of 4 bytes", Server, "RST_STREAM 1 FRAME_SIZE_ERROR", func(w *wire) { w.head(1, Last, get()...); w.WriteRawFrame(2, 0, 1, make([]byte, 4)) }},
		{"PRIORITY that depends on itself", Server, "RST_STREAM 1 PROTOCOL_ERROR", func(w *wire) { w.head(1, Last, get()...); w.WriteRawFrame(2, 0, 1, []byte("\x00\x00\x00\x01\x00")) }},
		{"PRIORITY on idle stream", Server, "", func(w *wire) { w.WriteRawFrame(2, 0, 9, make([]byte, 5)); w.head(1, Last, get()...) }},
		{"RST_STREAM on stream 0", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteRSTStream(0, 0) }},
		{"RST_STREAM on idle stream", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteRSTStream(1, 0) }},
		{"RST_STREAM of 3 bytes", Server, "GOAWAY FRAME_SIZE_ERROR", func(w *wire) { w.head(1, Last, get()...); w.WriteRawFrame(3, 0, 1, make([]byte, 3)) }},
		{"RST_STREAM twice", Server, "", func(w *wire) { w.head(1, Last, get()...); w.WriteRSTStream(1, 8); w.WriteRSTStream(1, 8) }},
		{"SETTINGS on a stream", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteRawFrame(4, 0, 1, nil) }},
		{"SETTINGS of 3 bytes", Server, "GOAWAY FRAME_SIZE_ERROR", func(w *wire) { w.WriteRawFrame(4, 0, 0, make([]byte, 3)) }},
		{"SETTINGS ACK with payload", Server, "GOAWAY FRAME_SIZE_ERROR", func(w *wire) { w.WriteRawFrame(4, 1, 0, make([]byte, 6)) }},
		{"PUSH_PROMISE to a server", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.head(1, More, get()...); w.WriteRawFrame(5, 4, 1, make([]byte, 4)) }},
		{"PING on a stream", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteRawFrame(6, 0, 1, make([]byte, 8)) }},
		{"PING of 6 bytes", Server, "GOAWAY FRAME_SIZE_ERROR", func(w *wire) { w.WriteRawFrame(6, 0, 0, make([]byte, 6)) }},
		{"PING", Server, "PING", func(w *wire) { w.WritePing(false, [8]byte{1}) }},
		{"GOAWAY on a stream", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteRawFrame(7, 0, 1, make([]byte, 8)) }},
		{"GOAWAY of 7 bytes", Server, "GOAWAY FRAME_SIZE_ERROR", func(w *wire) { w.WriteRawFrame(7, 0, 0, make([]byte, 7)) }},
		{"WINDOW_UPDATE of 3 bytes", Server, "GOAWAY FRAME_SIZE_ERROR", func(w *wire) { w.WriteRawFrame(8, 0, 0, make([]byte, 3)) }},
		{"WINDOW_UPDATE of 0 on the connection", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteRawFrame(8, 0, 0, make([]byte, 4)) }},
		{"WINDOW_UPDATE of 0 on a stream", Server, "RST_STREAM 1 PROTOCOL_ERROR", func(w *wire) { w.head(1, Last, get()...); w.WriteRawFrame(8, 0, 1, make([]byte, 4)) }},
		{"WINDOW_UPDATE on idle stream", Server, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.WriteWindowUpdate(1, 9) }},
		{"WINDOW_UPDATE on closed stream", Server, "", func(w *wire) { w.head(1, Last, get()...); w.WriteRSTStream(1, 8); w.WriteWindowUpdate(1, 9) }},
		{"WINDOW_UPDATE beyond 2^31-1 on the connection", Server, "GOAWAY FLOW_CONTROL_ERROR", func(w *wire) { w.WriteWindowUpdate(0, 1<<31-1) }},
		{"WINDOW_UPDATE beyond 2^31-1 on a stream", Server, "RST_STREAM 1 FLOW_CONTROL_ERROR", func(w *wire) { w.head(1, Last, get()...); w.WriteWindowUpdate(1, 1<<31-1) }},

		{"PUSH_PROMISE to a client", Client, "GOAWAY PROTOCOL_ERROR", func(w *wire) { request1(w); w.WriteRawFrame(5, 4, 1, []byte("\x00\x00\x00\x02\x82")) }},
		{"response on idle stream", Client, "GOAWAY PROTOCOL_ERROR", func(w *wire) { w.head(1, Last, ":status", "200") }},
		{"response on even stream", Client, "GOAWAY PROTOCOL_ERROR", func(w *wire) { request1(w); w.head(2, Last, ":status", "200") }},
		{"response after the response", Client, "RST_STREAM 1 STREAM_CLOSED", func(w *wire) {
			w.c.OpenRequest(&Request{Method: "PUT", Scheme: "http", Authority: "a", Path: "/"})
			w.head(1, Last, ":status", "200")
			w.head(1, Last, ":status", "200")
		}},
		{"response after the exchange", Client, "GOAWAY STREAM_CLOSED", func(w *wire) { request1(w); w.head(1, Last, ":status", "200"); w.head(1, Last, ":status", "200") }},
		{"DATA before the response", Client, "RST_STREAM 1 PROTOCOL_ERROR", func(w *wire) { request1(w); w.WriteData(1, true, nil) }},
		{"DATA between interim and final", Client, "RST_STREAM 1 PROTOCOL_ERROR", func(w *wire) { request1(w); w.head(1, More, ":status", "103"); w.WriteData(1, false, []byte("x")) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWire(t, test.side, DefaultSettings())
			test.do(w)
			w.pump()
			last := ""
			for _, f := range w.frames() {
				if !strings.HasPrefix(f, "HEADERS") {
					last = f
				}
			}
			if last != test.want {
				t.Errorf("answered with %q, want %q (%v)", last, test.want, w.err)
			}
			if (w.err != nil) != strings.HasPrefix(test.want, "GOAWAY") {
				t.Errorf("error %v", w.err)
			}
			if _, _, err := w.c.Next([]byte("more")); w.err != nil && !errors.Is(err, w.err) {
				t.Errorf("a later call returns %v, not %v", err, w.err)
			}
		})
	}
}

// open writes HEADERS that CONTINUATION has to follow.
func open(w *wire, stream uint32) {
	w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, EndStream: true, BlockFragment: w.encode(get()...)})
}

// request1 lets a client open stream 1.
func request1(w *wire) {
	if _, err := w.c.OpenRequest(&Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Length: -1, End: true}); err != nil {
		w.t.Fatal(err)
	}
}

func TestPreface(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"GET / HTTP/1.1\r\n\r\n", "GOAWAY PROTOCOL_ERROR"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", "GOAWAY PROTOCOL_ERROR"},
		{Preface + "\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh", "GOAWAY PROTOCOL_ERROR"},
		{Preface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00", "GOAWAY PROTOCOL_ERROR"},
		{Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "SETTINGS"},
		{"PRI * HT", "WINDOW_UPDATE"},
	} {
		w := rawWire(t, Server, DefaultSettings())
		w.in.WriteString(test.in)
		w.pump()
		frames := w.frames()
		if frames[0] != "SETTINGS" || frames[len(frames)-1] != test.want {
			t.Errorf("%q is answered with %q", test.in, frames)
		}
	}
}

func TestSettingsAreAnnounced(t *testing.T) {
	s := DefaultSettings()
	s.ExtendedConnect, s.TableSize, s.MaxFrameSize = true, 8192, 32768
	for side, want := range map[Side]string{
		Server: "[MAX_CONCURRENT_STREAMS = 128] [INITIAL_WINDOW_SIZE = 262144] [MAX_HEADER_LIST_SIZE = 65536] [HEADER_TABLE_SIZE = 8192] [MAX_FRAME_SIZE = 32768] [ENABLE_CONNECT_PROTOCOL = 1]",
		Client: "[ENABLE_PUSH = 0] [INITIAL_WINDOW_SIZE = 262144] [MAX_HEADER_LIST_SIZE = 65536] [HEADER_TABLE_SIZE = 8192] [MAX_FRAME_SIZE = 32768]",
	} {
		w := rawWire(t, side, s)
		w.pump()
		f, err := w.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		f.(*http2.SettingsFrame).ForeachSetting(func(s http2.Setting) error {
			got = append(got, s.String())
			return nil
		})
		if strings.Join(got, " ") != want {
			t.Errorf("side %d announces %v", side, got)
		}
	}
}

func TestSettingsOfThePeer(t *testing.T) {
	for _, test := range []struct {
		side  Side
		id    http2.SettingID
		value uint32
		want  string
	}{
		{Server, http2.SettingEnablePush, 1, "SETTINGS"},
		{Server, http2.SettingEnablePush, 2, "GOAWAY PROTOCOL_ERROR"},
		{Client, http2.SettingEnablePush, 0, "SETTINGS"},
		{Client, http2.SettingEnablePush, 1, "GOAWAY PROTOCOL_ERROR"},
		{Server, http2.SettingInitialWindowSize, 1<<31 - 1, "SETTINGS"},
		{Server, http2.SettingInitialWindowSize, 1 << 31, "GOAWAY FLOW_CONTROL_ERROR"},
		{Server, http2.SettingMaxFrameSize, 16383, "GOAWAY PROTOCOL_ERROR"},
		{Server, http2.SettingMaxFrameSize, 1 << 24, "GOAWAY PROTOCOL_ERROR"},
		{Server, http2.SettingMaxFrameSize, 1<<24 - 1, "SETTINGS"},
		{Server, http2.SettingMaxHeaderListSize, 1, "SETTINGS"},
		{Server, http2.SettingHeaderTableSize, 1<<32 - 1, "SETTINGS"},
		{Client, settingProtocol, 1, "SETTINGS"},
		{Client, settingProtocol, 2, "GOAWAY PROTOCOL_ERROR"},
		{Server, 0xabcd, 7, "SETTINGS"},
	} {
		w := newWire(t, test.side, DefaultSettings())
		w.WriteSettings(http2.Setting{ID: test.id, Val: test.value})
		w.pump()
		if got := w.frames(); len(got) != 1 || got[0] != test.want {
			t.Errorf("%v = %d is answered with %q, want %s", test.id, test.value, got, test.want)
		}
	}
	w := newWire(t, Client, DefaultSettings())
	w.WriteSettings(http2.Setting{ID: settingProtocol, Val: 1})
	w.WriteSettings(http2.Setting{ID: settingProtocol, Val: 0})
	w.pump()
	if !w.c.ExtendedConnect() || w.err == nil {
		t.Error("extended CONNECT was taken back and nobody minded")
	}
}

// Whatever is on the wire of a stream that we have reset is ignored, but counts
// for the tables and the connection's window.
func TestResetStreamsAreIgnored(t *testing.T) {
	w := newWire(t, Server, DefaultSettings())
	w.head(1, More, post()...)
	w.pump()
	w.c.Reset(1, Cancel)
	w.WriteData(1, false, make([]byte, 10000))
	w.WriteWindowUpdate(1, 5)
	w.head(1, Last, "x-late", "indexed by the peer")
	w.WriteRSTStream(1, http2.ErrCodeCancel)
	w.head(3, Last, get("x-late", "indexed by the peer")...)
	w.events = nil
	w.pump()
	if got := strings.Join(w.frames(), ", "); got != "RST_STREAM 1 CANCEL" || len(w.events) != 1 || w.err != nil {
		t.Fatalf("wrote %q, events %v, error %v", got, w.events, w.err)
	}
	if f := w.events[0].Request.Fields; len(f) != 1 || f[0].Value != "indexed by the peer" {
		t.Errorf("the tables are out of step: %v", f)
	}
	if w.c.used != 10000 {
		t.Errorf("%d bytes are given back", w.c.used)
	}
}

func TestPingsAreAnswered(t *testing.T) {
	w := newWire(t, Client, DefaultSettings())
	w.c.Ping(77)
	w.pump()
	f, err := w.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	ping := f.(*http2.PingFrame)
	w.WritePing(true, ping.Data)
	w.WritePing(false, [8]byte{1, 2, 3})
	w.pump()
	if len(w.events) != 1 || w.events[0].Kind != PingAck || w.events[0].Ping != 77 {
		t.Errorf("events %v", w.events)
	}
	f, err = w.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if ping = f.(*http2.PingFrame); !ping.IsAck() || binary.BigEndian.Uint64(ping.Data[:]) != 0x0102030000000000 {
		t.Errorf("answered with %v", ping)
	}
}
