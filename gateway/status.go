package gateway

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// statuses makes the status of every object but the classes, which have theirs.
func (b *build) statuses(routes []*boundRoute, ingresses []*networkingv1.Ingress) {
	nodes := b.nodeAddresses()
	for _, g := range b.gateways {
		b.gatewayStatus(g, nodes)
	}
	b.infrastructure(nodes)
	for _, r := range routes {
		b.routeStatus(r)
	}
	local := ingressAddresses(nodes)
	for _, i := range ingresses {
		ingress := local
		if t := b.ingressTunnel(i); t != nil {
			ingress = ingressAddresses(t.hostnames(b.Observed))
		}
		b.addStatus(&Status{Object: ingressRef(i), UID: i.UID, Generation: i.Generation, Ingress: ingress})
	}
}

// addStatus adds a Status, or the one of the Build before if it says the same.
func (b *build) addStatus(s *Status) {
	if was := b.was.statuses[s.Object]; was != nil && reflect.DeepEqual(was, s) {
		s = was
	}
	b.memo.statuses[s.Object] = s
	b.plan.Statuses = append(b.plan.Statuses, s)
}

func (b *build) gatewayStatus(g *boundGateway, nodes []string) {
	status := &gatewayv1.GatewayStatus{}
	var summary listenerSummary
	for _, l := range g.listeners {
		status.Listeners = append(status.Listeners, b.listenerStatus(l, &summary))
	}
	conditions := []condition{g.accepted(&summary), g.programmed(&summary)}
	assigned := func() (condition, bool) { return b.addressesAssigned(g, nodes) }
	noService := func() (condition, bool) { return b.noService(g) }
	tunnel := func() (condition, bool) { return b.tunnelConnected(g) }
	for _, maybe := range []func() (condition, bool){g.resolvedRefs, g.insecureFallback, assigned, noService, tunnel} {
		if c, ok := maybe(); ok {
			conditions = append(conditions, c)
		}
	}
	status.Conditions = conditionsAt(g.Generation, conditions...)
	sets := int32(0)
	for _, s := range g.sets {
		if b.listenerSetStatus(s) {
			sets++
		}
	}
	if len(b.ListenerSets) > 0 || g.Status.AttachedListenerSets != nil { // only if the API server knows the field
		status.AttachedListenerSets = &sets
	}
	status.Addresses = b.addressStatus(g, nodes)
	b.addStatus(&Status{Object: g.ref, UID: g.UID, Generation: g.Generation, Gateway: status})
}

// listenerSummary counts the Listeners of a Gateway by what became of them.
type listenerSummary struct {
	programmed, pending int
	invalid             []string // names of those that are not accepted or conflicted
	unusable            []string // likewise, and of those whose certificates do not resolve
	fault               string   // the first reason why one is not programmed
}

