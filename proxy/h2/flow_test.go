package h2

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/net/http2"
)

// answered opens stream 1 and lets the server write a head.
func answered(w *wire) {
	w.head(1, Last, get()...)
	w.pump()
	w.c.WriteResponse(1, &Response{Status: 200, Length: -1})
	w.pump()
	w.frames()
	w.events = nil
}

func setting(id http2.SettingID, v uint32) http2.Setting { return http2.Setting{ID: id, Val: v} }

// SETTINGS_INITIAL_WINDOW_SIZE changes windows of open streams, which may get
// negative (RFC 9113 §6.9.2).
func TestWindowBelowZero(t *testing.T) {
	w := newWire(t, Server, DefaultSettings())
	answered(w)
	if n, _ := w.c.WriteData(1, make([]byte, 40000), More); n != 40000 {
		t.Fatal(n)
	}
	w.WriteSettings(setting(http2.SettingInitialWindowSize, 30000))
	w.pump()
	if n, err := w.c.WriteData(1, make([]byte, 10), Last); n != 0 || err != nil || w.c.Window(1) != 0 {
		t.Fatal(n, err)
	}
	w.WriteWindowUpdate(1, 10000)
	w.pump()
	if len(w.events) != 1 || w.c.Window(1) != 0 { // the window is 0 now
		t.Fatal(w.events)
	}
	w.WriteWindowUpdate(1, 7)
	w.pump()
	if e := w.events[1]; e.Kind != Writable || e.Stream != 1 || w.c.Window(1) != 7 {
		t.Fatal(e)
	}
	w.WriteSettings(setting(http2.SettingInitialWindowSize, 40000))
	w.pump()
	if n, _ := w.c.WriteData(1, make([]byte, 10), Last); n != 10 {
		t.Fatal(n)
	}
}

func TestWindowOfSettingsOverflows(t *testing.T) {
	w := newWire(t, Server, DefaultSettings())
	answered(w)
	w.WriteWindowUpdate(1, 1<<31-1-65535)
	w.WriteSettings(setting(http2.SettingInitialWindowSize, 65536))
	w.pump()
	if got := fmt.Sprint(w.frames()); got != "[GOAWAY FLOW_CONTROL_ERROR]" {
		t.Error(got)
	}
}

func TestConnectionWindow(t *testing.T) {
	s := DefaultSettings()
	s.MaxBuffered = 1 << 20
	w := newWire(t, Server, s)
	w.WriteSettings(setting(http2.SettingInitialWindowSize, 1<<20))
	answered(w)
	if n, _ := w.c.WriteData(1, make([]byte, 70000), Last); n != 65535 {
		t.Fatal(n)
	}
	w.WriteWindowUpdate(1, 10)
	w.WriteWindowUpdate(0, 10)
	w.pump()
	if len(w.events) != 1 || w.events[0].Kind != Writable || w.events[0].Stream != 0 {
		t.Fatal(w.events)
	}
	if n, _ := w.c.WriteData(1, make([]byte, 10), Last); n != 10 || w.c.Streams() != 0 {
		t.Fatal(n)
	}
}

func TestFramesAreAsLargeAsThePeerWants(t *testing.T) {
	s := DefaultSettings()
	s.MaxBuffered = 1 << 20
	w := newWire(t, Server, s)
	w.SetMaxReadFrameSize(1 << 24)
	w.WriteSettings(setting(http2.SettingMaxFrameSize, 20000))
	answered(w)
	w.c.WriteData(1, make([]byte, 50000), Last)
	w.pump()
	var sizes []uint32
	for range 3 {
		f, err := w.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, f.Header().Length)
	}
	if fmt.Sprint(sizes) != "[20000 20000 10000]" {
		t.Error(sizes)
	}
}

func TestOutputIsBounded(t *testing.T) {
	s := DefaultSettings()
	s.MaxBuffered = 1000
	w := newWire(t, Server, s)
	answered(w)
	if n, _ := w.c.WriteData(1, make([]byte, 5000), Last); n != 1000 {
		t.Fatal(n)
	}
	if n, _ := w.c.WriteData(1, make([]byte, 5000), Last); n != 0 || w.c.Window(1) != 0 {
		t.Fatal(n)
	}
	w.c.Sent(600)
	if n, _ := w.c.WriteData(1, make([]byte, 5000), Last); n < 500 || n > 600 {
		t.Fatal(n)
	}
}

