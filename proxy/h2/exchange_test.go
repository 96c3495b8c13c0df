package h2

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExchange(t *testing.T) {
	l := newLink(t, DefaultSettings())
	l.run()
	want := Request{
		Method: "POST", Scheme: "https", Authority: "example.com", Path: "/a?b", Length: 5,
		Fields: []Field{{Name: "X-A", Value: "1"}, {Name: "Connection", Value: "x"}, {Name: "TE", Value: "trailers"}, {Name: "Host", Value: "other"}},
	}
	id, err := l.client.OpenRequest(&want)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := l.client.WriteData(id, []byte("hello"), More); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if err := l.client.WriteTrailers(id, []Field{{Name: "Sum", Value: "9"}}); err != nil {
		t.Fatal(err)
	}
	up, _ := l.run()
	got := want
	got.Fields = []Field{{Name: "x-a", Value: "1"}, {Name: "te", Value: "trailers"}, {Name: "content-length", Value: "5"}}
	if diff := cmp.Diff([]Event{
		{Kind: RequestHead, Stream: 1, Request: &got},
		{Kind: Data, Stream: 1, Data: []byte("hello")},
		{Kind: Trailers, Stream: 1, End: true, Fields: []Field{{Name: "sum", Value: "9"}}},
	}, up); diff != "" {
		t.Error(diff)
	}
	for _, r := range []Response{{Status: 103, Length: -1}, {Status: 200, Length: -1, Fields: []Field{{Name: "Server", Value: "x"}}}} {
		if err := l.server.WriteResponse(id, &r); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := l.server.WriteData(id, []byte("bye"), Last); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	_, down := l.run()
	if diff := cmp.Diff([]Event{
		{Kind: ResponseHead, Stream: 1, Response: &Response{Status: 103, Length: -1}},
		{Kind: ResponseHead, Stream: 1, Response: &Response{Status: 200, Length: -1, Fields: []Field{{Name: "server", Value: "x"}}}},
		{Kind: Data, Stream: 1, Data: []byte("bye"), End: true},
	}, down); diff != "" {
		t.Error(diff)
	}
	if l.server.Streams() != 0 || l.client.Streams() != 0 {
		t.Error("streams stay open")
	}
	if _, err := l.server.WriteData(id, []byte("x"), More); !errors.Is(err, ErrClosed) {
		t.Errorf("write on a closed stream: %v", err)
	}
}

func TestLargeHeadsArePartedAndRead(t *testing.T) {
	l := newLink(t, DefaultSettings())
	l.run()
	var fields []Field
	for i := range 40 {
		fields = append(fields, Field{Name: "x-" + strings.Repeat("n", i+1), Value: strings.Repeat("v", 1000)})
	}
	id, _ := l.client.OpenRequest(&Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Fields: fields, Length: -1, End: true})
	up, _ := l.run()
	if len(up) != 1 {
		t.Fatal(up)
	}
	if diff := cmp.Diff(fields, up[0].Request.Fields); diff != "" || up[0].Stream != id {
		t.Error(diff)
	}
}

func TestBodyWaitsForWindows(t *testing.T) {
	s := DefaultSettings()
	s.StreamWindow, s.MaxBuffered = 100<<10, 1<<20
	l := newLink(t, s)
	l.run()
	id, _ := l.client.OpenRequest(&Request{Method: "PUT", Scheme: "http", Authority: "a", Path: "/", Length: -1})
	body := make([]byte, 150<<10)
	n, err := l.client.WriteData(id, body, Last)
	if n != 100<<10 || err != nil {
		t.Fatal(n, err)
	}
	up, _ := l.run()
	total := 0
	for _, e := range up {
		total += len(e.Data)
	}
	if total != n {
		t.Fatalf("%d bytes arrive of %d", total, n)
	}
	l.server.Consumed(id, total)
	_, down := l.run()
	if diff := cmp.Diff([]Event{{Kind: Writable, Stream: id}}, down); diff != "" {
		t.Error(diff)
	}
	m, err := l.client.WriteData(id, body[n:], Last)
	if n+m != len(body) || err != nil {
		t.Fatal(m, err)
	}
	up, _ = l.run()
	if last := up[len(up)-1]; !last.End {
		t.Error("no end", last)
	}
}
