package router

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// prefix, exact and regex make Rules that are named by their Route.
func prefix(name, path string) *Rule {
	return &Rule{Route: name, Match: Match{Path: PathMatch{Kind: PathPrefix, Value: path}}}
}

func exact(name, path string) *Rule {
	return &Rule{Route: name, Match: Match{Path: PathMatch{Kind: PathExact, Value: path}}}
}

func regex(name, expression string) *Rule {
	return &Rule{Route: name, Match: Match{Path: PathMatch{Kind: PathRegex, Value: expression, Regexp: anchored(expression)}}}
}

// with changes a Rule that is not in a Table yet.
func (r *Rule) with(change func(*Rule)) *Rule {
	change(r)
	return r
}

func method(m string) func(*Rule) { return func(r *Rule) { r.Match.Method = m } }

func header(name, value string) func(*Rule) {
	return func(r *Rule) { r.Match.Headers = append(r.Match.Headers, ValueMatch{Name: name, Value: value}) }
}

func query(name, value string) func(*Rule) {
	return func(r *Rule) { r.Match.Query = append(r.Match.Query, ValueMatch{Name: name, Value: value}) }
}

func created(at int64) func(*Rule) { return func(r *Rule) { r.Order.Created = at } }

// matched returns the Route of the Rule that matches, or "".
func matched(table *Table, socket string, r *Request) string {
	if rule := table.Match(socket, r); rule != nil {
		return rule.Route
	}
	return ""
}

func get(host, path string) *Request { return &Request{Method: "GET", Host: host, Path: path} }

func TestMatchHosts(t *testing.T) {
	table := Compile([]HostRules{
		{Socket: ":80", Rules: []*Rule{prefix("any", "/")}},
		{Socket: ":80", Host: "a.example.com", Rules: []*Rule{prefix("exact", "/only")}},
		{Socket: ":80", Host: "*.example.com", Rules: []*Rule{prefix("wildcard", "/")}},
		{Socket: ":80", Host: "*.example.com", OneLabel: true, Rules: []*Rule{prefix("one label", "/one")}},
		{Socket: ":80", Host: "*.b.example.com", Rules: []*Rule{prefix("longer wildcard", "/")}},
		{Socket: ":80", Host: "*.org", Rules: []*Rule{prefix("shorter wildcard", "/")}},
		{Socket: ":81", Host: "other.example.com", Rules: []*Rule{prefix("other socket", "/")}},
	}, nil)
	for _, tt := range []struct{ socket, host, path, want string }{
		{":80", "a.example.com", "/only", "exact"},
		{":80", "a.example.com", "/elsewhere", "wildcard"}, // on to the next host
		{":80", "c.example.com", "/one", "one label"},
		{":80", "c.example.com", "/two", "wildcard"},
		{":80", "c.d.example.com", "/one", "wildcard"},
		{":80", "b.example.com", "/", "wildcard"},
		{":80", "c.b.example.com", "/", "longer wildcard"},
		{":80", "d.c.b.example.com", "/", "longer wildcard"},
		{":80", "x.org", "/", "shorter wildcard"},
		{":80", "org", "/", "any"},
		{":80", "example.com", "/", "any"},
		{":80", ".example.com", "/", "any"},
		{":80", "notexample.com", "/", "any"},
		{":80", "", "/", "any"},
		{":80", "[::1]", "/", "any"},
		{":81", "other.example.com", "/", "other socket"},
		{":81", "a.example.com", "/", ""},
		{":82", "a.example.com", "/", ""},
	} {
		if got := matched(table, tt.socket, get(tt.host, tt.path)); got != tt.want {
			t.Errorf("%s %s%s: got %q, want %q", tt.socket, tt.host, tt.path, got, tt.want)
		}
	}
}

