package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// boundRoute is an HTTPRoute with at least one parent that is a Gateway of ours.
type boundRoute struct {
	*gatewayv1.HTTPRoute
	ref       ObjectRef
	memo      *routeMemo
	parents   []boundParent
	listeners []*listener // that its Rules are placed in, each once

	resolved condition
}

// boundParent is one parentRef that names a Gateway of ours.
type boundParent struct {
	index    int // in spec.parentRefs
	accepted condition
}

// bindHTTPRoutes attaches Routes to Listeners and puts their Rules in place.
func (b *build) bindHTTPRoutes() []*boundRoute {
	routes := slices.Clone(b.HTTPRoutes)
	slices.SortFunc(routes, func(x, y *gatewayv1.HTTPRoute) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	all := make([]boundRoute, len(routes))
	bound := make([]*boundRoute, 0, len(routes))
	for i, r := range routes {
		route := &all[i]
		*route = boundRoute{HTTPRoute: r, ref: ObjectRef{Kind: kindHTTPRoute, Namespace: r.Namespace, Name: r.Name}}
		route.memo = b.routeMemo(r)
		b.attach(route)
		if len(route.parents) == 0 {
			continue
		}
		b.placeRules(route)
		bound = append(bound, route)
	}
	return bound
}

// attach decides every parentRef of a Route.
func (b *build) attach(r *boundRoute) {
	if len(r.Spec.ParentRefs) == 0 {
		b.report(Problem{r.ref, "spec", ReasonUnclaimed, "there are no parentRefs: name the Gateway that is to serve the Route"})
	}
	for i := range r.Spec.ParentRefs {
		ref := &r.Spec.ParentRefs[i]
		g := b.parent(r, i, ref)
		if g == nil {
			continue
		}
		accepted, listeners := b.attachTo(r, i, g)
		r.parents = append(r.parents, boundParent{i, accepted})
		for _, l := range listeners {
			if slices.Contains(r.listeners, l) {
				continue
			}
			r.listeners = append(r.listeners, l)
			if accepted.status == metav1.ConditionTrue {
				l.attached++
			}
		}
	}
}

func parentField(index int) string { return fmt.Sprintf("spec.parentRefs[%d]", index) }

// parent returns the Gateway of ours that spec.parentRefs[i] names, or nil.
func (b *build) parent(r *boundRoute, i int, ref *gatewayv1.ParentReference) *boundGateway {
	if valueOr(ref.Group, groupGateway) != groupGateway {
		return nil // a mesh's, or another extension's
	}
	if kind := valueOr(ref.Kind, kindGateway); kind != kindGateway {
		b.report(Problem{r.ref, parentField(i) + ".kind", ReasonUnclaimed, fmt.Sprintf("a parent of kind %q is not served by this version; refer to a Gateway", kind)})
		return nil
	}
	name := types.NamespacedName{Namespace: valueOr(ref.Namespace, r.Namespace), Name: string(ref.Name)}
	g := b.gateways[name]
	if g == nil && !b.gatewayExists(name) {
		b.report(Problem{r.ref, parentField(i), ReasonUnclaimed, fmt.Sprintf("Gateway %s not found", name)})
	}
	return g
}

func (b *build) gatewayExists(name types.NamespacedName) bool {
	return slices.ContainsFunc(b.Gateways, func(g *gatewayv1.Gateway) bool { return nameOf(g) == name })
}

// attachTo finds the Listeners of g that take the Route by its parentRef i. The
// reasons of the Accepted condition exclude each other in this order.
func (b *build) attachTo(r *boundRoute, i int, g *boundGateway) (condition, []*listener) {
	ref := &r.Spec.ParentRefs[i]
	no := func(reason gatewayv1.RouteConditionReason, message string) (condition, []*listener) {
		p := Problem{r.ref, parentField(i), string(reason), message}
		b.report(p)
		return fault(gatewayv1.RouteConditionAccepted, p), nil
	}
	var named, allowed int
	var matched []*listener
	for _, l := range g.listeners {
		if ref.SectionName != nil && *ref.SectionName != l.Name || ref.Port != nil && *ref.Port != l.Port {
			continue
		}
		named++
		if !l.allows(b.index, r.Namespace) {
			continue
		}
		allowed++
		if slices.ContainsFunc(r.memo.parsed.hostnames, func(h string) bool { return intersects(l.hostname, h) }) {
			matched = append(matched, l)
		}
	}
	switch {
	case named == 0:
		return no(gatewayv1.RouteReasonNoMatchingParent, fmt.Sprintf("%s has no Listener%s", g.ref, wantedListener(ref)))
	case allowed == 0:
		return no(gatewayv1.RouteReasonNotAllowedByListeners,
			fmt.Sprintf("allowedRoutes of %s%s lets in no HTTPRoute of namespace %q", g.ref, wantedListener(ref), r.Namespace))
	case len(matched) == 0:
		return no(gatewayv1.RouteReasonNoMatchingListenerHostname,
			fmt.Sprintf("no Listener of %s%s takes any of the hostnames %s", g.ref, wantedListener(ref), quoted(r.memo.parsed.hostnames)))
	}
	if p := r.memo.parsed; len(p.invalid) > 0 && !slices.ContainsFunc(p.rules, func(r parsedRule) bool { return !r.invalid }) {
		// Its Rules still stand, and answer 500 (docs/adr/0003).
		return fault(gatewayv1.RouteConditionAccepted, p.invalid[0]), matched
	}
	message := attachedTo(matched)
	if ignored := r.memo.parsed.ignored; len(ignored) > 0 {
		message += "; without effect in this version: " + strings.Join(ignored, ", ")
	}
	return truth(gatewayv1.RouteConditionAccepted, gatewayv1.RouteReasonAccepted, message), matched
}

// intersects reports whether there is a host that both hostnames match. Each is ""
// for any, "example.com" or "*.example.com", where the wildcard stands for one or
// more labels.
func intersects(x, y string) bool {
	if x == "" || y == "" || x == y {
		return true
	}
	xSuffix, xWild := strings.CutPrefix(x, "*")
	ySuffix, yWild := strings.CutPrefix(y, "*")
	switch {
	case xWild && yWild:
		return strings.HasSuffix(xSuffix, ySuffix) || strings.HasSuffix(ySuffix, xSuffix)
	case xWild:
		return strings.HasSuffix(y, xSuffix) && len(y) > len(xSuffix)
	case yWild:
		return strings.HasSuffix(x, ySuffix) && len(x) > len(ySuffix)
	default:
		return false
	}
}

// reportUnserved speaks of Routes of other kinds that ask for a Gateway of ours.
func (b *build) reportUnserved() {
	check := func(kind string, name types.NamespacedName, refs []gatewayv1.ParentReference) {
		for i := range refs {
			parent := types.NamespacedName{Namespace: valueOr(refs[i].Namespace, name.Namespace), Name: string(refs[i].Name)}
			if valueOr(refs[i].Kind, kindGateway) == kindGateway && b.gateways[parent] != nil {
				b.report(Problem{
					ObjectRef{kind, name.Namespace, name.Name}, parentField(i), string(gatewayv1.RouteReasonNotAllowedByListeners),
					fmt.Sprintf("Routes of kind %s are not served by this version", kind),
				})
			}
		}
	}
	for _, r := range b.GRPCRoutes {
		check("GRPCRoute", nameOf(r), r.Spec.ParentRefs)
	}
	for _, r := range b.TLSRoutes {
		check("TLSRoute", nameOf(r), r.Spec.ParentRefs)
	}
	for _, r := range b.TCPRoutes {
		check("TCPRoute", nameOf(r), r.Spec.ParentRefs)
	}
	for _, r := range b.UDPRoutes {
		check("UDPRoute", nameOf(r), r.Spec.ParentRefs)
	}
}

// wantedListener repeats what a parentRef asks of a Listener, for messages.
func wantedListener(ref *gatewayv1.ParentReference) string {
	var s string
	if ref.SectionName != nil {
		s += fmt.Sprintf(" %q", *ref.SectionName)
	}
	if ref.Port != nil {
		s += fmt.Sprintf(" on port %d", *ref.Port)
	}
	return s
}

// attachedTo names Listeners in the message of an Accepted condition.
func attachedTo(listeners []*listener) string {
	if len(listeners) == 1 {
		return listeners[0].attachedMessage
	}
	names := make([]string, len(listeners))
	for i, l := range listeners {
		names[i] = string(l.Name)
	}
	return "attached to Listeners " + strings.Join(names, ", ")
}

func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(q, ", ")
}
