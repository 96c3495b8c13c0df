package kube

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
)

// isSiblings reports whether a parent of a Route, or an ancestor of a policy, may be
// served by a sibling: a Gateway, or a ListenerSet by its Gateway.
func (w *StatusWriter) isSiblings(ref gateway.ObjectRef) bool {
	switch ref.Kind {
	case "Gateway":
		return w.isSiblingsGateway(ref)
	case "ListenerSet":
		if !w.store.watches(ref.Kind, ref.Namespace) {
			return true
		}
		set, ok := w.store.object(ref).(*gatewayv1.ListenerSet)
		if !ok {
			return false
		}
		parent := gateway.ObjectRef{Kind: "Gateway", Namespace: set.Namespace, Name: string(set.Spec.ParentRef.Name)}
		if set.Spec.ParentRef.Namespace != nil {
			parent.Namespace = string(*set.Spec.ParentRef.Namespace)
		}
		return w.isSiblingsGateway(parent)
	default:
		return false
	}
}

// isSiblingsGateway reports whether a Gateway may be served by a sibling: another
// instance with our controller name, that is limited to other classes or watches
// other namespaces. It is one that we do not see, or that exists and whose class is
// our controller's, but not one that this instance serves.
func (w *StatusWriter) isSiblingsGateway(ref gateway.ObjectRef) bool {
	if !w.store.watches(ref.Kind, ref.Namespace) {
		return true
	}
	g, ok := w.store.object(ref).(*gatewayv1.Gateway)
	if !ok {
		return false
	}
	classRef := gateway.ObjectRef{Kind: "GatewayClass", Name: string(g.Spec.GatewayClassName)}
	class, ok := w.store.object(classRef).(*gatewayv1.GatewayClass)
	if !ok || class.Spec.ControllerName != w.controller {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.want[classRef] == nil
}