func TestListenersAreIsolated(t *testing.T) {
	table := Compile([]HostRules{
		{Socket: ":80", Rules: []*Rule{prefix("any listener", "/")}},
		{Socket: ":80", ListenerHost: "*.example.com", Host: "*.example.com", Rules: []*Rule{prefix("wildcard listener", "/wild")}},
		{Socket: ":80", ListenerHost: "*.foo.example.com", Host: "a.foo.example.com", Rules: []*Rule{prefix("longer listener", "/foo")}},
		{Socket: ":80", ListenerHost: "abc.foo.example.com", Host: "abc.foo.example.com", Rules: []*Rule{prefix("exact listener", "/abc")}},
		{Socket: ":80", ListenerHost: "empty.example.com", Host: "empty.example.com"},
	}, nil)
	for _, tt := range []struct{ host, path, want string }{
		{"bar.com", "/x", "any listener"},
		{"bar.example.com", "/wild", "wildcard listener"},
		{"bar.example.com", "/x", ""},
		{"a.foo.example.com", "/foo", "longer listener"},
		{"a.foo.example.com", "/wild", ""},
		{"b.foo.example.com", "/foo", ""},
		{"abc.foo.example.com", "/abc", "exact listener"},
		{"abc.foo.example.com", "/foo", ""},
		{"empty.example.com", "/wild", ""},
		{"example.com", "/x", "any listener"},
	} {
		if got := matched(table, ":80", get(tt.host, tt.path)); got != tt.want {
			t.Errorf("%s%s: got %q, want %q", tt.host, tt.path, got, tt.want)
		}
	}
}

func TestMatchPaths(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules []*Rule
		want  map[string]string // by path
	}{
		{"whole elements", []*Rule{prefix("p", "/abc")}, map[string]string{
			"/abc": "p", "/abc/": "p", "/abc/def": "p", "/abcd": "", "/ab": "", "/": "", "/ABC": "", "/x/abc": "",
		}},
		{"slash at the end of a prefix is ignored", []*Rule{prefix("p", "/abc/")}, map[string]string{
			"/abc": "p", "/abc/": "p", "/abc/def": "p", "/abcd": "",
		}},
		{"root prefix", []*Rule{prefix("p", "/")}, map[string]string{"/": "p", "/x": "p", "//": "p", "/x/y/": "p"}},
		{"zero prefix", []*Rule{prefix("p", "")}, map[string]string{"/": "p", "/x": "p"}},
		{"exact", []*Rule{exact("e", "/abc"), exact("slash", "/x/"), exact("root", "/")}, map[string]string{
			"/abc": "e", "/abc/": "", "/abc/d": "", "/Abc": "", "/x": "", "/x/": "slash", "/": "root", "//": "",
		}},
		{"longest prefix", []*Rule{prefix("short", "/a"), prefix("long", "/a/b/c"), prefix("root", "/")}, map[string]string{
			"/a/b/c/d": "long", "/a/b": "short", "/a/b/cc": "short", "/b": "root",
		}},
		{"exact, expression, prefix", []*Rule{prefix("p", "/a/b/c"), regex("r", "/a/.*"), exact("e", "/a/b/c")}, map[string]string{
			"/a/b/c": "e", "/a/b/c/d": "r", "/a": "",
		}},
		{"longest expression", []*Rule{regex("short", "/.*"), regex("long", "/a[a-z]*")}, map[string]string{
			"/abc": "long", "/xyz": "short", "/abc/": "short",
		}},
		{"spellings", []*Rule{prefix("tilde", "/%7euser"), exact("escaped slash", "/a%2fb")}, map[string]string{
			"/~user": "tilde", "/a%2Fb": "escaped slash", "/a/b": "",
		}},
		{"slashes are not merged", []*Rule{exact("e", "/a/b")}, map[string]string{"/a//b": "", "/a/b": "e"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := Compile([]HostRules{{Socket: ":80", Rules: tt.rules}}, nil)
			for path, want := range tt.want {
				if got := matched(table, ":80", get("example.com", path)); got != want {
					t.Errorf("%s: got %q, want %q", path, got, want)
				}
			}
		})
	}
}

