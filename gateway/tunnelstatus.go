package gateway

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

// TunnelState is what became of a Tunnel that was wanted.
type TunnelState struct {
	// ID is the tunnel's, and Hostname what DNS records of it point to; "" while its
	// credentials are not known.
	ID, Hostname string
	// Invalid is why its credentials can't be read; "" if they can.
	Invalid     string
	Connections []v1alpha1.TunnelConnection
	// Failure is why there are not more of them, "" for nothing, and Refused says that it was
	// the edge that refused the credentials.
	Failure string
	Refused bool
	// NotCreated is why a tunnel that is to be created is not; "" for nothing.
	NotCreated string
	// DNS is what became of its records; nil while nothing is known.
	DNS *TunnelRecordsState
}

// TunnelRecordsState is what became of the DNS records of a Tunnel.
type TunnelRecordsState struct {
	Ready           bool
	Reason, Message string
}

// connected reports whether anything comes through the tunnel.
func (t *boundTunnel) connected(o Observed) bool { return len(o.Tunnels[t.plan.Name].Connections) > 0 }

// hostnames are the addresses that status has of what is reached through the tunnel: one, if
// it is known.
func (t *boundTunnel) hostnames(o Observed) []string {
	if name := o.Tunnels[t.plan.Name].Hostname; name != "" {
		return []string{name}
	}
	return nil
}

// conditionTunnelConnected is Lintel's own condition of a Gateway that is reached through a
// tunnel.
const conditionTunnelConnected = annotationPrefix + "TunnelConnected"

// tunnelConnected is the condition of a Gateway that says whether its tunnel is connected.
func (b *build) tunnelConnected(g *boundGateway) (condition, bool) {
	if g.tunnel == nil || g.refused != nil {
		return condition{}, false
	}
	c := b.tunnelConnection(g.tunnel)
	c.kind, c.message = conditionTunnelConnected, g.tunnel.ref.String()+": "+c.message
	return c, true
}

// finishTunnels puts the Tunnels into the Plan, and makes their statuses.
func (b *build) finishTunnels() {
	slices.SortFunc(b.plan.Secrets, compareNames)
	for _, name := range slices.SortedFunc(maps.Keys(b.tunnels), compareNames) {
		t := b.tunnels[name]
		slices.SortFunc(t.plan.Objects, ObjectRef.compare)
		b.plan.Tunnels = append(b.plan.Tunnels, *t.plan)
		b.tunnelStatus(t)
	}
	for _, t := range b.Tunnels {
		if b.tunnels[nameOf(t)] == nil {
			b.report(Problem{ObjectRef{kindTunnel, t.Namespace, t.Name}, "", ReasonUnclaimed,
				"no Gateway, GatewayClass or IngressClass of ours names it, so it is not connected: name it in spec.infrastructure.parametersRef of a Gateway"})
		}
	}
}

func (b *build) tunnelStatus(t *boundTunnel) {
	state := b.Observed.Tunnels[t.plan.Name]
	connected := int32(len(state.Connections))
	status := &v1alpha1.TunnelStatus{
		ID: state.ID, Hostname: state.Hostname, Connected: &connected, Connections: state.Connections,
		LastError: cmp.Or(state.Invalid, state.NotCreated, state.Failure),
	}
	conditions := []condition{b.tunnelAccepted(t), b.tunnelConnection(t)}
	if c, ok := b.tunnelRecords(t); ok {
		conditions = append(conditions, c)
	}
	status.Conditions = conditionsAt(t.Generation, conditions...)
	b.addStatus(&Status{Object: t.ref, UID: t.UID, Generation: t.Generation, Tunnel: status})
}

// tunnelAccepted is the condition Accepted of a Tunnel.
func (b *build) tunnelAccepted(t *boundTunnel) condition {
	const kind = "Accepted"
	state := b.Observed.Tunnels[t.plan.Name]
	switch {
	case t.accepted != nil:
		return fault(kind, *t.accepted)
	case t.pending:
		return falsity(kind, "Pending", "the Secrets that it names are being read")
	case state.Invalid != "":
		p := Problem{t.ref, "spec.credentials", reasonBadCredentials, state.Invalid}
		b.report(p)
		return fault(kind, p)
	default:
		return truth(kind, "Accepted", "valid, and all that it names is there")
	}
}

