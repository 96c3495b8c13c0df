package h2

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pairs replaces, adds and removes ("") names in the fields of a GET request.
func pairs(changes ...string) []string {
	out := get()
	for i := 0; i < len(changes); i += 2 {
		found := false
		for j := 0; j < len(out); j += 2 {
			if out[j] == changes[i] {
				found = true
				if out[j+1] = changes[i+1]; changes[i+1] == "-" {
					out = append(out[:j], out[j+2:]...)
				}
				break
			}
		}
		if !found {
			out = append(out, changes[i], changes[i+1])
		}
	}
	return out
}

func TestMalformedRequests(t *testing.T) {
	s := DefaultSettings()
	s.ExtendedConnect = true
	for _, fields := range [][]string{
		// Pseudo-header fields (RFC 9113 §8.3).
		pairs(":method", "-"), pairs(":scheme", "-"), pairs(":path", "-"), pairs(":path", ""),
		pairs(":method", ""), pairs(":method", "GE T"), pairs(":method", "GET\r\nX: y"),
		pairs(":scheme", "ftp"), pairs(":scheme", "http://a/?"),
		pairs(":path", "a"), pairs(":path", "*"), pairs(":path", "/a b"), pairs(":path", "/a\r\nX: y"), pairs(":path", "/a#b"), pairs(":path", "/\x00"), pairs(":path", "/ä"), pairs(":path", "http://a/"),
		pairs(":authority", "a b"), pairs(":authority", "a\r\nX: y"), pairs(":authority", "user@a"), pairs(":authority", "a/b"), pairs(":authority", "a:99999"), pairs(":authority", "[::1"), pairs(":authority", "a:b"),
		pairs(":status", "200"), pairs(":unknown", "x"), pairs(":", "x"),
		append(get(), ":method", "GET"), append(get(), ":path", "/"), append(get(), "x", "y", ":authority", "a"),
		append([]string{"x", "y"}, get()...), append([]string{"host", "example.com"}, get()...),
		append(get(), ":protocol", "websocket"),
		// Host (RFC 9113 §8.3.1).
		pairs("host", "other"), pairs("host", ""), append(get(), "host", "example.com", "host", "example.com"),
		pairs(":authority", "-", "host", "a b"),
		// CONNECT (RFC 9113 §8.5, RFC 8441 §4).
		pairs(":method", "CONNECT"), pairs(":method", "CONNECT", ":path", "-"), pairs(":method", "CONNECT", ":path", "-", ":scheme", "-", ":authority", "-"),
		{":method", "CONNECT", ":protocol", "websocket", ":authority", "a"},
		{":method", "CONNECT", ":protocol", "", ":authority", "a", ":scheme", "http", ":path", "/"},
		{":method", "CONNECT", ":protocol", "a b", ":authority", "a", ":scheme", "http", ":path", "/"},
		// Fields (RFC 9113 §8.2).
		get("X-Upper", "y"), get("", "y"), get("a b", "y"), get("a:b", "y"), get("a\r\n", "y"), get("ä", "y"), get("a\x00", "y"),
		get("x", " y"), get("x", "y "), get("x", "\ty"), get("x", "a\r\nb"), get("x", "a\nb"), get("x", "a\rb"), get("x", "a\x00b"), get("x", "a\x7fb"), get("x", "a\x01b"),
		get("connection", "close"), get("keep-alive", "1"), get("proxy-connection", "x"), get("transfer-encoding", "chunked"), get("upgrade", "h2c"),
		get("te", "gzip"), get("te", "trailers, gzip"), get("te", ""),
		// Content-Length (RFC 9113 §8.1.1).
		get("content-length", "1"), get("content-length", "-0"), get("content-length", "+0"), get("content-length", "0x0"), get("content-length", "0, 0"), get("content-length", ""),
		get("content-length", "0", "content-length", "0"), get("content-length", "9223372036854775808"), get("content-length", "99999999999999999999999"),
	} {
		w := newWire(t, Server, s)
		w.head(1, Last, fields...)
		w.head(3, Last, get()...)
		w.pump()
		if got := strings.Join(w.frames(), ", "); got != "RST_STREAM 1 PROTOCOL_ERROR" || len(w.events) != 1 || w.events[0].Stream != 3 {
			t.Errorf("%q: answered with %q, events %v, error %v", fields, got, w.events, w.err)
		}
		if w.c.Streams() != 1 {
			t.Errorf("%q: the stream stays open", fields)
		}
	}
}

