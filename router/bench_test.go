package router

import (
	"fmt"
	"slices"
	"testing"
)

const benchmarkHosts = 5000

// manyHosts returns the hosts of a large gateway: 5,000 names of one Listener,
// each with three paths, and a few wildcards.
func manyHosts() []HostRules {
	var hosts []HostRules
	for i := range benchmarkHosts {
		hosts = append(hosts, HostRules{Socket: ":80", Host: fmt.Sprintf("shop-%d.example.com", i), Rules: []*Rule{
			prefix("root", "/"),
			prefix("api", "/api/v1"),
			prefix("deep", "/one/two/three/four/five/six"),
		}})
	}
	return append(hosts,
		HostRules{Socket: ":80", Host: "*.apps.example.com", Rules: []*Rule{prefix("apps", "/")}},
		HostRules{Socket: ":80", Host: "*.example.com", Rules: []*Rule{prefix("wildcard", "/")}},
		HostRules{Socket: ":80", Host: "*.example.com", OneLabel: true, Rules: []*Rule{prefix("one label", "/only")}},
	)
}

func BenchmarkMatch(b *testing.B) {
	table := Compile(manyHosts(), nil)
	var paths []*Rule
	for i := range 2000 {
		paths = append(paths, prefix("path", fmt.Sprintf("/service-%d/api", i)))
	}
	wide := Compile([]HostRules{{Socket: ":80", Host: "wide.example.com", Rules: paths}}, nil)
	conditions := Compile([]HostRules{{Socket: ":80", Rules: []*Rule{
		prefix("post", "/api").with(method("POST")),
		prefix("header", "/api").with(header("x-tenant", "blue")),
		prefix("query", "/api").with(query("version", "2")),
	}}}, nil)
	fields := []Field{{"Host", "a"}, {"User-Agent", "bench"}, {"Accept", "*/*"}, {"X-Request-Id", "1"}}

	for _, bb := range []struct {
		name  string
		table *Table
		r     Request
		want  string
	}{
		{"exact-host", table, Request{Method: "GET", Host: "shop-4711.example.com", Path: "/api/v1/items"}, "api"},
		{"wildcard-host", table, Request{Method: "GET", Host: "web.blue.apps.example.com", Path: "/api/v1/items"}, "apps"},
		{"one-label-then-wildcard", table, Request{Method: "GET", Host: "unknown.example.com", Path: "/api/v1"}, "wildcard"},
		{"deep-path", table, Request{Method: "GET", Host: "shop-1.example.com", Path: "/one/two/three/four/five/six/seven/eight"}, "deep"},
		{"no-host", table, Request{Method: "GET", Host: "a.b.c.d.e.f.example.org", Path: "/"}, ""},
		{"2000-paths", wide, Request{Method: "GET", Host: "wide.example.com", Path: "/service-1234/api/items"}, "path"},
		{"conditions", conditions, Request{Method: "GET", Path: "/api", Query: "a=b&version=%32", Fields: fields}, "query"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			if got := matched(bb.table, ":80", &bb.r); got != bb.want {
				b.Fatalf("got %q, want %q", got, bb.want)
			}
			b.ReportAllocs()
			for b.Loop() {
				bb.table.Match(":80", &bb.r)
			}
		})
	}
}

// BenchmarkMatchAllHosts asks for another host each time, so that the processor's
// caches do not hold the one tree that is asked for.
func BenchmarkMatchAllHosts(b *testing.B) {
	hosts := manyHosts()
	table := Compile(hosts, nil)
	var requests []Request
	for i := range benchmarkHosts {
		requests = append(requests, Request{Method: "GET", Host: fmt.Sprintf("shop-%d.example.com", i*2741%benchmarkHosts), Path: "/api/v1/items"})
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		table.Match(":80", &requests[i])
		if i++; i == len(requests) {
			i = 0
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	hosts := manyHosts()
	table := Compile(hosts, nil)
	changed := slices.Clone(hosts)
	changed[17].Rules = []*Rule{prefix("new", "/new")}
	separate := slices.Clone(hosts) // a Listener for each host
	for i := range separate {
		separate[i].ListenerHost = separate[i].Host
	}
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Compile(hosts, nil)
		}
	})
	b.Run("one-changed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Compile(changed, table)
		}
	})
	b.Run("one-changed-of-5000-listeners", func(b *testing.B) {
		before := Compile(separate, nil)
		separate[17].Rules = changed[17].Rules
		b.ReportAllocs()
		for b.Loop() {
			Compile(separate, before)
		}
	})
}

func TestMatchDoesNotAllocate(t *testing.T) {
	table := Compile(manyHosts(), nil)
	requests := []Request{
		{Method: "GET", Host: "shop-4711.example.com", Path: "/api/v1/items"},
		{Method: "GET", Host: "web.blue.apps.example.com", Path: "/"},
		{Method: "GET", Host: "unknown.example.com", Path: "/one/two"},
		{Method: "GET", Host: "example.org", Path: "/"},
	}
	if n := testing.AllocsPerRun(100, func() {
		for i := range requests {
			table.Match(":80", &requests[i])
		}
	}); n != 0 {
		t.Errorf("Match allocates %v times", n)
	}
}
