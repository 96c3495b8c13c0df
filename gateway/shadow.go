package gateway

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/router"
)

// findShadowed finds Rules whose match another Rule of the same host has too, so
// that they never see a request: HTTPRoute gives it to the older Route.
func (b *build) findShadowed() {
	winners := make(map[*router.Rule]*router.Rule) // by loser
	for _, h := range b.hosts {
		if len(h.Rules) > 1 {
			shadowedIn(h.Rules, winners)
		}
	}
	losers := slices.SortedFunc(maps.Keys(winners), compareOrder)
	for _, loser := range losers {
		object, field := b.origin(loser)
		by, byField := b.origin(winners[loser])
		where := by.String() + " " + byField
		if by == object {
			where = byField
		}
		p := Problem{object, field, reasonDuplicateMatch, "the same match stands in " + where + ", which takes all requests"}
		if !slices.Contains(b.shadows[object], p) { // one for all Listeners
			b.shadows[object] = append(b.shadows[object], p)
			b.report(p)
		}
	}
}

// shadowedIn adds the losers among the Rules of one host.
func shadowedIn(rules []*router.Rule, winners map[*router.Rule]*router.Rule) {
	seen := make(map[string]*router.Rule, len(rules))
	for _, r := range rules {
		key := matchKey(&r.Match)
		if r.Order.Created == createdLast {
			key = "default " + key // it is there for what no rule takes
		}
		first := seen[key]
		switch {
		case first == nil:
			seen[key] = r
		case compareOrder(r, first) < 0:
			seen[key], winners[first] = r, r
		case r != first:
			winners[r] = first
		}
	}
}

// compareOrder orders Rules of equal matches as router does.
func compareOrder(x, y *router.Rule) int {
	return cmp.Or(
		cmp.Compare(x.Order.Created, y.Order.Created),
		cmp.Compare(x.Order.Name, y.Order.Name),
		cmp.Compare(x.Order.Index, y.Order.Index),
		cmp.Compare(x.Route, y.Route),
	)
}

// origin returns the object and the field that a Rule was made from.
func (b *build) origin(r *router.Rule) (ObjectRef, string) {
	kind, _, _ := strings.Cut(r.Route, " ")
	namespace, name, _ := strings.Cut(r.Order.Name, "/")
	object := ObjectRef{Kind: kind, Namespace: namespace, Name: name}
	if kind == kindIngress {
		return object, b.memo.ingresses[types.NamespacedName{Namespace: namespace, Name: name}].fields[r.Order.Index]
	}
	return object, b.memo.routes[object].parsed.fields[r.Order.Index]
}

// matchKey is the same text for matches that hold for the same requests.
func matchKey(m *router.Match) string {
	var s strings.Builder
	path := m.Path.Value
	if m.Path.Kind == router.PathPrefix {
		path = strings.TrimSuffix(path, "/")
	}
	fmt.Fprintf(&s, "%d %q %s", m.Path.Kind, path, m.Method)
	if m.Path.Kind == router.PathPrefix && m.Path.Regexp != nil {
		fmt.Fprintf(&s, " %q", m.Path.Regexp)
	}
	for _, h := range valueKeys(m.Headers, strings.ToLower) {
		s.WriteString(" header " + h)
	}
	for _, q := range valueKeys(m.Query, strings.Clone) {
		s.WriteString(" query " + q)
	}
	return s.String()
}

func valueKeys(matches []router.ValueMatch, name func(string) string) []string {
	keys := make([]string, len(matches))
	for i, m := range matches {
		keys[i] = fmt.Sprintf("%q %t %q", name(m.Name), m.Regexp != nil, m.Value)
	}
	slices.Sort(keys)
	return keys
}

// Lintel's own condition of a Route's parent: it is present, and True, while a
// match of the Route never sees a request.
const (
	conditionShadowed    = "lintel.dev/Shadowed"
	reasonDuplicateMatch = "DuplicateMatch"
)
