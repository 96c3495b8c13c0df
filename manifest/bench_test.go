package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const benchRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.example.com]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /api}
      headers: [{name: x-version, value: "1"}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    backendRefs: [{name: a, port: 80, weight: 90}, {name: b, port: 80, weight: 10}]
`

// One route among fifty is edited; schemas and rules are made anew each time, as
// they are between two edits.
func BenchmarkEdit(b *testing.B) {
	dir := b.TempDir()
	var all strings.Builder
	for i := range 50 {
		all.WriteString("---\n" + strings.Replace(benchRoute, "shop}", "shop-"+string(rune('a'+i/10))+string(rune('a'+i%10))+"}", 1))
	}
	path := filepath.Join(dir, "routes.yaml")
	if err := os.WriteFile(path, []byte(all.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	s := New(dir)
	if err := s.Load(); err != nil {
		b.Fatal(err)
	}
	if p := s.Problems(); len(p) > 0 {
		b.Fatal(p)
	}
	l, err := s.list()
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		edited := strings.Replace(all.String(), "value: /api", "value: /api"+strings.Repeat("a", 1+n%2), 1)
		if err := os.WriteFile(path, []byte(edited), 0o644); err != nil {
			b.Fatal(err)
		}
		s.reload(l, doubtEmpty)
	}
}