func TestRequests(t *testing.T) {
	base := func(change func(r *Request)) *Request {
		r := &Request{Method: "GET", Scheme: "https", Authority: "example.com", Path: "/", Length: -1, End: true}
		change(r)
		return r
	}
	for _, test := range []struct {
		fields []string
		want   *Request
	}{
		{get(), base(func(*Request) {})},
		{pairs(":path", "/a/%20?b=c&d=/../"), base(func(r *Request) { r.Path = "/a/%20?b=c&d=/../" })},
		{pairs(":method", "OPTIONS", ":path", "*"), base(func(r *Request) { r.Method, r.Path = "OPTIONS", "*" })},
		{pairs(":authority", "-", "host", "A.b:80"), base(func(r *Request) { r.Authority = "A.b:80" })},
		{pairs(":authority", "-"), base(func(r *Request) { r.Authority = "" })},
		{pairs("host", "EXAMPLE.com"), base(func(*Request) {})},
		{pairs(":authority", "[::1]:8080"), base(func(r *Request) { r.Authority = "[::1]:8080" })},
		{get("content-length", "0"), base(func(r *Request) { r.Length, r.Fields = 0, []Field{{Name: "content-length", Value: "0"}} })},
		{get("te", "Trailers", "x", "", "y", "a\tb  c"), base(func(r *Request) {
			r.Fields = []Field{{Name: "te", Value: "Trailers"}, {Name: "x"}, {Name: "y", Value: "a\tb  c"}}
		})},
		{get("cookie", "a=b", "x", "y", "cookie", "c=d", "cookie", "e"), base(func(r *Request) {
			r.Fields = []Field{{Name: "cookie", Value: "a=b; c=d; e"}, {Name: "x", Value: "y"}}
		})},
		{[]string{":method", "CONNECT", ":authority", "a:443"}, &Request{Method: "CONNECT", Authority: "a:443", Length: -1, End: true}},
		{
			[]string{":method", "CONNECT", ":protocol", "websocket", ":authority", "a", ":scheme", "https", ":path", "/chat"},
			&Request{Method: "CONNECT", Protocol: "websocket", Authority: "a", Scheme: "https", Path: "/chat", Length: -1, End: true},
		},
	} {
		s := DefaultSettings()
		s.ExtendedConnect = true
		w := newWire(t, Server, s)
		w.head(1, Last, test.fields...)
		w.pump()
		want := []Event{{Kind: RequestHead, Stream: 1, End: true, Request: test.want}}
		for i := range w.events {
			if r := w.events[i].Request; r != nil && len(r.Fields) == 0 {
				r.Fields = nil
			}
		}
		if diff := cmp.Diff(want, w.events); diff != "" {
			t.Errorf("%q: %s", test.fields, diff)
		}
	}
}

// Cookies are joined to what they were last time, or to something new.
func TestCookiesOfSeveralRequests(t *testing.T) {
	w := newWire(t, Server, DefaultSettings())
	for i, cookies := range [][]string{{"a=b", "c=d"}, {"a=b", "c=d"}, {"a=b"}, {"a=b", "c=d", "e"}, {"a=b; c=d", "e"}, {"a=b", "c=dd"}, {"a", "=b; c=dd"}} {
		var fields []string
		for _, c := range cookies {
			fields = append(fields, "cookie", c)
		}
		w.events = nil
		w.head(uint32(2*i+1), Last, get(fields...)...)
		w.pump()
		if got := w.events[0].Request.Fields; len(got) != 1 || got[0].Value != strings.Join(cookies, "; ") {
			t.Errorf("%q are joined to %q", cookies, got)
		}
	}
}