func TestMatchManyPaths(t *testing.T) {
	var rules []*Rule
	for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		rules = append(rules, prefix(name, "/"+name+"/in"), exact("exact "+name, "/"+name+"/in/side"))
	}
	table := Compile([]HostRules{{Socket: ":80", Rules: rules}}, nil)
	for path, want := range map[string]string{
		"/c/in": "c", "/c/in/": "c", "/c/in/side": "exact c", "/c/in/sideways": "c", "/c/ink": "", "/c": "", "/cc/in": "", "/": "",
	} {
		if got := matched(table, ":80", get("a", path)); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestMatchPrecedence(t *testing.T) {
	full := &Request{Method: "GET", Host: "a", Path: "/a/b", Query: "p=1&q=2", Fields: []Field{{"X-One", "1"}, {"X-Two", "2"}}}
	for _, tt := range []struct {
		name  string
		rules []*Rule // the first must win
	}{
		{"path before method", []*Rule{prefix("", "/a/b"), prefix("", "/a").with(method("GET"))}},
		{"method before headers", []*Rule{prefix("", "/a").with(method("GET")), prefix("", "/a").with(header("x-one", "1")).with(header("x-two", "2"))}},
		{"more headers", []*Rule{prefix("", "/a").with(header("x-one", "1")).with(header("x-two", "2")), prefix("", "/a").with(header("x-one", "1")).with(query("p", "1"))}},
		{"headers before query", []*Rule{prefix("", "/a").with(header("x-one", "1")), prefix("", "/a").with(query("p", "1")).with(query("q", "2"))}},
		{"more query", []*Rule{prefix("", "/a").with(query("p", "1")).with(query("q", "2")), prefix("", "/a").with(query("p", "1"))}},
		{"older expression of one length", []*Rule{regex("", "/a.*").with(created(1)), regex("", "/.*b").with(created(2))}},
		{"older expression of one length, turned", []*Rule{regex("", "/.*b").with(created(1)), regex("", "/a.*").with(created(2))}},
		{"older", []*Rule{prefix("", "/a").with(created(1)), prefix("", "/a").with(created(2))}},
		{"equal prefixes", []*Rule{prefix("", "/a/").with(created(1)), prefix("", "/a").with(created(2))}},
		{"name", []*Rule{
			prefix("", "/a").with(func(r *Rule) { r.Order = Order{Name: "a/b", Index: 7} }),
			prefix("", "/a").with(func(r *Rule) { r.Order = Order{Name: "a/c"} }),
		}},
		{"index", []*Rule{prefix("", "/a"), prefix("", "/a").with(func(r *Rule) { r.Order.Index = 1 })}},
		{"kind of Route", []*Rule{prefix("HTTPRoute a/a", "/a"), prefix("Ingress a/a", "/a")}},
		{"on to a shorter prefix", []*Rule{prefix("", "/a"), prefix("", "/a/b").with(method("POST"))}},
		{"on from exact to prefix", []*Rule{prefix("", "/"), exact("", "/a/b").with(header("x-one", "2"))}},
		{"method case", []*Rule{prefix("", "/"), exact("", "/a/b").with(method("get"))}},
		{"query name case", []*Rule{prefix("", "/"), exact("", "/a/b").with(query("P", "1"))}},
		{"all headers", []*Rule{prefix("", "/"), exact("", "/a/b").with(header("x-one", "1")).with(header("x-three", ""))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := range len(tt.rules) { // in every order of two
				rules := append(tt.rules[i:len(tt.rules):len(tt.rules)], tt.rules[:i]...)
				if got := Compile([]HostRules{{Socket: ":80", Rules: rules}}, nil).Match(":80", full); got != tt.rules[0] {
					t.Errorf("the wrong rule won: %s", describe(got))
				}
			}
		})
	}
}

func TestMatchValues(t *testing.T) {
	fields := []Field{{"x-many", "1"}, {"Accept", "a"}, {"X-Many", "2,3"}, {"x-empty", ""}}
	const raw = "first=1&first=2&sp+ace=a+b&utf=%C3%bc&bare&bad=%zz&plus=%2B&eq=a=b"
	for _, tt := range []struct {
		name string
		with func(*Rule)
		want bool
	}{
		{"lines joined", header("X-MANY", "1,2,3"), true},
		{"first line alone", header("x-many", "1"), false},
		{"joined and more", header("x-many", "1,2,3,4"), false},
		{"one line", header("accept", "a"), true},
		{"value case", header("accept", "A"), false},
		{"empty", header("x-empty", ""), true},
		{"absent", header("x-absent", ""), false},
		{"first parameter counts", query("first", "1"), true},
		{"second parameter does not", query("first", "2"), false},
		{"plus is a space", query("sp ace", "a b"), true},
		{"not the raw value", query("sp ace", "a+b"), false},
		{"escapes", query("utf", "ü"), true},
		{"no value", query("bare", ""), true},
		{"no escape", query("bad", "%zz"), true},
		{"escaped plus", query("plus", "+"), true},
		{"equals sign", query("eq", "a=b"), true},
		{"no parameter", query("none", ""), false},
		{"expression over lines", func(r *Rule) {
			r.Match.Headers = []ValueMatch{{Name: "x-many", Regexp: anchored("1,.*3")}}
		}, true},
		{"expression over a decoded value", func(r *Rule) {
			r.Match.Query = []ValueMatch{{Name: "sp ace", Regexp: anchored("a b")}}
		}, true},
		{"anchored expression", func(r *Rule) {
			r.Match.Query = []ValueMatch{{Name: "eq", Regexp: anchored("a")}}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := Compile([]HostRules{{Socket: ":80", Rules: []*Rule{prefix("rule", "/").with(tt.with)}}}, nil)
			r := &Request{Method: "GET", Host: "a", Path: "/", Query: raw, Fields: fields}
			if got := table.Match(":80", r) != nil; got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCompileMergesRepeatedHosts(t *testing.T) {
	hosts := []HostRules{
		{Socket: ":80", Host: "a", Rules: []*Rule{prefix("root", "/")}},
		{Socket: ":80", Host: "b", Rules: []*Rule{prefix("b", "/")}},
		{Socket: ":80", Host: "a", Rules: []*Rule{prefix("x", "/x")}},
	}
	var table *Table
	for range 2 { // the second time with a previous Table
		table = Compile(hosts, table)
		for path, want := range map[string]string{"/": "root", "/x": "x"} {
			if got := matched(table, ":80", get("a", path)); got != want {
				t.Errorf("%s: got %q, want %q", path, got, want)
			}
		}
	}
	if len(hosts[0].Rules) != 1 {
		t.Error("Compile changed its input")
	}
}

func TestCompileKeepsTrees(t *testing.T) {
	one, two, three := prefix("1", "/a"), prefix("2", "/b"), prefix("3", "/c")
	tree := func(table *Table, name string) *pathTree {
		return table.sockets[":80"].any.hosts.get(hostName{host: name}).tree
	}
	first := Compile([]HostRules{
		{Socket: ":80", Host: "same", Rules: []*Rule{one, two}},
		{Socket: ":80", Host: "turned", Rules: []*Rule{one, two}},
		{Socket: ":80", Host: "changed", Rules: []*Rule{one, two}},
		{Socket: ":80", Host: "gone", Rules: []*Rule{one}},
	}, nil)
	second := Compile([]HostRules{
		{Socket: ":80", Host: "changed", Rules: []*Rule{one, three}},
		{Socket: ":80", Host: "turned", Rules: []*Rule{two, one}},
		{Socket: ":80", Host: "same", Rules: []*Rule{one, two}},
	}, first)
	for name, want := range map[string]bool{"same": true, "turned": true, "changed": false} {
		if kept := tree(first, name) == tree(second, name); kept != want {
			t.Errorf("%s: tree kept: %v, want %v", name, kept, want)
		}
	}
	if got := matched(second, ":80", get("gone", "/a")); got != "" {
		t.Errorf("the host that is gone still matches %q", got)
	}
	if got := matched(second, ":80", get("changed", "/b")); got != "" {
		t.Errorf("the rule that is gone still matches %q", got)
	}
	if got := matched(first, ":80", get("changed", "/b")); got != "2" {
		t.Errorf("the older table changed: got %q", got)
	}
}

func TestCompileDoesNotKeepTheCallersSlice(t *testing.T) {
	rules := []*Rule{prefix("1", "/a"), prefix("2", "/b")}
	hosts := []HostRules{{Socket: ":80", Rules: rules}}
	first := Compile(hosts, nil)
	rules[1] = prefix("3", "/c")
	if got := matched(Compile(hosts, first), ":80", get("", "/c")); got != "3" {
		t.Errorf("got %q, want the new rule", got)
	}
}

func TestZeroTableMatchesNothing(t *testing.T) {
	if got := new(Table).Match(":80", get("a", "/")); got != nil {
		t.Errorf("got %v", got)
	}
}

// A socket is plain as long as all of its Rules are, whatever others have.
func TestPlainSockets(t *testing.T) {
	https := NewBackendWith("default/web:443", BackendSettings{Protocol: HTTPS, TLS: &BackendTLS{ServerName: "a"}})
	plain := &Rule{Action: Action{Backends: []WeightedBackend{{Backend: NewBackend("default/app:80"), Weight: 1}}}}
	special := &Rule{Action: Action{Backends: []WeightedBackend{{Backend: https, Weight: 1}}}}
	table := Compile([]HostRules{
		{Socket: ":80", Host: "a.test", Rules: []*Rule{plain}},
		{Socket: ":443", Host: "a.test", Rules: []*Rule{plain}},
		{Socket: ":443", Host: "b.test", Rules: []*Rule{special}},
	}, nil)
	for socket, want := range map[string]bool{":80": true, ":443": false, ":8080": true} {
		if got := table.Plain(socket); got != want {
			t.Errorf("%s: plain %v", socket, got)
		}
	}
	if table = Compile([]HostRules{{Socket: ":443", Host: "a.test", Rules: []*Rule{plain}}}, table); !table.Plain(":443") {
		t.Error("the special rule is gone, but not forgotten")
	}
}

// A Rule without a condition is found by its host alone; one with any is not.
func TestOnlyRuleOfAHost(t *testing.T) {
	for name, rule := range map[string]*Rule{
		"none":   {},
		"slash":  {Match: Match{Path: PathMatch{Value: "/"}}},
		"path":   {Match: Match{Path: PathMatch{Value: "/a"}}},
		"exact":  {Match: Match{Path: PathMatch{Kind: PathExact, Value: "/"}}},
		"method": {Match: Match{Method: "PUT"}},
		"header": {Match: Match{Headers: []ValueMatch{{Name: "a", Value: "b"}}}},
		"query":  {Match: Match{Query: []ValueMatch{{Name: "a", Value: "b"}}}},
		"regex":  {Match: Match{Path: PathMatch{Value: "/", Regexp: regexp.MustCompile("^/x$")}}},
	} {
		table := Compile([]HostRules{{Socket: ":80", Host: "a.test", Rules: []*Rule{rule}}}, nil)
		for range 2 {
			got := table.Match(":80", &Request{Method: "GET", Host: "a.test", Path: "/b"})
			if want := name == "none" || name == "slash"; (got != nil) != want {
				t.Errorf("%s: found %v", name, got)
			}
			table = Compile([]HostRules{{Socket: ":80", Host: "a.test", Rules: []*Rule{rule}}, {Socket: ":80", Host: "b.test"}}, table)
		}
		both := Compile([]HostRules{{Socket: ":80", Host: "a.test", Rules: []*Rule{rule, prefix("first", "/b")}}}, table)
		if got := both.Match(":80", &Request{Method: "GET", Host: "a.test", Path: "/b"}); got == nil || got == rule {
			t.Errorf("%s: with another rule %v", name, got)
		}
	}
}

// NewRule moves a Backend, and changes nothing.
func TestNewRule(t *testing.T) {
	one, two := NewBackend("default/one:80"), NewBackend("default/two:80")
	for _, backends := range [][]WeightedBackend{nil, {{Backend: one, Weight: 1}}, {{Backend: one, Weight: 1}, {Backend: two, Weight: 2}}} {
		r := Rule{Listener: "l", Route: "r", Action: Action{Backends: backends, Status: 3}}
		if got := NewRule(r); !reflect.DeepEqual(*got, r) {
			t.Errorf("%+v became %+v", r, *got)
		}
	}
}
