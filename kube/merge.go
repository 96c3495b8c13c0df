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

// merger puts our part into the status of an object. now becomes the transition
// time of conditions whose status changed.
type merger struct {
	controller gatewayv1.GatewayController
	now        metav1.Time
}

func (m merger) gatewayClass(current *gatewayv1.GatewayClass, want *gatewayv1.GatewayClassStatus) statusFields {
	f := statusFields{}
	f.set("conditions", current.Status.Conditions, m.ownConditions(current.Status.Conditions, want.Conditions, classConditions()))
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
		listeners[i].Conditions = m.conditions(was, l.Conditions)
	}
	f := statusFields{}
	f.set("conditions", current.Status.Conditions, m.ownConditions(current.Status.Conditions, want.Conditions, gatewayConditions()))
	f.set("listeners", current.Status.Listeners, listeners)
	f.set("addresses", current.Status.Addresses, want.Addresses)
	if want.AttachedListenerSets != nil {
		f.set("attachedListenerSets", current.Status.AttachedListenerSets, want.AttachedListenerSets)
	}
	return f
}

// httpRoute replaces the entries of our controller. Those of others keep their
// place and content.
func (m merger) httpRoute(current *gatewayv1.HTTPRoute, want *gateway.RouteStatus) statusFields {
	var others, ours []gatewayv1.RouteParentStatus
	for _, p := range current.Status.Parents {
		if p.ControllerName == m.controller {
			ours = append(ours, p)
		} else {
			others = append(others, p)
		}
	}
	wanted := make([]gatewayv1.RouteParentStatus, len(want.Parents))
	for i, p := range want.Parents {
		p.ParentRef = withDefaults(p.ParentRef)
		var was []metav1.Condition
		for _, c := range ours {
			if equality.Semantic.DeepEqual(withDefaults(c.ParentRef), p.ParentRef) {
				was = c.Conditions
			}
		}
		p.Conditions = m.conditions(was, p.Conditions)
		wanted[i] = p
	}
	if equality.Semantic.DeepEqual(ours, wanted) { // wherever they stand among the others
		return nil
	}
	return statusFields{"parents": append(slices.Clip(others), wanted...)}
}

func (m merger) ingress(current *networkingv1.Ingress, want *networkingv1.IngressLoadBalancerStatus) statusFields {
	f := statusFields{}
	f.set("loadBalancer", current.Status.LoadBalancer, *want)
	if len(f) > 0 {
		f["loadBalancer"] = map[string]any{"ingress": want.Ingress} // with null for none
	}
	return f
}

// withDefaults is a parentRef as the API server stores it.
func withDefaults(ref gatewayv1.ParentReference) gatewayv1.ParentReference {
	ref.Group = cmp.Or(ref.Group, new(gatewayv1.Group(gatewayv1.GroupName)))
	ref.Kind = cmp.Or(ref.Kind, new(gatewayv1.Kind("Gateway")))
	return ref
}

// classConditions are the types of condition that belong to the controller of a
// GatewayClass, whether it writes them or not.
func classConditions() []string {
	return []string{string(gatewayv1.GatewayClassConditionStatusAccepted), string(gatewayv1.GatewayClassConditionStatusSupportedVersion)}
}

// gatewayConditions are those that belong to the controller of a Gateway.
func gatewayConditions() []string {
	return []string{
		string(gatewayv1.GatewayConditionAccepted), string(gatewayv1.GatewayConditionProgrammed), string(gatewayv1.GatewayConditionResolvedRefs),
		string(gatewayv1.GatewayConditionInsecureFrontendValidationMode), string(gatewayv1.GatewayConditionAddressesAssigned),
	}
}

// ownConditions returns want, and of current those whose type is neither wanted nor
// in own: somebody else's.
func (m merger) ownConditions(current, want []metav1.Condition, own []string) []metav1.Condition {
	all := m.conditions(current, want)
	for _, c := range current {
		wanted := slices.ContainsFunc(want, func(w metav1.Condition) bool { return w.Type == c.Type })
		if !wanted && !slices.Contains(own, c.Type) {
			all = append(slices.Clip(all), c)
		}
	}
	if sameSet(all, current) {
		return current
	}
	return all
}

// conditions returns want with transition times: a condition that keeps its status
// keeps its time.
func (m merger) conditions(current, want []metav1.Condition) []metav1.Condition {
	merged := slices.Clone(want)
	for i := range merged {
		w := &merged[i]
		w.LastTransitionTime = m.now
		for _, c := range current {
			if c.Type == w.Type && c.Status == w.Status {
				w.LastTransitionTime = c.LastTransitionTime
			}
		}
	}
	if sameSet(merged, current) {
		return current
	}
	return merged
}

// sameSet compares conditions in any order: they are a map by type.
func sameSet(x, y []metav1.Condition) bool {
	sorted := func(c []metav1.Condition) []metav1.Condition {
		return slices.SortedFunc(slices.Values(c), func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	}
	return equality.Semantic.DeepEqual(sorted(x), sorted(y))
}
