package router

import "strings"

// pathTree finds the Rule of one hostname.
//
// A node stands for a path, its children for the path with one more element:
// "/shop/cart" is root → "shop" → "cart", and "/shop/" is root → "shop" → "".
// A node holds the Rules for exactly its path and those for the prefix that its
// path is, each sorted by precedence.
//
// match walks down from the root while there is a child for the next element. If
// the path is used up, the Rules for exactly this path come first. Then come the
// expressions, the longest first. Then the walk goes back up: every node on the
// way is a prefix of the path, the longest first, so that nothing has to be
// remembered. Rules of one node differ in method, headers, query and age; they are
// tried one after the other.
//
// The walk is O(n) for the n bytes of the path that the tree has nodes for.
// Expressions cost what they cost, each at most once, and only after the rest of
// their Rule holds.
type pathTree struct {
	root    pathNode
	regexes []*Rule
	rules   []*Rule // all, by precedence
}

type pathNode struct {
	parent   *pathNode // nil for the root
	children map[string]*pathNode
	exact    []*Rule
	prefix   []*Rule
}

// newPathTree makes a tree from Rules that are sorted by precedence. Exact paths
// and prefixes that do not begin with a slash match nothing, and are left out.
func newPathTree(paths []compiledPath) *pathTree {
	t := &pathTree{rules: make([]*Rule, len(paths))}
	for i, p := range paths {
		t.rules[i] = p.rule
		if p.kind == PathRegex {
			t.regexes = append(t.regexes, p.rule)
			continue
		}
		if p.path != "" && p.path[0] != '/' {
			continue
		}
		switch n := t.root.grow(p.path); p.kind {
		case PathExact:
			n.exact = append(n.exact, p.rule)
		default:
			n.prefix = append(n.prefix, p.rule)
		}
	}
	return t
}

// grow returns the node for path below n, made if needed. path is empty or begins
// with a slash.
func (n *pathNode) grow(path string) *pathNode {
	for path != "" {
		var element string
		element, path = cutElement(path)
		child := n.children[element]
		if child == nil {
			if n.children == nil {
				n.children = make(map[string]*pathNode)
			}
			child = &pathNode{parent: n}
			n.children[element] = child
		}
		n = child
	}
	return n
}

// walk returns the deepest node on the way of path, and whether it stands for path
// as a whole.
func (n *pathNode) walk(path string) (deepest *pathNode, whole bool) {
	if path == "" || path[0] != '/' {
		return n, false
	}
	for path != "" {
		if len(n.children) == 0 {
			return n, false
		}
		element, rest := cutElement(path)
		child := n.children[element]
		if child == nil {
			return n, false
		}
		n, path = child, rest
	}
	return n, true
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

// firstHolding returns the first of rules that r meets apart from its path.
func firstHolding(rules []*Rule, r *Request) *Rule {
	for _, rule := range rules {
		if rule.Match.holds(r) {
			return rule
		}
	}
	return nil
}
