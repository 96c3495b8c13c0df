package kube

import (
	"cmp"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
)

// statusFields are what a JSON merge patch (RFC 7396) sets under status; a nil value
// removes. No fields mean that nothing is to be written.
type statusFields map[string]any

// set adds a field unless the object has it like that already.
func (f statusFields) set(name string, current, want any) {
	if !equality.Semantic.DeepEqual(current, want) {
		f[name] = want
	}
}

// merger puts our part into the status of an object.
type merger struct {
	controller gatewayv1.GatewayController
	// now becomes the transition time of conditions whose status changed.
	now metav1.Time
	// generation is that of the object which the wanted status was made from.
	generation int64
	// isSiblings reports a Gateway, or a ListenerSet, that may be served by another
	// instance with our controller name, but is not by this one.
	isSiblings func(gateway.ObjectRef) bool
}

func (m merger) gatewayClass(current *gatewayv1.GatewayClass, want *gatewayv1.GatewayClassStatus) statusFields {
	f := statusFields{}
	f.set("conditions", current.Status.Conditions, m.conditions(current.Status.Conditions, want.Conditions, classConditions()))
	f.set("supportedFeatures", current.Status.SupportedFeatures, want.SupportedFeatures)
	return f
}

func (m merger) gateway(current *gatewayv1.Gateway, want *gatewayv1.GatewayStatus) statusFields {
	f := statusFields{}
	f.set("conditions", current.Status.Conditions, m.conditions(current.Status.Conditions, want.Conditions, gatewayConditions()))
	f.set("listeners", current.Status.Listeners, mergeListeners(m, current.Status.Listeners, want.Listeners))
	f.set("addresses", current.Status.Addresses, want.Addresses)
	if want.AttachedListenerSets != nil {
		f.set("attachedListenerSets", current.Status.AttachedListenerSets, want.AttachedListenerSets)
	}
	return f
}

func (m merger) listenerSet(current *gatewayv1.ListenerSet, want *gatewayv1.ListenerSetStatus) statusFields {
	f := statusFields{}
	f.set("conditions", current.Status.Conditions, m.conditions(current.Status.Conditions, want.Conditions, listenerSetConditions()))
	f.set("listeners", current.Status.Listeners, mergeListeners(m, current.Status.Listeners, want.Listeners))
	return f
}

// listenerStatus is the status of a Listener of a Gateway or of a ListenerSet, which have
// the same fields.
type listenerStatus interface {
	gatewayv1.ListenerStatus | gatewayv1.ListenerEntryStatus
}

// mergeListeners merges the conditions of the Listeners of one name.
func mergeListeners[L listenerStatus](m merger, current, want []L) []L {
	listeners := make([]L, len(want))
	for i := range want {
		l := gatewayv1.ListenerStatus(want[i])
		var was []metav1.Condition
		for _, c := range current {
			if c := gatewayv1.ListenerStatus(c); c.Name == l.Name {
				was = c.Conditions
			}
		}
		l.Conditions = m.conditions(was, l.Conditions, listenerConditions())
		listeners[i] = L(l)
	}
	return listeners
}

// routeObject is the part that all kinds of Routes have in common.
type routeObject struct {
	namespace  string
	parentRefs []gatewayv1.ParentReference // of its spec
	parents    []gatewayv1.RouteParentStatus
}

// policyObject is the part that all kinds of policies have in common.
type policyObject struct {
	namespace string
	ancestors []gatewayv1.PolicyAncestorStatus
}

// The limits of RouteStatus.parents and PolicyStatus.ancestors: the API server takes no
// status with more.
const (
	maxParents   = 32
	maxAncestors = 16
)

func (m merger) route(current routeObject, want *gateway.RouteStatus) statusFields {
	f := statusFields{}
	f.set("parents", current.parents, mergeEntries(m, current.parents, want.Parents, entryKind[gatewayv1.RouteParentStatus]{
		part: func(p *gatewayv1.RouteParentStatus) entry {
			return entry{&p.ParentRef, p.ControllerName, &p.Conditions}
		},
		own: routeConditions(want), limit: maxParents,
		isSiblings: func(p *gatewayv1.RouteParentStatus) bool { return m.isSiblingsEntry(current, p) },
	}))
	return f
}

func (m merger) policy(current policyObject, want *gateway.PolicyStatus) statusFields {
	f := statusFields{}
	f.set("ancestors", current.ancestors, mergeEntries(m, current.ancestors, want.Ancestors, entryKind[gatewayv1.PolicyAncestorStatus]{
		part: func(a *gatewayv1.PolicyAncestorStatus) entry {
			return entry{&a.AncestorRef, a.ControllerName, &a.Conditions}
		},
		own: policyConditions(), limit: maxAncestors,
		isSiblings: func(a *gatewayv1.PolicyAncestorStatus) bool { return m.isSiblingsRef(a.AncestorRef, current.namespace) },
	}))
	return f
}

