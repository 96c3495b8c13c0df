package router

import "testing"

// TestReplacePrefixTable is the table in the documentation of HTTPPathModifier.
func TestReplacePrefixTable(t *testing.T) {
	for _, tt := range []struct{ path, prefix, replace, want string }{
		{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
		{"/foo/bar", "/foo/", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo/", "/xyz/", "/xyz/bar"},
		{"/foo", "/foo", "/xyz", "/xyz"},
		{"/foo/", "/foo", "/xyz", "/xyz/"},
		{"/foo/bar", "/foo", "", "/bar"},
		{"/foo/", "/foo", "", "/"},
		{"/foo", "/foo", "", "/"},
		{"/foo/", "/foo", "/", "/"},
		{"/foo", "/foo", "/", "/"},
	} {
		m := PathModifier{Kind: ReplacePrefix, Value: tt.replace}
		if got := m.Apply(tt.path, PathMatch{Kind: PathPrefix, Value: tt.prefix}); got != tt.want {
			t.Errorf("%s with prefix %s replaced by %q: got %s, want %s", tt.path, tt.prefix, tt.replace, got, tt.want)
		}
	}
}

func TestPathModifier(t *testing.T) {
	prefix := func(value string) PathMatch { return PathMatch{Kind: PathPrefix, Value: value} }
	for _, tt := range []struct {
		name     string
		modifier PathModifier
		match    PathMatch
		path     string
		want     string
	}{
		{"keep", PathModifier{}, prefix("/a"), "/a/b", "/a/b"},
		{"full", PathModifier{ReplaceFullPath, "/x"}, prefix("/a"), "/a/b", "/x"},
		{"full, on an exact match", PathModifier{ReplaceFullPath, "/x"}, PathMatch{Kind: PathExact, Value: "/a"}, "/a", "/x"},
		{"full, relative", PathModifier{ReplaceFullPath, "x"}, prefix("/a"), "/a", "/x"},
		{"full, empty", PathModifier{ReplaceFullPath, ""}, prefix("/a"), "/a", "/"},
		{"prefix is the root", PathModifier{ReplacePrefix, "/x"}, prefix("/"), "/a/b", "/x/a/b"},
		{"prefix of the zero match", PathModifier{ReplacePrefix, "/x"}, PathMatch{}, "/a", "/x/a"},
		{"prefix in another spelling", PathModifier{ReplacePrefix, "/x"}, prefix("/%7eme/"), "/~me/a", "/x/a"},
		{"prefix with double slashes behind it", PathModifier{ReplacePrefix, "/x"}, prefix("/a"), "/a//b", "/x//b"},
		{"prefix, relative", PathModifier{ReplacePrefix, "x"}, prefix("/a"), "/a/b", "/x/b"},
		{"prefix on an exact match", PathModifier{ReplacePrefix, "/x"}, PathMatch{Kind: PathExact, Value: "/a"}, "/a", "/a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.modifier.Apply(tt.path, tt.match); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestLocation(t *testing.T) {
	from := &Request{Host: "shop.example.com", Path: "/a/b", Query: "p=1&q=%20"}
	match := PathMatch{Kind: PathPrefix, Value: "/a"}
	for _, tt := range []struct {
		name     string
		redirect Redirect
		from     *Request
		want     string
	}{
		{"scheme alone", Redirect{Scheme: "https"}, from, "https://shop.example.com/a/b?p=1&q=%20"},
		{"hostname", Redirect{Scheme: "http", Hostname: "example.org"}, from, "http://example.org/a/b?p=1&q=%20"},
		{"port", Redirect{Scheme: "https", Port: 8443}, from, "https://shop.example.com:8443/a/b?p=1&q=%20"},
		{"prefix", Redirect{Scheme: "http", Path: PathModifier{ReplacePrefix, "/x"}}, from, "http://shop.example.com/x/b?p=1&q=%20"},
		{"full path", Redirect{Scheme: "http", Path: PathModifier{ReplaceFullPath, "/x"}}, from, "http://shop.example.com/x?p=1&q=%20"},
		{"no query", Redirect{Scheme: "http"}, &Request{Host: "a", Path: "/"}, "http://a/"},
		{"IPv6", Redirect{Scheme: "http", Port: 8080}, &Request{Host: "[::1]", Path: "/"}, "http://[::1]:8080/"},
		{"no host", Redirect{Scheme: "http", Port: 8080}, &Request{Path: "/x", Query: "q"}, "/x?q"},
		{"no host, slashes", Redirect{Scheme: "http"}, &Request{Path: "//evil.example/x"}, "/.//evil.example/x"},
		{"slashes left by a prefix", Redirect{Scheme: "http", Path: PathModifier{ReplacePrefix, "/"}}, &Request{Host: "a", Path: "/a//evil.example"}, "http://a//evil.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.redirect.Location(tt.from, match); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