func TestExtendedConnectNeedsToBeAnnounced(t *testing.T) {
	w := newWire(t, Server, DefaultSettings())
	w.head(1, More, ":method", "CONNECT", ":protocol", "websocket", ":authority", "a", ":scheme", "https", ":path", "/chat")
	w.pump()
	if got := fmt.Sprint(w.frames()); got != "[RST_STREAM 1 PROTOCOL_ERROR]" {
		t.Error(got)
	}
	l := newLink(t, DefaultSettings())
	l.run()
	connect := &Request{Method: "CONNECT", Protocol: "websocket", Scheme: "http", Authority: "a", Path: "/", Length: -1}
	if _, err := l.client.OpenRequest(connect); !errors.Is(err, ErrNoProtocol) {
		t.Errorf("opened: %v", err)
	}
	s := DefaultSettings()
	s.ExtendedConnect = true
	l = newLink(t, s)
	l.run()
	id, err := l.client.OpenRequest(connect)
	if err != nil {
		t.Fatal(err)
	}
	up, _ := l.run()
	if len(up) != 1 || up[0].Request.Protocol != "websocket" || up[0].End {
		t.Fatal(up)
	}
	l.server.WriteResponse(id, &Response{Status: 200, Length: -1})
	l.server.WriteData(id, []byte("frame"), More)
	l.client.WriteData(id, []byte("frame"), More)
	up, down := l.run()
	if len(up) != 1 || string(up[0].Data) != "frame" || len(down) != 2 || string(down[1].Data) != "frame" {
		t.Error(up, down)
	}
}

func TestMalformedResponses(t *testing.T) {
	for name, do := range map[string]func(w *wire){
		"no :status":             func(w *wire) { w.head(1, Last, "x", "y") },
		":status of two digits":  func(w *wire) { w.head(1, Last, ":status", "20") },
		":status of four digits": func(w *wire) { w.head(1, Last, ":status", "0200") },
		":status that is none":   func(w *wire) { w.head(1, Last, ":status", "099") },
		":status with a letter":  func(w *wire) { w.head(1, Last, ":status", "20x") },
		"two of :status":         func(w *wire) { w.head(1, Last, ":status", "200", ":status", "200") },
		":path":                  func(w *wire) { w.head(1, Last, ":status", "200", ":path", "/") },
		":status late":           func(w *wire) { w.head(1, Last, "x", "y", ":status", "200") },
		"101":                    func(w *wire) { w.head(1, More, ":status", "101") },
		"103 at the end":         func(w *wire) { w.head(1, Last, ":status", "103") },
		"connection":             func(w *wire) { w.head(1, Last, ":status", "200", "connection", "close") },
		"transfer-encoding":      func(w *wire) { w.head(1, Last, ":status", "200", "transfer-encoding", "chunked") },
		"upper case":             func(w *wire) { w.head(1, Last, ":status", "200", "X", "y") },
		"line feed":              func(w *wire) { w.head(1, Last, ":status", "200", "x", "a\nb") },
		"length without payload": func(w *wire) { w.head(1, Last, ":status", "200", "content-length", "3") },
		"more payload": func(w *wire) {
			w.head(1, More, ":status", "200", "content-length", "3")
			w.WriteData(1, false, []byte("abcd"))
		},
		"less payload": func(w *wire) {
			w.head(1, More, ":status", "200", "content-length", "3")
			w.WriteData(1, true, []byte("ab"))
		},
		"payload of 204": func(w *wire) { w.head(1, More, ":status", "204"); w.WriteData(1, true, []byte("ab")) },
		"payload of 304": func(w *wire) {
			w.head(1, More, ":status", "304", "content-length", "2")
			w.WriteData(1, true, []byte("ab"))
		},
		"less, then trailers":     func(w *wire) { w.head(1, More, ":status", "200", "content-length", "3"); w.head(1, Last, "x", "y") },
		"trailers without end":    func(w *wire) { w.head(1, More, ":status", "200"); w.head(1, More, "x", "y") },
		"pseudo-header trailer":   func(w *wire) { w.head(1, More, ":status", "200"); w.head(1, Last, ":status", "200") },
		"content-length trailer":  func(w *wire) { w.head(1, More, ":status", "200"); w.head(1, Last, "content-length", "0") },
		"trailer with line break": func(w *wire) { w.head(1, More, ":status", "200"); w.head(1, Last, "x", "a\r\nb") },
	} {
		w := newWire(t, Client, DefaultSettings())
		request1(w)
		w.pump()
		do(w)
		w.pump()
		frames := w.frames()
		if last := frames[len(frames)-1]; last != "RST_STREAM 1 PROTOCOL_ERROR" || w.err != nil {
			t.Errorf("%s: answered with %q, error %v", name, frames, w.err)
		}
		last := w.events[len(w.events)-1]
		if last.Kind != StreamReset || last.Stream != 1 || last.Code != ProtocolError || last.Reason == "" {
			t.Errorf("%s: the last event is %+v", name, last)
		}
	}
}