// tunnelRecords is the condition DNS of a Tunnel; there is none where DNS is left to others.
func (b *build) tunnelRecords(t *boundTunnel) (condition, bool) {
	const kind = "DNS"
	state := b.Observed.Tunnels[t.plan.Name].DNS
	switch {
	case t.plan.DNS.Mode == v1alpha1.TunnelDNSOff:
		return condition{}, false
	case t.plan.DNS.Fault != nil:
		return fault(kind, *t.plan.DNS.Fault), true
	case state == nil:
		return falsity(kind, "Pending", "records are about to be compared"), true
	case state.Ready:
		return truth(kind, state.Reason, state.Message), true
	default:
		p := Problem{t.ref, "spec.dns", state.Reason, state.Message}
		b.report(p)
		return fault(kind, p), true
	}
}

// tunnelConnection is the condition Connected of a Tunnel.
func (b *build) tunnelConnection(t *boundTunnel) condition {
	const kind = "Connected"
	state := b.Observed.Tunnels[t.plan.Name]
	switch n := len(state.Connections); {
	case n > 0 && state.Failure != "":
		return truth(kind, "Connected", fmt.Sprintf("connections: %d; there are not more because: %s", n, state.Failure))
	case n > 0:
		return truth(kind, "Connected", fmt.Sprintf("connections: %d", n))
	case t.accepted != nil:
		return falsity(kind, t.accepted.Reason, t.accepted.text())
	case state.Invalid != "":
		return falsity(kind, reasonBadCredentials, state.Invalid)
	case state.NotCreated != "":
		return falsity(kind, "NotCreated", state.NotCreated)
	case state.ID == "" && t.plan.Create != nil:
		return falsity(kind, "Pending", fmt.Sprintf("looking for the tunnel %q at Cloudflare, to create it if there is none", t.plan.Create.Name))
	case state.Refused:
		return falsity(kind, "Refused", state.Failure+"; is the token revoked, or the tunnel deleted? It is tried again")
	case state.Failure != "":
		return falsity(kind, "Unreachable", state.Failure+"; it is tried again")
	default:
		return falsity(kind, "Pending", "connecting")
	}
}

// ingressTunnel returns the Tunnel of an Ingress's class; nil for none.
func (b *build) ingressTunnel(i *networkingv1.Ingress) *boundTunnel {
	class := ingressClass(i)
	if class != "" {
		return b.ingressTunnels[class]
	}
	for _, c := range b.IngressClasses {
		if b.ingressClasses[c.Name] && c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
			return b.ingressTunnels[c.Name]
		}
	}
	return nil
}

// isInTunnelAlone reports whether an Ingress has no local sockets.
func (b *build) isInTunnelAlone(i *networkingv1.Ingress) bool {
	t := b.ingressTunnel(i)
	return t != nil && t.closed()
}

// placeIngressInTunnel puts the Rules of an Ingress where the requests of a tunnel land. TLS
// has ended before, so its certificates do not matter.
func (b *build) placeIngressInTunnel(i *networkingv1.Ingress, m *ingressMemo, t *boundTunnel) {
	if t.plan.Plain == "" && t.plan.Secure == "" {
		t.plan.Plain = t.socket(int32(cmp.Or(b.Settings.HTTPPort, 80)))
	}
	if t.plan.Secure == "" && !t.secured {
		t.plan.Secure = t.plan.Plain
	}
	if t.plan.Plain != "" && t.plan.Plain != t.plan.Secure {
		b.addIngressRules(i, m, entry{label: "Ingress http", scheme: schemeHTTP, port: cmp.Or(b.Settings.HTTPPort, 80)}, ingressPlace{socket: t.plan.Plain})
	}
	if t.plan.Secure != "" {
		b.addIngressRules(i, m, entry{label: "Ingress https", scheme: schemeHTTPS, port: cmp.Or(b.Settings.HTTPSPort, 443)}, ingressPlace{socket: t.plan.Secure})
	}
}

// secretKeys are the keys of a Secret, sorted.
func secretKeys(s *corev1.Secret) []string {
	return slices.Sorted(maps.Keys(s.Data))
}
