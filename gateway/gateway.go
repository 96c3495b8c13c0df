package gateway

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// listenerOwner is a Gateway or a ListenerSet of ours: what Routes attach to.
type listenerOwner struct {
	ref        ObjectRef
	generation int64
	object     metav1.Object
	issue      *issuance // of its certificates; nil for none
	refused    *Problem  // why the object as a whole is not accepted
	listeners  []*listener
}

// boundGateway is a Gateway of ours.
type boundGateway struct {
	*gatewayv1.Gateway
	listenerOwner
	requests  []*addressRequest
	addresses []boundAddress // one for each request
	listening []boundAddress // those that the Listeners listen on
	sets      []*boundListenerSet
	tunnel    *boundTunnel // that it is reached through; nil for none

	certificate *tls.Certificate // to show to endpoints; nil for none
	unresolved  *Problem         // why there is none, though the Gateway wants one
}

// bindGateways finds the Gateways of our classes, their addresses and their Listeners.
// Older Gateways come first: what they listen on is not taken away by newer ones.
func (b *build) bindGateways() {
	gateways := slices.Clone(b.Gateways)
	slices.SortFunc(gateways, func(x, y *gatewayv1.Gateway) int { return byAge(x, y) })
	for _, g := range gateways {
		ref := ObjectRef{Kind: kindGateway, Namespace: g.Namespace, Name: g.Name}
		accepted, ours := b.gatewayClasses[string(g.Spec.GatewayClassName)]
		if !ours {
			b.unclaimedClass(ref, "spec.gatewayClassName", string(g.Spec.GatewayClassName))
			continue
		}
		bound := &boundGateway{Gateway: g, listenerOwner: listenerOwner{ref: ref, generation: g.Generation, object: g}}
		bound.issue = b.issuance(ref, g.Annotations, nil)
		b.checkAnnotations(ref, g)
		b.acceptGateway(bound, accepted)
		b.resolveClientCertificate(bound)
		b.gateways = append(b.gateways, bound)
		b.owners[ref] = &bound.listenerOwner
	}
	b.assignAddresses()
	for _, g := range b.gateways {
		for i := range g.Spec.Listeners {
			g.listeners = append(g.listeners, b.newListener(g, &g.listenerOwner, &g.Spec.Listeners[i]))
		}
	}
	b.bindListenerSets()
	for _, g := range b.gateways {
		b.listeners = append(b.listeners, g.listeners...)
		for _, s := range g.sets {
			b.listeners = append(b.listeners, s.listeners...)
		}
	}
	b.findConflicts()
	b.separateClients()
	b.collectClaims()
	b.leadTunnels()
	for _, l := range b.listeners {
		b.openListener(l)
	}
}

// acceptGateway checks the fields of the Gateway as a whole.
func (b *build) acceptGateway(g *boundGateway, classAccepted bool) {
	if !classAccepted {
		b.refuseGateway(g, "spec.gatewayClassName", gatewayv1.GatewayReasonPending, fmt.Sprintf("GatewayClass %q is not accepted", g.Spec.GatewayClassName))
	}
	b.requestAddresses(g)
	b.gatewayTunnel(g)
}

// refuseGateway records and reports why the Gateway as a whole is not accepted, once.
func (b *build) refuseGateway(g *boundGateway, field string, reason gatewayv1.GatewayConditionReason, message string) {
	if g.refused == nil {
		g.refused = &Problem{Object: g.ref, Field: field, Reason: string(reason), Message: message}
		b.report(*g.refused)
	}
}

// byAge orders objects as Gateway API breaks ties: the oldest, then by namespace/name.
func byAge(x, y metav1.Object) int {
	return cmp.Or(
		x.GetCreationTimestamp().Compare(y.GetCreationTimestamp().Time),
		cmp.Compare(x.GetNamespace(), y.GetNamespace()),
		cmp.Compare(x.GetName(), y.GetName()),
	)
}

// socketName is the key of a listening socket, in the form that net.Listen takes. An
// address that is not valid stands for every address of the node.
func socketName(address netip.Addr, port int32) string {
	if !address.IsValid() {
		return ":" + strconv.Itoa(int(port))
	}
	return netip.AddrPortFrom(address, uint16(port)).String()
}
