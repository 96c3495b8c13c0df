package gateway

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// attach decides every parentRef of a Route.
func (b *build) attach(r *boundRoute) {
	if len(r.parentRefs) == 0 {
		b.report(Problem{r.ref, "spec", ReasonUnclaimed, "there are no parentRefs: name the Gateway that is to serve the Route"})
	}
	for i := range r.parentRefs {
		parent := b.parent(r, i)
		if parent == nil {
			continue
		}
		accepted, listeners := b.attachTo(r, i, parent)
		r.parents = append(r.parents, boundParent{i, accepted})
		for _, l := range listeners {
			if slices.Contains(r.listeners, l) {
				continue
			}
			r.listeners = append(r.listeners, l)
			if accepted.status == metav1.ConditionTrue {
				l.attached++
				if b.hasRivals(r.ref.Kind) {
					l.take(r)
				}
			}
		}
	}
}

func parentField(index int) string { return fmt.Sprintf("spec.parentRefs[%d]", index) }

// parent returns the Gateway or ListenerSet of ours that spec.parentRefs[i] names, or nil.
func (b *build) parent(r *boundRoute, i int) *listenerOwner {
	ref := &r.parentRefs[i]
	if valueOr(ref.Group, groupGateway) != groupGateway {
		return nil // a mesh's, or another extension's
	}
	name := ObjectRef{Kind: valueOr(ref.Kind, kindGateway), Namespace: valueOr(ref.Namespace, r.ref.Namespace), Name: string(ref.Name)}
	if name.Kind != kindGateway && name.Kind != kindListenerSet {
		b.report(Problem{r.ref, parentField(i) + ".kind", ReasonUnclaimed, fmt.Sprintf("a parent of kind %q is not served; refer to a Gateway or a ListenerSet", name.Kind)})
		return nil
	}
	owner := b.owners[name]
	if owner == nil && !b.exists(name) {
		b.report(Problem{r.ref, parentField(i), ReasonUnclaimed, name.String() + " not found"})
	}
	return owner
}

// exists reports whether the Snapshot has a Gateway or a ListenerSet.
func (b *build) exists(ref ObjectRef) bool {
	if ref.Kind == kindListenerSet {
		return slices.ContainsFunc(b.ListenerSets, func(s *gatewayv1.ListenerSet) bool { return s.Namespace == ref.Namespace && s.Name == ref.Name })
	}
	return slices.ContainsFunc(b.Gateways, func(g *gatewayv1.Gateway) bool { return g.Namespace == ref.Namespace && g.Name == ref.Name })
}

// attachTo finds the Listeners of the parent that take the Route by its parentRef i.
// The reasons of the Accepted condition exclude each other in this order.
func (b *build) attachTo(r *boundRoute, i int, parent *listenerOwner) (condition, []*listener) {
	ref := &r.parentRefs[i]
	no := func(reason gatewayv1.RouteConditionReason, message string) (condition, []*listener) {
		p := Problem{r.ref, parentField(i), string(reason), message}
		b.report(p)
		return fault(gatewayv1.RouteConditionAccepted, p), nil
	}
	var named, allowed int
	var matched []*listener
	for _, l := range parent.listeners {
		if ref.SectionName != nil && *ref.SectionName != l.Name || ref.Port != nil && *ref.Port != l.Port {
			continue
		}
		named++
		if !l.allows(b.index, &r.ref) {
			continue
		}
		allowed++
		if slices.ContainsFunc(r.memo.parsed.hostnames, func(h string) bool { return intersects(l.hostname, h) }) {
			matched = append(matched, l)
		}
	}
	switch {
	case named == 0:
		return no(gatewayv1.RouteReasonNoMatchingParent, fmt.Sprintf("%s has no Listener%s", parent.ref, wantedListener(ref)))
	case allowed == 0:
		return no(gatewayv1.RouteReasonNotAllowedByListeners,
			fmt.Sprintf("allowedRoutes of %s%s lets in no %s of namespace %q", parent.ref, wantedListener(ref), r.ref.Kind, r.ref.Namespace))
	case len(matched) == 0:
		return no(gatewayv1.RouteReasonNoMatchingListenerHostname,
			fmt.Sprintf("no Listener of %s%s takes any of the hostnames %s", parent.ref, wantedListener(ref), quoted(r.memo.parsed.hostnames)))
	}
	free, taken := r.withoutRivals(matched)
	if len(free) == 0 {
		return no(reasonHostnameConflict, taken[0])
	}
	for _, message := range taken {
		b.report(Problem{r.ref, parentField(i), reasonHostnameConflict, message})
	}
	matched = free
	if p := r.memo.parsed; len(p.invalid) > 0 && !slices.ContainsFunc(p.rules, func(r parsedRule) bool { return !r.invalid }) {
		// Its Rules still stand, and answer 500 (docs/adr/0003).
		return fault(gatewayv1.RouteConditionAccepted, p.invalid[0]), matched
	}
	return truth(gatewayv1.RouteConditionAccepted, gatewayv1.RouteReasonAccepted, attachedTo(matched)), matched
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