// listenerStatus makes the status of a Listener and adds it to the summary.
func (b *build) listenerStatus(l *listener, summary *listenerSummary) gatewayv1.ListenerStatus {
	accepted := truth(gatewayv1.ListenerConditionAccepted, gatewayv1.ListenerReasonAccepted, "valid and supported")
	conflicted := falsity(gatewayv1.ListenerConditionConflicted, gatewayv1.ListenerReasonNoConflicts, "no other Listener wants the same traffic")
	resolved := truth(gatewayv1.ListenerConditionResolvedRefs, gatewayv1.ListenerReasonResolvedRefs, "every reference resolves")
	programmed := truth(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonProgrammed, "serving on "+strings.Join(l.serving(), ", "))
	bindError, tried := l.bindError(b.Observed)
	if l.unresolved != nil {
		resolved = fault(gatewayv1.ListenerConditionResolvedRefs, *l.unresolved)
	}
	switch {
	case l.conflict != nil:
		conflicted = fault(gatewayv1.ListenerConditionConflicted, *l.conflict)
		conflicted.status = metav1.ConditionTrue
		accepted = fault(gatewayv1.ListenerConditionAccepted, *l.conflict)
	case l.refused != nil:
		accepted = fault(gatewayv1.ListenerConditionAccepted, *l.refused)
	case bindError != "" && l.usable():
		accepted = falsity(gatewayv1.ListenerConditionAccepted, gatewayv1.ListenerReasonPortUnavailable, bindError)
		b.report(*l.problem(".port", accepted.reason, bindError))
	}
	if accepted.status != metav1.ConditionTrue {
		summary.invalid = append(summary.invalid, string(l.Name))
	}
	if accepted.status != metav1.ConditionTrue || !l.usable() && l.pending == "" {
		summary.unusable = append(summary.unusable, string(l.Name))
	}
	switch {
	case l.conflict != nil:
		programmed = falsity(gatewayv1.ListenerConditionProgrammed, l.conflict.Reason, accepted.message)
	case accepted.status != metav1.ConditionTrue:
		programmed = falsity(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonInvalid, accepted.message)
	case l.gateway.refused != nil:
		programmed = falsity(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonInvalid, l.gateway.refused.text())
	case l.owner.refused != nil:
		programmed = falsity(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonInvalid, l.owner.refused.text())
	case !l.usable() && l.pending != "":
		programmed = falsity(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonPending, l.pending)
		summary.pending++
	case !l.usable():
		programmed = falsity(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonInvalid, resolved.message)
	case len(l.serving()) == 0:
		programmed = falsity(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonInvalid, "the Gateway has no address to listen on")
	case !tried && !l.gateway.isLocal():
		programmed = falsity(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonPending, "waiting for "+l.gateway.tunnel.ref.String()+" to connect")
		summary.pending++
	case !tried:
		programmed = falsity(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonPending, "the port is being opened")
		summary.pending++
	case l.standIn != "":
		programmed = falsity(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonPending, cmp.Or(l.pending, resolved.message)+"; until then it serves "+l.standIn)
		summary.pending++
	default:
		programmed.message += b.issued(l)
		summary.programmed++
	}
	if programmed.status != metav1.ConditionTrue {
		summary.fault = cmp.Or(summary.fault, fmt.Sprintf("Listener %q: %s", l.Name, programmed.message))
	}
	conditions := []condition{accepted, conflicted, resolved, programmed}
	if overlapping, ok := b.overlappingTLS(l); ok {
		conditions = append(conditions, overlapping)
	}
	return gatewayv1.ListenerStatus{
		Name: l.Name, SupportedKinds: l.kinds, AttachedRoutes: l.attached,
		Conditions: conditionsAt(l.owner.generation, conditions...),
	}
}

// overlappingTLS is the condition of a Listener with certificates whose hostnames are partly
// another's too: a client that reuses a connection for both sees one's certificate
// for the other. There is no condition where there is no overlap.
func (b *build) overlappingTLS(l *listener) (condition, bool) {
	if !l.terminates() || !l.usable() {
		return condition{}, false
	}
	for _, other := range b.listeners {
		if other != l && other.terminates() && other.usable() && l.sharesSocket(other) && intersects(l.hostname, other.hostname) {
			return truth(gatewayv1.ListenerConditionOverlappingTLSConfig, gatewayv1.ListenerReasonOverlappingHostnames,
				fmt.Sprintf("hostnames overlap with those of Listener %q of %s", other.Name, other.owner.ref)), true
		}
	}
	return condition{}, false
}

func (g *boundGateway) accepted(s *listenerSummary) condition {
	switch {
	case g.refused != nil:
		return fault(gatewayv1.GatewayConditionAccepted, *g.refused)
	case len(s.invalid) == len(g.listeners):
		return falsity(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonListenersNotValid, s.fault)
	case len(s.invalid) > 0:
		return truth(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonListenersNotValid, notServed(s.invalid))
	default:
		return truth(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonAccepted, "valid and supported")
	}
}

