package router

import (
	"cmp"
	"slices"
	"strings"
)

// compiledPath is a Rule with its path as the tree compares it.
type compiledPath struct {
	rule *Rule
	kind PathKind
	path string
}

// takesAll reports whether the Rule has no condition at all.
func (p *compiledPath) takesAll() bool {
	m := &p.rule.Match
	return p.kind == PathPrefix && p.path == "" && m.Path.Regexp == nil && m.Method == "" && len(m.Headers) == 0 && len(m.Query) == 0
}

// compilePath normalises the path of a Rule, as requests' paths are. A prefix
// loses the slash at its end, which does not count: "/foo/" and "/foo" are equal,
// and "/" becomes "".
func compilePath(m PathMatch) string {
	if m.Kind == PathRegex {
		return m.Value
	}
	path, ok := NormalizePath(m.Value)
	if !ok {
		path = m.Value
	}
	if m.Kind == PathPrefix {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}

// sortPaths returns the Rules by precedence, the first to try first.
func sortPaths(rules []*Rule) []compiledPath {
	paths := make([]compiledPath, len(rules))
	for i, r := range rules {
		paths[i] = compiledPath{r, r.Match.Path.Kind, compilePath(r.Match.Path)}
	}
	slices.SortStableFunc(paths, compiledPath.compare)
	return paths
}

// compare orders by the precedence of HTTPRouteRule's matches: exact paths, then
// expressions, then prefixes; longer ones first, and a prefix with an expression before
// the same without; then those with a method, with more headers, with more query
// parameters; then by Order. The names of Route and Listener come last, so that the order
// never depends on how Rules were given.
func (p compiledPath) compare(o compiledPath) int {
	a, b := &p.rule.Match, &o.rule.Match
	if c := cmp.Or(
		cmp.Compare(p.kind.rank(), o.kind.rank()),
		cmp.Compare(len(o.path), len(p.path)),
		p.compareText(o),
		cmp.Compare(b.Path.narrowing(), a.Path.narrowing()),
		cmp.Compare(min(len(b.Method), 1), min(len(a.Method), 1)),
		cmp.Compare(len(b.Headers), len(a.Headers)),
		cmp.Compare(len(b.Query), len(a.Query)),
	); c != 0 {
		return c
	}
	x, y := &p.rule.Order, &o.rule.Order
	return cmp.Or(
		cmp.Compare(x.Created, y.Created),
		strings.Compare(x.Name, y.Name),
		cmp.Compare(x.Index, y.Index),
		strings.Compare(p.rule.Route, o.rule.Route),
		strings.Compare(p.rule.Listener, o.rule.Listener),
	)
}

// compareText puts the Rules of one path together. Exact paths or prefixes of one
// length that differ never match the same request, so their order is free; but
// expressions of one length may, and must leave the decision to what follows.
func (p compiledPath) compareText(o compiledPath) int {
	if p.kind == PathRegex {
		return 0
	}
	return strings.Compare(p.path, o.path)
}

// samePath reports whether p and o compare a request's path alike.
func (p compiledPath) samePath(o compiledPath) bool { return p.kind == o.kind && p.path == o.path }

// rank is the place of a kind of path in the precedence, 0 for the first.
func (k PathKind) rank() int {
	switch k {
	case PathExact:
		return 0
	case PathRegex:
		return 1
	default:
		return 2
	}
}

// narrowing is the length of the expression that a prefix has, 0 for none.
func (m *PathMatch) narrowing() int {
	if m.Kind != PathPrefix || m.Regexp == nil {
		return 0
	}
	return len(m.Regexp.String())
}
