package router

import "testing"

// The table of the Gateway API conformance test of misdirected requests, and more.
func TestMisdirected(t *testing.T) {
	var hosts []HostRules
	for _, l := range []string{"", "second-example.org", "*.wildcard.org", "fourth-example.wildcard.org"} {
		hosts = append(hosts, HostRules{Socket: "all", ListenerHost: l})
		if l != "" {
			hosts = append(hosts, HostRules{Socket: "named", ListenerHost: l})
		}
	}
	hosts = append(hosts, HostRules{Socket: "one"})
	table := Compile(hosts, nil)
	for _, test := range []struct {
		socket, serverName, host string
		want                     bool
	}{
		{"all", "example.org", "example.org", false},
		{"all", "example.org", "second-example.org", true},
		{"all", "example.org", "unknown-example.org", false},
		{"all", "second-example.org", "second-example.org", false},
		{"all", "second-example.org", "example.org", true},
		{"all", "third-example.wildcard.org", "fith-example.wildcard.org", false},
		{"all", "third-example.wildcard.org", "fourth-example.wildcard.org", true},
		{"all", "third-example.wildcard.org", "second-example.org", true},
		{"all", "fourth-example.wildcard.org", "fith-example.wildcard.org", true},
		{"all", "unknown-example.org", "example.org", false},
		{"all", "", "example.org", false},
		{"all", "", "second-example.org", true},
		{"all", "second-example.org", "", true},
		{"named", "second-example.org", "unknown.org", false}, // nobody has it: 404
		{"named", "second-example.org", "a.wildcard.org", true},
		{"named", "unknown.org", "a.wildcard.org", true},
		{"named", "", "a.wildcard.org", false},
		{"one", "a.org", "b.org", false},
		{"none", "a.org", "b.org", false},
	} {
		if got := table.Misdirected(test.socket, test.serverName, test.host); got != test.want {
			t.Errorf("%s: %q on a connection for %q: %v", test.socket, test.host, test.serverName, got)
		}
	}
}

func TestMisdirectedDoesNotAllocate(t *testing.T) {
	table := Compile([]HostRules{{Socket: "s", ListenerHost: "a.org"}, {Socket: "s", ListenerHost: "*.b.org"}}, nil)
	if n := testing.AllocsPerRun(100, func() { table.Misdirected("s", "a.org", "x.y.b.org") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