func TestPeerKeepsToTheWindows(t *testing.T) {
	s := DefaultSettings()
	s.StreamWindow = 70000
	s.ConnWindow = 100000
	for _, test := range []struct {
		name, want string
		do         func(w *wire)
	}{
		{"stream", "[RST_STREAM 1 FLOW_CONTROL_ERROR]", func(w *wire) { send(w, 1, 70001) }},
		{"stream, up to the edge", "[]", func(w *wire) { send(w, 1, 70000) }},
		{"connection", "[GOAWAY FLOW_CONTROL_ERROR]", func(w *wire) { send(w, 1, 60000); w.head(3, More, post()...); send(w, 3, 40001) }},
		{"connection, up to the edge", "[]", func(w *wire) { send(w, 1, 60000); w.head(3, More, post()...); send(w, 3, 40000) }},
		{"padding counts", "[GOAWAY FLOW_CONTROL_ERROR]", func(w *wire) {
			send(w, 1, 60000)
			w.head(3, More, post()...)
			send(w, 3, 39900)
			w.WriteDataPadded(3, true, nil, make([]byte, 100))
		}},
		{"padding is given back", "[WINDOW_UPDATE 1 WINDOW_UPDATE]", func(w *wire) {
			for range 500 {
				w.WriteDataPadded(1, false, nil, make([]byte, 250))
			}
		}},
		{"consumed, both windows", "[WINDOW_UPDATE WINDOW_UPDATE 1]", func(w *wire) { send(w, 1, 60000); w.pump(); w.c.Consumed(1, 60000); send(w, 1, 69000) }},
		{"consumed, not half of it", "[RST_STREAM 1 FLOW_CONTROL_ERROR]", func(w *wire) { send(w, 1, 60000); w.pump(); w.c.Consumed(1, 10000); send(w, 1, 10001) }},
		{"consumed more than sent", "[RST_STREAM 1 FLOW_CONTROL_ERROR]", func(w *wire) { send(w, 1, 1000); w.pump(); w.c.Consumed(1, 1<<30); send(w, 1, 70001) }},
		{"consumed after the reset", "[RST_STREAM 1 CANCEL WINDOW_UPDATE]", func(w *wire) { send(w, 1, 60000); w.pump(); w.c.Reset(1, Cancel); w.c.Consumed(1, 60000) }},
	} {
		w := newWire(t, Server, s)
		w.head(1, More, post()...)
		test.do(w)
		w.pump()
		if got := fmt.Sprint(distinct(w.frames())); got != test.want {
			t.Errorf("%s: answered with %s, want %s", test.name, got, test.want)
		}
	}
}

// distinct returns each line once, in the order in which they come first.
func distinct(lines []string) (out []string) {
	for _, line := range lines {
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

func send(w *wire, stream uint32, n int) {
	for n > 0 {
		m := min(n, 16384)
		w.WriteData(stream, false, make([]byte, m))
		n -= m
	}
}

// Before its settings are known, a window is as the RFC says, and shrinks then.
func TestSmallWindowCountsFromTheAck(t *testing.T) {
	s := DefaultSettings()
	s.StreamWindow = 1000
	for _, ack := range []bool{false, true} {
		w := rawWire(t, Server, s)
		w.in.WriteString(Preface)
		w.WriteSettings()
		w.head(1, More, post()...)
		if ack {
			w.WriteSettingsAck()
		}
		w.WriteData(1, false, make([]byte, 2000))
		w.pump()
		reset := false
		for _, f := range w.frames() {
			reset = reset || f == "RST_STREAM 1 FLOW_CONTROL_ERROR"
		}
		if reset != ack {
			t.Errorf("acknowledged %v, reset %v", ack, reset)
		}
	}
}

// The table of streams is compared with a map.
func TestStreams(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var table streams
	model := map[uint32]*stream{}
	for range 20000 {
		id := uint32(rng.IntN(400))*2 + 1
		if s := model[id]; s != nil {
			table.remove(s)
			delete(model, id)
		} else if rng.IntN(3) > 0 {
			model[id] = table.add(id)
		}
		probe := uint32(rng.IntN(400))*2 + 1
		if table.find(probe) != model[probe] || table.n != len(model) {
			t.Fatalf("stream %d: %v, want %v; %d of %d", probe, table.find(probe), model[probe], table.n, len(model))
		}
	}
}
