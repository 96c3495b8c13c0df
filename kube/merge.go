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
	listeners := make([]gatewayv1.ListenerStatus, len(want.Listeners))
	for i, l := range want.Listeners {
		listeners[i] = l
		var was []metav1.Condition
		for _, c := range current.Status.Listeners {
			if c.Name == l.Name {
				was = c.Conditions
			}
		}
		listeners[i].Conditions = m.conditions(was, l.Conditions, listenerConditions())
	}
	f := statusFields{}
	f.set("conditions", current.Status.Conditions, m.conditions(current.Status.Conditions, want.Conditions, gatewayConditions()))
	f.set("listeners", current.Status.Listeners, listeners)
	f.set("addresses", current.Status.Addresses, want.Addresses)
	if want.AttachedListenerSets != nil {
		f.set("attachedListenerSets", current.Status.AttachedListenerSets, want.AttachedListenerSets)
	}
	return f
}

func (m merger) listenerSet(current *gatewayv1.ListenerSet, want *gatewayv1.ListenerSetStatus) statusFields {
	listeners := make([]gatewayv1.ListenerEntryStatus, len(want.Listeners))
	for i, l := range want.Listeners {
		listeners[i] = l
		var was []metav1.Condition
		for _, c := range current.Status.Listeners {
			if c.Name == l.Name {
				was = c.Conditions
			}
		}
		listeners[i].Conditions = m.conditions(was, l.Conditions, listenerConditions())
	}
	f := statusFields{}
	f.set("conditions", current.Status.Conditions, m.conditions(current.Status.Conditions, want.Conditions, listenerSetConditions()))
	f.set("listeners", current.Status.Listeners, listeners)
	return f
}

// routeObject is the part that all kinds of Routes have in common.
type routeObject struct {
	namespace  string
	parentRefs []gatewayv1.ParentReference // of its spec
	parents    []gatewayv1.RouteParentStatus
}

// route puts our wanted entries in the place of those with the same parentRef.
// Entries of other controllers stay as they are, and so do those that another
// instance of ours may have written.
func (m merger) route(current routeObject, want *gateway.RouteStatus) statusFields {
	parents := []gatewayv1.RouteParentStatus{} // may be empty, but not null
	done := make([]bool, len(want.Parents))
	for _, p := range current.parents {
		i := slices.IndexFunc(want.Parents, func(w gatewayv1.RouteParentStatus) bool { return sameParent(w.ParentRef, p.ParentRef) })
		switch {
		case p.ControllerName != m.controller:
			parents = append(parents, p)
		case i < 0 && m.isSiblingsEntry(current, p):
			parents = append(parents, p)
		case i >= 0 && !done[i]:
			done[i] = true
			parents = append(parents, m.routeParent(p.Conditions, want.Parents[i]))
		}
	}
	for i, p := range want.Parents {
		if !done[i] {
			parents = append(parents, m.routeParent(nil, p))
		}
	}
	f := statusFields{}
	f.set("parents", current.parents, parents)
	return f
}

func (m merger) routeParent(current []metav1.Condition, want gatewayv1.RouteParentStatus) gatewayv1.RouteParentStatus {
	want.ParentRef = withDefaults(want.ParentRef)
	want.Conditions = m.conditions(current, want.Conditions, routeConditions())
	return want
}

// isSiblingsEntry reports an entry under our controller name that is not wanted here,
// but may be elsewhere: the Route still names that parent, and it is a sibling's.
func (m merger) isSiblingsEntry(r routeObject, p gatewayv1.RouteParentStatus) bool {
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

// maxAncestors is the limit of PolicyStatus.ancestors.
const maxAncestors = 16

// policyObject is the part that all kinds of policies have in common.
type policyObject struct {
	namespace string
	ancestors []gatewayv1.PolicyAncestorStatus
}

// policy does with the entries of ancestors what route does with those of parents. Those
// of ours that there is no room for are left out.
func (m merger) policy(current policyObject, want *gateway.PolicyStatus) statusFields {
	ancestors := []gatewayv1.PolicyAncestorStatus{}
	done := make([]bool, len(want.Ancestors))
	for _, a := range current.ancestors {
		i := slices.IndexFunc(want.Ancestors, func(w gatewayv1.PolicyAncestorStatus) bool { return sameParent(w.AncestorRef, a.AncestorRef) })
		switch {
		case a.ControllerName != m.controller:
			ancestors = append(ancestors, a)
		case i < 0 && m.isSiblingsRef(a.AncestorRef, current.namespace):
			ancestors = append(ancestors, a)
		case i >= 0 && !done[i]:
			done[i] = true
			ancestors = append(ancestors, m.policyAncestor(a.Conditions, want.Ancestors[i]))
		}
	}
	for i, a := range want.Ancestors {
		if !done[i] && len(ancestors) < maxAncestors {
			ancestors = append(ancestors, m.policyAncestor(nil, a))
		}
	}
	f := statusFields{}
	f.set("ancestors", current.ancestors, ancestors)
	return f
}

func (m merger) policyAncestor(current []metav1.Condition, want gatewayv1.PolicyAncestorStatus) gatewayv1.PolicyAncestorStatus {
	want.AncestorRef = withDefaults(want.AncestorRef)
	want.Conditions = m.conditions(current, want.Conditions, policyConditions())
	return want
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
