package gateway

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const kindListenerSet = "ListenerSet"

// boundListenerSet is a ListenerSet whose parent is a Gateway of ours (GEP-1713).
type boundListenerSet struct {
	*gatewayv1.ListenerSet
	listenerOwner
	gateway *boundGateway
}

// bindListenerSets adds ListenerSets to their Gateways, in the order of precedence that
// ListenerSetSpec.Listeners gives: the oldest first.
func (b *build) bindListenerSets() {
	sets := slices.Clone(b.ListenerSets)
	slices.SortFunc(sets, func(x, y *gatewayv1.ListenerSet) int { return byAge(x, y) })
	for _, s := range sets {
		ref := ObjectRef{Kind: kindListenerSet, Namespace: s.Namespace, Name: s.Name}
		g := b.setParent(s, ref)
		if g == nil {
			continue
		}
		bound := &boundListenerSet{ListenerSet: s, listenerOwner: listenerOwner{ref: ref, generation: s.Generation, object: s}, gateway: g}
		bound.issue = b.issuance(ref, s.Annotations, g.Annotations)
		if !b.allowsListeners(g, s.Namespace) {
			bound.refused = &Problem{
				Object: ref, Field: "spec.parentRef", Reason: string(gatewayv1.ListenerSetReasonNotAllowed),
				Message: fmt.Sprintf("spec.allowedListeners of %s lets in no ListenerSet of namespace %q", g.ref, s.Namespace),
			}
			b.report(*bound.refused)
		}
		b.checkAnnotations(ref, s)
		g.sets = append(g.sets, bound)
		b.owners[ref] = &bound.listenerOwner
		for i := range s.Spec.Listeners {
			l := gatewayv1.Listener(s.Spec.Listeners[i])
			bound.listeners = append(bound.listeners, b.newListener(g, &bound.listenerOwner, &l))
		}
	}
}

// setParent returns the Gateway of ours that a ListenerSet names, or nil.
func (b *build) setParent(s *gatewayv1.ListenerSet, ref ObjectRef) *boundGateway {
	parent := &s.Spec.ParentRef
	name := ObjectRef{Kind: kindGateway, Namespace: valueOr(parent.Namespace, s.Namespace), Name: string(parent.Name)}
	switch {
	case valueOr(parent.Group, groupGateway) != groupGateway || valueOr(parent.Kind, kindGateway) != kindGateway:
		b.report(Problem{ref, "spec.parentRef.kind", ReasonUnclaimed, fmt.Sprintf("a parent of kind %q is not served; refer to a Gateway", valueOr(parent.Kind, kindGateway))})
		return nil
	case !b.exists(name):
		b.report(Problem{ref, "spec.parentRef", ReasonUnclaimed, name.String() + " not found"})
		return nil
	}
	for _, g := range b.gateways {
		if g.ref == name {
			return g
		}
	}
	return nil // another controller's
}

// allowsListeners reports whether ListenerSets of a namespace may add to a Gateway.
func (b *build) allowsListeners(g *boundGateway, namespace string) bool {
	if g.Spec.AllowedListeners == nil || g.Spec.AllowedListeners.Namespaces == nil || g.Spec.AllowedListeners.Namespaces.From == nil {
		return false
	}
	allowed := g.Spec.AllowedListeners.Namespaces
	switch *allowed.From {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return namespace == g.Namespace
	case gatewayv1.NamespacesFromSelector:
		selector, err := metav1.LabelSelectorAsSelector(allowed.Selector)
		return err == nil && selector.Matches(b.namespaceLabels[namespace])
	default:
		return false
	}
}

// listenerSetStatus makes the status of a ListenerSet, and reports whether it is accepted.
func (b *build) listenerSetStatus(s *boundListenerSet) (accepted bool) {
	status := &gatewayv1.ListenerSetStatus{}
	var summary listenerSummary
	for _, l := range s.listeners {
		// The two types have the same fields.
		status.Listeners = append(status.Listeners, gatewayv1.ListenerEntryStatus(b.listenerStatus(l, &summary)))
	}
	a, p := s.conditions(&summary)
	status.Conditions = conditionsAt(s.generation, a, p)
	b.addStatus(&Status{Object: s.ref, UID: s.UID, Generation: s.generation, ListenerSet: status})
	return a.status == metav1.ConditionTrue
}

// conditions makes the conditions Accepted and Programmed.
func (s *boundListenerSet) conditions(summary *listenerSummary) (accepted, programmed condition) {
	no := func(reason gatewayv1.ListenerSetConditionReason, message string) (accepted, programmed condition) {
		return falsity(gatewayv1.ListenerSetConditionAccepted, reason, message), falsity(gatewayv1.ListenerSetConditionProgrammed, reason, message)
	}
	switch {
	case s.refused != nil:
		return no(gatewayv1.ListenerSetReasonNotAllowed, s.refused.text())
	case s.gateway.refused != nil:
		accepted, programmed = no(gatewayv1.ListenerSetReasonParentNotAccepted, fmt.Sprintf("%s is not accepted", s.gateway.ref))
		programmed.reason = "ParentNotProgrammed"
		return accepted, programmed
	case len(summary.unusable) == len(s.listeners):
		return no(gatewayv1.ListenerSetReasonListenersNotValid, summary.fault)
	case len(summary.unusable) > 0:
		accepted = truth(gatewayv1.ListenerSetConditionAccepted, gatewayv1.ListenerSetReasonListenersNotValid, notServed(summary.unusable))
	default:
		accepted = truth(gatewayv1.ListenerSetConditionAccepted, gatewayv1.ListenerSetReasonAccepted, "valid and supported")
	}
	switch {
	case summary.programmed > 0:
		programmed = truth(gatewayv1.ListenerSetConditionProgrammed, gatewayv1.ListenerSetReasonProgrammed, fmt.Sprintf("%d of %d Listeners are serving", summary.programmed, len(s.listeners)))
	default:
		programmed = falsity(gatewayv1.ListenerSetConditionProgrammed, gatewayv1.ListenerSetReasonPending, summary.fault)
	}
	return accepted, programmed
}