func notServed(listeners []string) string {
	return "not served: Listeners " + strings.Join(listeners, ", ")
}

func (g *boundGateway) programmed(s *listenerSummary) condition {
	switch fault := g.addressFault(); {
	case g.refused != nil:
		return falsity(gatewayv1.GatewayConditionProgrammed, gatewayv1.GatewayReasonInvalid, g.refused.text())
	case fault != nil:
		return falsity(gatewayv1.GatewayConditionProgrammed, fault.Reason, fault.text())
	case s.programmed > 0:
		return truth(gatewayv1.GatewayConditionProgrammed, gatewayv1.GatewayReasonProgrammed, fmt.Sprintf("%d of %d Listeners are serving", s.programmed, len(g.listeners)))
	case s.pending > 0:
		return falsity(gatewayv1.GatewayConditionProgrammed, gatewayv1.GatewayReasonPending, s.fault)
	default:
		return falsity(gatewayv1.GatewayConditionProgrammed, gatewayv1.GatewayReasonInvalid, s.fault)
	}
}

// nodeAddresses are the addresses under which the node or nodes are reached: those of the
// settings or of the load balancer that they name, or the nodes' external ones, or else the
// internal ones.
func (b *build) nodeAddresses() []string {
	if n := len(b.Settings.Addresses); n > 0 {
		return b.Settings.Addresses[:min(n, maxStatusAddresses)]
	}
	if b.Settings.PublishService != (types.NamespacedName{}) {
		return b.loadBalancerAddresses(b.Settings.PublishService)
	}
	var external, internal []string
	for _, n := range b.Nodes {
		if b.Settings.NodeName != "" && n.Name != b.Settings.NodeName {
			continue
		}
		for _, a := range n.Status.Addresses {
			switch a.Type {
			case corev1.NodeExternalIP:
				external = append(external, a.Address)
			case corev1.NodeInternalIP:
				internal = append(internal, a.Address)
			}
		}
	}
	if len(external) == 0 {
		external = internal
	}
	slices.Sort(external)
	external = slices.Compact(external)
	return external[:min(len(external), maxStatusAddresses)]
}

// loadBalancerAddresses are those that the status of a Service has, and spec.externalIPs.
// There are none as long as the load balancer has none.
func (b *build) loadBalancerAddresses(name types.NamespacedName) []string {
	service := b.services[name]
	if service == nil {
		b.report(Problem{
			ObjectRef{kindService, name.Namespace, name.Name}, "", reasonNotFound,
			"not found, though the setting publish-service names it; name a Service of type LoadBalancer in a namespace that is watched",
		})
		return nil
	}
	addresses := slices.Clone(service.Spec.ExternalIPs)
	for _, i := range service.Status.LoadBalancer.Ingress {
		if a := cmp.Or(i.IP, i.Hostname); a != "" {
			addresses = append(addresses, a)
		}
	}
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
	return addresses[:min(len(addresses), maxStatusAddresses)]
}

// reasonNotFound marks an object that the settings name and that is not there.
const reasonNotFound = "NotFound"

// maxStatusAddresses is the limit of GatewayStatus.addresses.
const maxStatusAddresses = 16

func addressType(address string) *gatewayv1.AddressType {
	t := gatewayv1.IPAddressType
	if _, err := netip.ParseAddr(address); err != nil {
		t = gatewayv1.HostnameAddressType
	}
	return &t
}

func ingressAddresses(nodes []string) *networkingv1.IngressLoadBalancerStatus {
	status := &networkingv1.IngressLoadBalancerStatus{}
	for _, a := range nodes {
		entry := networkingv1.IngressLoadBalancerIngress{IP: a}
		if *addressType(a) == gatewayv1.HostnameAddressType {
			entry = networkingv1.IngressLoadBalancerIngress{Hostname: a}
		}
		status.Ingress = append(status.Ingress, entry)
	}
	return status
}
