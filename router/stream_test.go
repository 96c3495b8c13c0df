package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// naiveStream is MatchStream as the specification tells it: look at every Listener, then
// at every hostname in the best one.
func naiveStream(hosts []HostRules, streams []StreamRules, socket, serverName string) StreamMatch {
	type listener struct {
		host          string
		http, streams bool
		terminate     bool
	}
	var best *listener
	consider := func(l listener) {
		if !naiveHost(l.host, serverName, false) {
			return
		}
		if best != nil && best.host == l.host {
			best.http = best.http || l.http
			if l.streams && !best.streams {
				best.streams, best.terminate = true, l.terminate
			}
			return
		}
		if best == nil || naiveSpecificity(l.host, false) > naiveSpecificity(best.host, false) {
			best = &l
		}
	}
	for _, h := range hosts {
		if h.Socket == socket {
			consider(listener{host: h.ListenerHost, http: true})
		}
	}
	streamed := false
	for _, r := range streams {
		if r.Socket == socket {
			streamed = true
			consider(listener{host: r.ListenerHost, streams: true, terminate: r.Terminate})
		}
	}
	if !streamed {
		return StreamMatch{HTTP: true}
	}
	if best == nil {
		return StreamMatch{HTTP: slices.ContainsFunc(hosts, func(h HostRules) bool { return h.Socket == socket })}
	}
	var found *StreamRules
	for i := range streams {
		r := &streams[i]
		if r.Socket != socket || r.ListenerHost != best.host || r.Stream == nil || !naiveHost(r.Host, serverName, false) {
			continue
		}
		if found == nil || naiveSpecificity(r.Host, false) > naiveSpecificity(found.Host, false) {
			found = r
		}
	}
	switch {
	case found != nil:
		return StreamMatch{Terminate: best.terminate, Stream: found.Stream}
	case best.http:
		return StreamMatch{HTTP: true}
	}
	return StreamMatch{Terminate: best.terminate}
}

func (d *draw) streams() []StreamRules {
	var streams []StreamRules
	for i := range d.n(12) {
		r := StreamRules{Socket: d.of(":80", ":81"), ListenerHost: d.pattern(), Terminate: d.n(2) == 1, Host: d.pattern()}
		if d.n(4) > 0 {
			r.Stream = &Stream{Route: fmt.Sprint("TLSRoute default/", i)}
		}
		streams = append(streams, r)
	}
	return streams
}

func checkStreams(t *testing.T, data []byte) {
	t.Helper()
	d := &draw{data: data}
	streams, hosts := d.streams(), d.hosts()
	before := Compile(nil, nil).WithStreams(streams[:d.n(len(streams)+1)])
	table := Compile(hosts, before).WithStreams(streams)
	for range 1 + d.n(20) {
		socket, name := d.of(":80", ":81", ":82"), d.host()
		if d.n(8) == 0 {
			name = ""
		}
		got, want := table.MatchStream(socket, name), naiveStream(hosts, streams, socket, name)
		if got != want {
			t.Fatalf("MatchStream(%q, %q) of %+v and %+v\n got %+v\nwant %+v", socket, name, hosts, streams, got, want)
		}
		has := slices.ContainsFunc(streams, func(r StreamRules) bool { return r.Socket == socket })
		if table.Streams(socket) != has {
			t.Fatalf("Streams(%q) = %t", socket, !has)
		}
	}
}

func FuzzMatchStream(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		data := make([]byte, 300)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(checkStreams)
}

func TestMatchStreamEqualsNaiveScan(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	data := make([]byte, 1000)
	for range 5000 {
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		checkStreams(t, data)
	}
}

func TestStreamsLeaveTheRulesAsTheyAre(t *testing.T) {
	rule := &Rule{}
	hosts := []HostRules{{Socket: ":443", ListenerHost: "*.example.com", Host: "www.example.com", Rules: []*Rule{rule}}}
	plain := Compile(hosts, nil)
	passed := &Stream{Route: "TLSRoute default/mail"}
	table := plain.WithStreams([]StreamRules{{Socket: ":443", ListenerHost: "mail.example.com", Host: "mail.example.com", Stream: passed}})

	if got := table.Match(":443", &Request{Host: "www.example.com", Path: "/"}); got != rule {
		t.Errorf("Match = %v, want the rule of the table before", got)
	}
	if plain.Streams(":443") || table.WithStreams(nil).Streams(":443") {
		t.Error("a table without streams says that it has some")
	}
	again := Compile(hosts, table)
	if again.Streams(":443") {
		t.Error("Compile has kept streams that it was not given")
	}
	for name, want := range map[string]StreamMatch{
		"mail.example.com": {Stream: passed},
		"www.example.com":  {HTTP: true},
		"":                 {HTTP: true},
		"example.org":      {HTTP: true},
	} {
		if got := table.MatchStream(":443", name); got != want {
			t.Errorf("MatchStream(%q) = %+v, want %+v", name, got, want)
		}
	}
}

func TestMatchStreamAllocatesNothing(t *testing.T) {
	table := Compile(nil, nil).WithStreams([]StreamRules{
		{Socket: ":443", ListenerHost: "*.example.com", Host: "*.b.example.com", Stream: &Stream{}},
	})
	if n := testing.AllocsPerRun(100, func() { table.MatchStream(":443", "a.b.example.com") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
