package router

import (
	"strings"
	"testing"
)

func TestNormalizeHost(t *testing.T) {
	for _, tt := range []struct {
		raw, want string // want is "" for a host that is refused
	}{
		{"example.com", "example.com"},
		{"Example.COM", "example.com"},
		{"example.com.", "example.com"},
		{"example.com:8080", "example.com"},
		{"EXAMPLE.com.:65535", "example.com"},
		{"example.com:", "example.com"},
		{"localhost", "localhost"},
		{"a_b-c~d", "a_b-c~d"},
		{"a!$&'()*+,;=b", "a!$&'()*+,;=b"},
		{"192.0.2.7:80", "192.0.2.7"},
		{"[2001:DB8::1]", "[2001:db8::1]"},
		{"[::1]:443", "[::1]"},
		{"[::1]:", "[::1]"},
		{"[::ffff:192.0.2.7]", "[::ffff:192.0.2.7]"},
		{"", ""},
		{".", ""},
		{":80", ""},
		{"a..b", ""},
		{".a", ""},
		{"a..", ""},
		{"a:80a", ""},
		{"a:65536", ""},
		{"a:80:80", ""},
		{"a:-1", ""},
		{"a:+1", ""},
		{"a b", ""},
		{"a/b", ""},
		{"a@b", ""},
		{"a\\b", ""},
		{"a%2eb", ""},
		{"bücher.example", ""},
		{"a\x00", ""},
		{"::1", ""},
		{"[::1", ""},
		{"[::1]x", ""},
		{"[::1]80", ""},
		{"[::1]:x", ""},
		{"[192.0.2.7]", ""},
		{"[fe80::1%eth0]", ""},
		{"[v1.a]", ""},
		{"[]", ""},
		{"[", ""},
	} {
		if got, ok := NormalizeHost(tt.raw); got != tt.want || ok != (tt.want != "") {
			t.Errorf("NormalizeHost(%q) = %q, %v; want %q", tt.raw, got, ok, tt.want)
		}
	}
}

func FuzzNormalizeHost(f *testing.F) {
	for _, seed := range []string{"", "a.b:80", "A.b.", "[::1]:80", "[::1", "a..b", "a%20b", "1.2.3.4:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		host, ok := NormalizeHost(raw)
		if !ok {
			return
		}
		if host == "" || host != strings.ToLower(host) || strings.ContainsAny(host, " /@%?#\\\x00") {
			t.Fatalf("%q became %q", raw, host)
		}
		if again, ok := NormalizeHost(host); !ok || again != host {
			t.Fatalf("%q became %q and then %q, %v", raw, host, again, ok)
		}
		if with, ok := NormalizeHost(host + ":8443"); !ok || with != host {
			t.Fatalf("%q with a port became %q, %v", host, with, ok)
		}
	})
}

func BenchmarkNormalizeHost(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NormalizeHost("shop-4711.example.com:8080")
	}
}