// Responses that have a length and no payload.
func TestResponsesWithoutPayload(t *testing.T) {
	for _, test := range []struct{ method, status string }{{"HEAD", "200"}, {"GET", "304"}, {"GET", "204"}} {
		w := newWire(t, Client, DefaultSettings())
		w.c.OpenRequest(&Request{Method: test.method, Scheme: "http", Authority: "a", Path: "/", Length: -1, End: true})
		w.head(1, Last, ":status", test.status, "content-length", "30")
		w.pump()
		if len(w.events) != 1 || w.events[0].Response.Length != 30 || !w.events[0].End || w.c.Streams() != 0 {
			t.Errorf("%v: %v", test, w.events)
		}
	}
}

func TestPayloadOfRequestsHasTheLengthItSays(t *testing.T) {
	for name, do := range map[string]func(w *wire){
		"more":                  func(w *wire) { w.WriteData(1, false, []byte("abc")); w.WriteData(1, false, []byte("de")) },
		"less":                  func(w *wire) { w.WriteData(1, true, []byte("abc")) },
		"less, empty DATA":      func(w *wire) { w.WriteData(1, false, []byte("abc")); w.WriteData(1, true, nil) },
		"less, trailers":        func(w *wire) { w.WriteData(1, false, []byte("abc")); w.head(1, Last, "x", "y") },
		"padding does not help": func(w *wire) { w.WriteDataPadded(1, true, []byte("abc"), []byte{0}) },
	} {
		w := newWire(t, Server, DefaultSettings())
		w.head(1, More, post("content-length", "4")...)
		do(w)
		w.pump()
		if got := fmt.Sprint(w.frames()); got != "[RST_STREAM 1 PROTOCOL_ERROR]" || w.events[len(w.events)-1].Kind != StreamReset {
			t.Errorf("%s: answered with %s, events %v", name, got, w.events)
		}
		for _, e := range w.events {
			if e.End {
				t.Errorf("%s: the stream ended well", name)
			}
		}
	}
	w := newWire(t, Server, DefaultSettings())
	w.head(1, More, post("content-length", "4")...)
	w.WriteData(1, false, nil)
	w.WriteDataPadded(1, false, []byte("abc"), []byte{0, 0})
	w.WriteData(1, false, []byte("d"))
	w.head(1, Last, "x", "y")
	w.pump()
	if last := w.events[len(w.events)-1]; last.Kind != Trailers || len(w.frames()) > 0 {
		t.Errorf("events %v", w.events)
	}
}

// What would be malformed is not written.
func TestFieldsThatMayNotBeSent(t *testing.T) {
	bad := []Field{
		{Name: "Connection", Value: "x"}, {Name: "keep-alive", Value: "x"}, {Name: "Transfer-Encoding", Value: "chunked"}, {Name: "Upgrade", Value: "x"},
		{Name: "Proxy-Connection", Value: "x"}, {Name: "Content-Length", Value: "5"}, {Name: "TE", Value: "gzip"}, {Name: ":path", Value: "/x"},
		{Name: "a b", Value: "x"}, {Name: "", Value: "x"}, {Name: "x", Value: "a\r\nb"}, {Name: "x", Value: " a"}, {Name: "Good", Value: "yes"},
	}
	l := newLink(t, DefaultSettings())
	l.run()
	id, _ := l.client.OpenRequest(&Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Fields: bad, Length: -1})
	l.client.WriteTrailers(id, bad)
	up, _ := l.run()
	l.server.WriteResponse(id, &Response{Status: 204, Fields: bad, Length: 0})
	l.server.WriteTrailers(id, bad)
	_, down := l.run()
	good := []Field{{Name: "good", Value: "yes"}}
	for _, got := range [][]Field{up[0].Request.Fields, up[1].Fields, down[0].Response.Fields, down[1].Fields} {
		if diff := cmp.Diff(good, got); diff != "" {
			t.Error(diff)
		}
	}
}
