package gateway

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const conditionTrue = metav1.ConditionTrue

// bindPolicy notes what becomes of a policy at a Gateway. Of several targets there, one that
// is at fault decides.
func bindPolicy(ancestors map[ObjectRef]condition, gateway ObjectRef, accepted condition) {
	was, bound := ancestors[gateway]
	if !bound || was.status == conditionTrue || accepted.status != conditionTrue && accepted.message < was.message {
		ancestors[gateway] = accepted
	}
}

// policyStatusOf is what the status of a policy is made from.
type policyStatusOf struct {
	ref       ObjectRef
	object    metav1.Object
	current   []gatewayv1.PolicyAncestorStatus // as the Snapshot has it
	ancestors map[ObjectRef]condition          // the Gateways, with the Accepted condition for each
	others    []condition                      // conditions that are the same for all
}

// policyStatus makes the status of a policy that has to do with a Gateway of ours, or had.
func (b *build) policyStatus(p policyStatusOf) {
	isOurs := func(a gatewayv1.PolicyAncestorStatus) bool {
		return string(a.ControllerName) == b.Settings.ControllerName
	}
	status := &PolicyStatus{}
	for _, g := range b.shownAncestors(&p) {
		conditions := append([]condition{p.ancestors[g]}, p.others...)
		status.Ancestors = append(status.Ancestors, gatewayv1.PolicyAncestorStatus{
			AncestorRef: gatewayv1.ParentReference{
				Group: new(gatewayv1.Group(groupGateway)), Kind: new(gatewayv1.Kind(g.Kind)),
				Namespace: new(gatewayv1.Namespace(g.Namespace)), Name: gatewayv1.ObjectName(g.Name),
			},
			ControllerName: gatewayv1.GatewayController(b.Settings.ControllerName),
			Conditions:     conditionsAt(p.object.GetGeneration(), conditions...),
		})
	}
	if len(status.Ancestors) > 0 || slices.ContainsFunc(p.current, isOurs) {
		b.addStatus(&Status{Object: p.ref, UID: p.object.GetUID(), Generation: p.object.GetGeneration(), Policy: status})
	}
}

// shownAncestors are the Gateways that the policy's status has room for.
func (b *build) shownAncestors(p *policyStatusOf) []ObjectRef {
	room, ours := maxAncestors, make(map[ObjectRef]bool)
	for i := range p.current {
		if a := &p.current[i]; string(a.ControllerName) == b.Settings.ControllerName {
			ours[ObjectRef{valueOr(a.AncestorRef.Kind, kindGateway), valueOr(a.AncestorRef.Namespace, p.ref.Namespace), string(a.AncestorRef.Name)}] = true
		} else {
			room--
		}
	}
	shown, left := fit(slices.SortedFunc(maps.Keys(p.ancestors), ObjectRef.compare), room, func(g ObjectRef) bool { return ours[g] })
	names := make([]string, len(left))
	for i, g := range left {
		names[i] = g.String()
	}
	b.reportFull(p.ref, "status.ancestors", maxAncestors, names)
	return shown
}
