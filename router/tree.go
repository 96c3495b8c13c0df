package router

import (
	"slices"
	"strings"
)

// pathTree finds the Rule of one hostname.
//
// A node stands for a path; the edge to it is labelled with the elements that it
// adds to its parent's path. A chain of elements without Rules in between is one
// edge, so a tree has at most twice as many nodes as there are different paths:
//
//	"" ─┬─ "/shop/cart" ─── "/items"
//	    └─ "/static"
//
// A node holds the Rules for exactly its path and those for the prefix that its
// path is, each sorted by precedence.
//
// match walks down from the root as long as an edge fits. If that uses up the
// path, the Rules for exactly this path come first. Then come the expressions, the
// longest first. Then the walk goes back up: every node on the way is a prefix of
// the path, the longest first, so that nothing has to be remembered. The Rules of
// one node differ in method, headers, query and age; they are tried one by one.
//
// The walk reads each byte of the path at most once for each edge out of a small
// node (manyChildren at most), and twice at a large one, which has a map. Of
// expressions, each is tried at most once, and only if the rest of its Rule holds.
type pathTree struct {
	root    pathNode
	regexes []*Rule
	rules   []*Rule // all, by precedence; the nodes hold parts of it
}

type pathNode struct {
	label    string    // "/shop/cart"; "" for the root
	parent   *pathNode // nil for the root
	exact    []*Rule
	prefix   []*Rule
	children []pathNode           // no two begin with the same element
	byFirst  map[string]*pathNode // children by first element, where they are many
}

// manyChildren is the number of children from which a map finds one sooner than
// comparing them all.
const manyChildren = 9

// pathGroup is the Rules for one exact path or one prefix.
type pathGroup struct {
	path  string
	kind  PathKind
	rules []*Rule
}

// newPathTree makes a tree from Rules that are sorted by precedence. Exact paths
// and prefixes that do not begin with a slash match nothing, and are left out.
func newPathTree(paths []compiledPath) *pathTree {
	t := &pathTree{rules: make([]*Rule, len(paths))}
	for i, p := range paths {
		t.rules[i] = p.rule
	}
	var groups []pathGroup
	for from := 0; from < len(paths); {
		p, to := paths[from], from+1
		for ; to < len(paths) && p.samePath(paths[to]); to++ {
		}
		rules := t.rules[from:to:to]
		from = to
		switch {
		case p.kind == PathRegex:
			t.regexes = append(t.regexes, rules...)
		case p.path == "" || p.path[0] == '/':
			groups = append(groups, pathGroup{p.path, p.kind, rules})
		}
	}
	slices.SortFunc(groups, func(a, b pathGroup) int { return comparePaths(a.path, b.path) })
	t.root.fill(groups, 0)
	return t
}

// fill gives n its Rules and its children. groups are those of n and of all below
// it, sorted by comparePaths; n's own path is the first depth bytes of each.
func (n *pathNode) fill(groups []pathGroup, depth int) {
	for len(groups) > 0 && len(groups[0].path) == depth {
		if groups[0].kind == PathExact {
			n.exact = groups[0].rules
		} else {
			n.prefix = groups[0].rules
		}
		groups = groups[1:]
	}
	if len(groups) == 0 {
		return
	}
	borders := []int{0} // where the next child's groups begin
	for i := 1; i < len(groups); i++ {
		was, _ := cutElement(groups[i-1].path[depth:])
		if now, _ := cutElement(groups[i].path[depth:]); now != was {
			borders = append(borders, i)
		}
	}
	borders = append(borders, len(groups))
	n.children = make([]pathNode, len(borders)-1)
	for i := range n.children {
		below := groups[borders[i]:borders[i+1]]
		child := &n.children[i]
		child.label = commonElements(below[0].path[depth:], below[len(below)-1].path[depth:])
		child.parent = n
		child.fill(below, depth+len(child.label))
	}
	n.index()
}

// index makes the map of a node with many children.
func (n *pathNode) index() {
	if len(n.children) < manyChildren {
		return
	}
	n.byFirst = make(map[string]*pathNode, len(n.children))
	for i := range n.children {
		first, _ := cutElement(n.children[i].label)
		n.byFirst[first] = &n.children[i]
	}
}

// comparePaths orders paths by their elements, so that everything below a path
// follows it at once.
func comparePaths(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = cutElement(a)
		y, b = cutElement(b)
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return len(a) - len(b)
}

// commonElements returns the elements that both paths begin with.
func commonElements(a, b string) string {
	same := 0
	for rest := a; rest != ""; {
		_, rest = cutElement(rest)
		if _, ok := cutElements(b, a[:len(a)-len(rest)]); !ok {
			break
		}
		same = len(a) - len(rest)
	}
	return a[:same]
}

// cutElement splits a path that begins with a slash into its first element and
// what follows, which is empty or begins with a slash.
func cutElement(path string) (element, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// cutElements cuts prefix off path if path has its elements.
func cutElements(path, prefix string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// walk returns the deepest node on the way of path, and whether it stands for path
// as a whole.
func (n *pathNode) walk(path string) (deepest *pathNode, whole bool) {
	if path == "" || path[0] != '/' {
		return n, false
	}
	for path != "" {
		child, rest := n.child(path)
		if child == nil {
			return n, false
		}
		n, path = child, rest
	}
	return n, true
}

// child returns the child on the way of path, and the path below it.
func (n *pathNode) child(path string) (child *pathNode, rest string) {
	if n.byFirst != nil {
		first, _ := cutElement(path)
		if c := n.byFirst[first]; c != nil {
			if rest, ok := cutElements(path, c.label); ok {
				return c, rest
			}
		}
		return nil, ""
	}
	for i := range n.children {
		if rest, ok := cutElements(path, n.children[i].label); ok {
			return &n.children[i], rest
		}
	}
	return nil, ""
}

// match returns the first Rule by precedence that matches, or nil.
func (t *pathTree) match(r *Request) *Rule {
	n, whole := t.root.walk(r.Path)
	if whole {
		if rule := firstHolding(n.exact, r); rule != nil {
			return rule
		}
	}
	for _, rule := range t.regexes {
		if rule.Match.holds(r) && rule.Match.Path.Regexp.MatchString(r.Path) {
			return rule
		}
	}
	for ; n != nil; n = n.parent {
		if rule := firstHolding(n.prefix, r); rule != nil {
			return rule
		}
	}
	return nil
}

// firstHolding returns the first of rules that r meets, given that it meets the exact
// path or the prefix.
func firstHolding(rules []*Rule, r *Request) *Rule {
	for _, rule := range rules {
		if rule.Match.holds(r) && (rule.Match.Path.Regexp == nil || rule.Match.Path.Regexp.MatchString(r.Path)) {
			return rule
		}
	}
	return nil
}