// entry is what one of the entries of a status, of which several controllers write, says
// of one parent of a Route, or ancestor of a policy.
type entry struct {
	ref        *gatewayv1.ParentReference
	controller gatewayv1.GatewayController
	conditions *[]metav1.Condition
}

// entryKind is how entries of one kind are merged.
type entryKind[T any] struct {
	part  func(*T) entry
	own   []string // types of condition
	limit int
	// isSiblings reports an entry under our controller name that is not wanted here, but
	// may be elsewhere.
	isSiblings func(*T) bool
}

// mergeEntries puts our wanted entries in the place of those with the same reference.
// Entries of other controllers stay as they are, and so do those that another instance of
// ours may have written. Those of ours that there is no room for are left out.
func mergeEntries[T any](m merger, current, want []T, kind entryKind[T]) []T {
	merged := []T{} // may be empty, but not null
	done := make([]bool, len(want))
	add := func(i int, was []metav1.Condition) {
		done[i] = true
		e := want[i]
		part := kind.part(&e)
		*part.ref = withDefaults(*part.ref)
		*part.conditions = m.conditions(was, *part.conditions, kind.own)
		merged = append(merged, e)
	}
	for c := range current {
		was := kind.part(&current[c])
		i := slices.IndexFunc(want, func(w T) bool { return sameParent(*kind.part(&w).ref, *was.ref) })
		switch {
		case was.controller != m.controller, i < 0 && kind.isSiblings(&current[c]):
			merged = append(merged, current[c])
		case i >= 0 && !done[i]:
			add(i, *was.conditions)
		}
	}
	for i := range want {
		if !done[i] && len(merged) < kind.limit {
			add(i, nil)
		}
	}
	return merged
}

// isSiblingsEntry reports an entry under our controller name that is not wanted here,
// but may be elsewhere: the Route still names that parent, and it is a sibling's.
func (m merger) isSiblingsEntry(r routeObject, p *gatewayv1.RouteParentStatus) bool {
	named := slices.ContainsFunc(r.parentRefs, func(s gatewayv1.ParentReference) bool { return sameParent(s, p.ParentRef) })
	return named && m.isSiblingsRef(p.ParentRef, r.namespace)
}

// isSiblingsRef reports a reference, from an object of a namespace, to what is a
// sibling's.
func (m merger) isSiblingsRef(ref gatewayv1.ParentReference, namespace string) bool {
	ref = withDefaults(ref)
	if *ref.Group != gatewayv1.GroupName {
		return false
	}
	if ref.Namespace != nil {
		namespace = string(*ref.Namespace)
	}
	return m.isSiblings(gateway.ObjectRef{Kind: string(*ref.Kind), Namespace: namespace, Name: string(ref.Name)})
}

func (m merger) ingress(current *networkingv1.Ingress, want *networkingv1.IngressLoadBalancerStatus) statusFields {
	f := statusFields{}
	f.set("loadBalancer", current.Status.LoadBalancer, *want)
	if len(f) > 0 {
		f["loadBalancer"] = map[string]any{"ingress": want.Ingress} // with null for none
	}
	return f
}

func sameParent(x, y gatewayv1.ParentReference) bool {
	return equality.Semantic.DeepEqual(withDefaults(x), withDefaults(y))
}

// withDefaults is a parentRef as the API server stores it.
func withDefaults(ref gatewayv1.ParentReference) gatewayv1.ParentReference {
	ref.Group = cmp.Or(ref.Group, new(gatewayv1.Group(gatewayv1.GroupName)))
	ref.Kind = cmp.Or(ref.Kind, new(gatewayv1.Kind("Gateway")))
	return ref
}

// conditions puts want in the place of the conditions of the same type. Of the others
// in current, those whose type is not in own are somebody else's and stay, in their
// order. A condition that keeps its status keeps its time. One that was observed at
// a later generation than ours stays until we have seen that generation too.
func (m merger) conditions(current, want []metav1.Condition, own []string) []metav1.Condition {
	merged := make([]metav1.Condition, 0, len(current)+len(want))
	for _, c := range current {
		i := slices.IndexFunc(want, func(w metav1.Condition) bool { return w.Type == c.Type })
		switch {
		case c.ObservedGeneration > m.generation:
			merged = append(merged, c)
		case i >= 0:
			w := want[i]
			w.LastTransitionTime = m.now
			if w.Status == c.Status {
				w.LastTransitionTime = c.LastTransitionTime
			}
			merged = append(merged, w)
		case !slices.Contains(own, c.Type):
			merged = append(merged, c)
		}
	}
	for _, w := range want {
		if !slices.ContainsFunc(current, func(c metav1.Condition) bool { return c.Type == w.Type }) {
			w.LastTransitionTime = m.now
			merged = append(merged, w)
		}
	}
	return merged
}
