package router

import (
	"net/url"
	"strings"
	"testing"
	"unsafe"
)

func TestNormalizePath(t *testing.T) {
	for _, tt := range []struct {
		raw, want string
		refused   bool
	}{
		{raw: "", want: "/"},
		{raw: "/", want: "/"},
		{raw: "/a/b", want: "/a/b"},
		{raw: "/a//b/", want: "/a//b/"},
		{raw: "//", want: "//"},
		// Escapes, RFC 3986 §6.2.2.1 and §6.2.2.2.
		{raw: "/%41%7ea%2D", want: "/A~a-"},
		{raw: "/%2f%3a%c3%bc", want: "/%2F%3A%C3%BC"},
		{raw: "/%2F%C3", want: "/%2F%C3"},
		{raw: "/%252e%252e/", want: "/%252e%252e/"},
		{raw: "/%00", want: "/%00"},
		// Dot segments, RFC 3986 §5.2.4 and §5.4.
		{raw: "/a/b/c/./../../g", want: "/a/g"},
		{raw: "/.", want: "/"},
		{raw: "/..", want: "/"},
		{raw: "/../../a", want: "/a"},
		{raw: "/a/.", want: "/a/"},
		{raw: "/a/..", want: "/"},
		{raw: "/a/b/..", want: "/a/"},
		{raw: "/a/../b", want: "/b"},
		{raw: "/a//../b", want: "/a/b"},
		{raw: "/a/..//b", want: "//b"},
		{raw: "/./a", want: "/a"},
		{raw: "/a/%2e%2E/b", want: "/b"},
		{raw: "/a/.%2e/%2e/b", want: "/b"},
		{raw: "/a/..%2fb", want: "/a/..%2Fb"},
		{raw: "/...", want: "/..."},
		{raw: "/.a/..b/c.", want: "/.a/..b/c."},
		{raw: "/a./b../", want: "/a./b../"},
		{raw: "/" + strings.Repeat("a", 300) + "/../%7e", want: "/~"},
		{raw: "a", refused: true},
		{raw: "*", refused: true},
		{raw: "http://a/", refused: true},
		{raw: "/%", refused: true},
		{raw: "/%4", refused: true},
		{raw: "/%4g", refused: true},
		{raw: "/%g4", refused: true},
		{raw: "/a/../%zz", refused: true},
	} {
		got, ok := NormalizePath(tt.raw)
		if got != tt.want || ok == tt.refused {
			t.Errorf("NormalizePath(%q) = %q, %v; want %q, %v", tt.raw, got, ok, tt.want, !tt.refused)
		}
	}
}

func TestNormalizeAllocatesOnlyForChanges(t *testing.T) {
	const path, host = "/a/.b/c../%2F%C3//d", "shop.example.com"
	if got, _ := NormalizePath(path); unsafe.StringData(got) != unsafe.StringData(path) {
		t.Error("NormalizePath copied a normal path")
	}
	if n := testing.AllocsPerRun(100, func() {
		NormalizePath(path)
		NormalizeHost(host + ":8080")
		NormalizeHost(host + ".")
		NormalizeHost("[2001:db8::1]:80")
	}); n != 0 {
		t.Errorf("normal names allocate %v times", n)
	}
}

func FuzzNormalizePath(f *testing.F) {
	for _, seed := range []string{"", "/", "/a/../b", "/%2e%2E/%41%2f", "/a//./..", "/%", "*", "/..%2f..", "/a/%2e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		path, ok := NormalizePath(raw)
		if !ok {
			return
		}
		if !strings.HasPrefix(path, "/") {
			t.Fatalf("%q became %q, which is not absolute", raw, path)
		}
		for segment := range strings.SplitSeq(path, "/") {
			if decoded := strings.ReplaceAll(strings.ToLower(segment), "%2e", "."); decoded == "." || decoded == ".." {
				t.Fatalf("%q became %q, which has a dot segment", raw, path)
			}
		}
		if again, ok := NormalizePath(path); !ok || again != path {
			t.Fatalf("%q became %q and then %q, %v", raw, path, again, ok)
		}
		// Without dot segments only the spelling may change, never the meaning.
		before, err := url.PathUnescape(raw)
		if err != nil {
			t.Fatalf("%q was accepted: %v", raw, err)
		}
		if raw != "" && !strings.Contains(before, "/.") {
			if after, _ := url.PathUnescape(path); after != before {
				t.Fatalf("%q became %q, which stands for %q", raw, path, after)
			}
		}
	})
}

func BenchmarkNormalizePath(b *testing.B) {
	for _, bb := range []struct{ name, path string }{
		{"normal", "/api/v1/namespaces/default/services/shop"},
		{"escaped", "/api/%7Euser/../caf%c3%a9"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NormalizePath(bb.path)
			}
		})
	}
}
