package h2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// A server that drains serves what comes until the client knows, and then nothing
// more.
func TestDrain(t *testing.T) {
	w := newWire(t, Server, DefaultSettings())
	answered(w)
	w.c.Drain()
	w.c.Drain()
	w.pump()
	if got := fmt.Sprint(w.frames()); got != "[GOAWAY NO_ERROR PING]" || w.c.Done() || !w.c.Draining() {
		t.Fatalf("%s, done %v", got, w.c.Done())
	}
	w.head(3, Last, get()...)
	var token [8]byte
	binary.BigEndian.PutUint64(token[:], drainToken)
	w.WritePing(true, token)
	w.head(5, Last, get()...)
	w.pump()
	if got := fmt.Sprint(w.frames()); got != "[GOAWAY NO_ERROR RST_STREAM 5 REFUSED_STREAM]" || len(w.events) != 1 || w.events[0].Stream != 3 {
		t.Fatalf("%s, %v", got, w.events)
	}
	w.c.WriteData(1, nil, Last)
	if w.c.Done() {
		t.Error("done with a stream open")
	}
	w.c.WriteResponse(3, &Response{Status: 200, Length: 0, End: true})
	if !w.c.Done() {
		t.Error("not done")
	}
}

// A server that drains before the first request says so with that, whether or not the client
// goes too.
func TestDrainBeforeTheFirstRequest(t *testing.T) {
	for _, gone := range []bool{false, true} {
		w := newWire(t, Server, DefaultSettings())
		w.pump()
		w.frames()
		w.c.Drain()
		w.c.Drain()
		w.pump()
		if got := w.frames(); len(got) != 0 || !w.c.Draining() {
			t.Errorf("%s before the first request, draining %t", got, w.c.Draining())
		}
		if gone {
			w.WriteGoAway(0, http2.ErrCodeNo, nil)
		}
		w.head(1, Last, get()...)
		w.pump()
		last := w.events[len(w.events)-1]
		if got := fmt.Sprint(w.frames()); got != "[GOAWAY NO_ERROR PING]" || last.Kind != RequestHead {
			t.Errorf("%s, %v", got, w.events)
		}
	}
}

// The last stream of GOAWAY is the last one that the owner was told of.
func TestGoAwaySaysTheLastStream(t *testing.T) {
	w := newWire(t, Server, DefaultSettings())
	w.head(1, Last, get()...)
	w.head(7, Last, get()...)
	w.pump()
	w.c.GoAway(NoError)
	w.pump()
	f, err := w.ReadFrame()
	if err != nil || f.(*http2.GoAwayFrame).LastStreamID != 7 {
		t.Error(f, err)
	}
}

// What a server has not seen when it goes may be sent elsewhere.
func TestClientOfAServerThatGoes(t *testing.T) {
	w := newWire(t, Client, DefaultSettings())
	for range 4 {
		request1(w)
	}
	w.WriteGoAway(3, http2.ErrCodeNo, []byte("bye"))
	w.head(1, Last, ":status", "200")
	w.head(7, Last, ":status", "200")
	w.pump()
	var got []string
	for _, e := range w.events {
		got = append(got, fmt.Sprint(e.Kind, e.Stream, e.Code))
	}
	want := []string{
		fmt.Sprint(GoAway, 3, NoError), fmt.Sprint(StreamReset, 5, RefusedStream), fmt.Sprint(StreamReset, 7, RefusedStream), fmt.Sprint(ResponseHead, 1, NoError),
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") && strings.Join(got, "\n") != strings.Join([]string{want[0], want[2], want[1], want[3]}, "\n") {
		t.Errorf("events %v, want %v", got, want)
	}
	if _, err := w.c.OpenRequest(&Request{Method: "GET"}); !errors.Is(err, ErrNoStream) || w.c.CanOpen() || w.c.Done() {
		t.Error("a stream can be opened", err)
	}
	w.head(3, Last, ":status", "200")
	w.pump()
	if !w.c.Done() || w.err != nil {
		t.Error("not done", w.err)
	}
}

func TestClientKeepsToTheLimitOfStreams(t *testing.T) {
	w := newWire(t, Client, DefaultSettings())
	w.WriteSettings(setting(http2.SettingMaxConcurrentStreams, 2))
	w.pump()
	for i := range 3 {
		if _, err := w.c.OpenRequest(&Request{Method: "GET", Scheme: "http", Path: "/", Length: -1, End: true}); (err == nil) != (i < 2) {
			t.Fatal(i, err)
		}
	}
	w.head(1, Last, ":status", "200")
	w.pump()
	if id, err := w.c.OpenRequest(&Request{Method: "GET", Scheme: "http", Path: "/", Length: -1, End: true}); err != nil || id != 5 {
		t.Fatal(id, err)
	}
	w.c.Drain()
	if w.c.CanOpen() {
		t.Error("a stream can be opened after Drain")
	}
}

func TestStreamIDsRunOut(t *testing.T) {
	w := newWire(t, Client, DefaultSettings())
	w.c.lastOurs = 1<<31 - 3
	request1(w)
	if w.c.lastOurs != 1<<31-1 || w.c.CanOpen() {
		t.Error(w.c.lastOurs)
	}
}

// Both sides are told when a stream is reset, and nothing can be written then.
func TestReset(t *testing.T) {
	l := newLink(t, DefaultSettings())
	l.run()
	for _, code := range []ErrCode{Cancel, NoError} {
		id, _ := l.client.OpenRequest(&Request{Method: "PUT", Scheme: "http", Authority: "a", Path: "/", Length: -1})
		l.run()
		l.server.WriteResponse(id, &Response{Status: 413, Length: 0, End: true})
		l.server.Reset(id, code)
		l.server.Reset(id, code)
		_, down := l.run()
		if len(down) != 2 || !down[0].End || down[1].Kind != StreamReset || down[1].Code != code || down[1].Reason != "" {
			t.Fatal(down)
		}
		if _, err := l.client.WriteData(id, []byte("x"), Last); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if l.client.Streams()+l.server.Streams() > 0 {
		t.Error("streams stay open")
	}
}

// A Conn serves many connections one after the other.
func TestInitForgetsTheOldConnection(t *testing.T) {
	l := newLink(t, DefaultSettings())
	for range 3 {
		l.run()
		id, err := l.client.OpenRequest(&Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Fields: []Field{{Name: "a", Value: "b"}}, Length: -1})
		if id != 1 || err != nil {
			t.Fatal(id, err)
		}
		l.client.WriteData(id, []byte("half"), More)
		if up, _ := l.run(); len(up) != 2 {
			t.Fatal(up)
		}
		l.server.Init(Server, DefaultSettings())
		l.client.Init(Client, DefaultSettings())
		l.toServer, l.toClient = nil, nil
	}
}
