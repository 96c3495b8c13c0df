package gateway

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NamedObject is a Route or an Ingress of ours that is served, with what the DNS records
// for its names are made of.
type NamedObject struct {
	Object     ObjectRef
	Generation int64
	// Hostnames are those of its spec, in lower case and sorted; none for a Route that takes
	// its Listeners'.
	Hostnames []string
	// Labels and Annotations are the object's own, and read-only.
	Labels, Annotations map[string]string
	// Entries are where it is reached: an Ingress has one.
	Entries []NamedEntry
}

// NamedEntry is a Listener that a Route is attached to, or the place of Ingress.
type NamedEntry struct {
	// Gateway is that of the Listener; none for Ingress.
	Gateway ObjectRef
	// Hostname is that of the Listener, "" for any.
	Hostname string
	// Annotations are the Gateway's, and read-only. Where the Listener is a ListenerSet's,
	// that one's come first.
	Annotations map[string]string
	// Addresses are those of the Gateway's or the Ingress's status: IP addresses or
	// hostnames. Of what is reached through a Tunnel they are the local ones, if there are.
	Addresses []string
	// Local are the private addresses by which clients of the same network reach its
	// sockets, whatever status shows.
	Local []netip.Addr
	// Tunnel is the one that leads to the entry from elsewhere; zero for none.
	Tunnel types.NamespacedName
}

// collectNames makes Plan.Names, if anybody reads it.
func (b *build) collectNames(routes []*boundRoute, ingresses []*networkingv1.Ingress) {
	if !b.Settings.CollectNames && len(b.tunnels) == 0 {
		return
	}
	nodes := b.nodeAddresses()
	local := b.localAddresses(nodes)
	for _, r := range routes {
		if n, served := r.named(nodes, local); served {
			b.plan.Names = append(b.plan.Names, n)
		}
	}
	for _, i := range ingresses {
		e := NamedEntry{Addresses: nodes, Local: local}
		if t := b.ingressTunnel(i); t != nil {
			if e.Tunnel = t.plan.Name; t.closed() {
				e.Addresses, e.Local = nil, nil
			}
		}
		b.plan.Names = append(b.plan.Names, NamedObject{
			Object: ingressRef(i), Generation: i.Generation, Hostnames: ingressHostnames(i), Labels: i.Labels, Annotations: i.Annotations, Entries: []NamedEntry{e},
		})
	}
	slices.SortFunc(b.plan.Names, func(x, y NamedObject) int { return x.Object.compare(y.Object) })
}

// named is false for a Route that no Listener takes.
func (r *boundRoute) named(nodes []string, local []netip.Addr) (NamedObject, bool) {
	n := NamedObject{Object: r.ref, Generation: r.GetGeneration(), Hostnames: r.hostnames(), Labels: r.GetLabels(), Annotations: r.GetAnnotations()}
	for _, l := range r.listeners {
		// A Listener whose certificate is still to come has its names already: a CA may
		// look for them.
		if l.gateway.refused != nil || l.owner.refused != nil || l.refused != nil || l.conflict != nil {
			continue
		}
		e := NamedEntry{Gateway: l.gateway.ref, Hostname: l.hostname, Annotations: l.annotations(), Local: l.gateway.localAddresses(local)}
		shown, _ := l.gateway.shownAddresses(nodes)
		for i := range shown {
			e.Addresses = append(e.Addresses, shown[i].value)
		}
		if t := l.gateway.tunnel; t != nil && slices.Contains(l.sockets, t.socket(l.Port)) {
			e.Tunnel = t.plan.Name
		}
		n.Entries = append(n.Entries, e)
	}
	return n, len(n.Entries) > 0
}

// hostnames are those of the spec, sorted.
func (r *boundRoute) hostnames() []string {
	var names []string
	for _, h := range r.memo.parsed.hostnames {
		if h != "" {
			names = append(names, h)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// recordsCondition says how the Route's DNS records fare; it is zero where there is nothing to
// say, and keeps is true where that is not known yet.
func (b *build) recordsCondition(r *boundRoute) (c metav1.Condition, keeps bool) {
	if b.Observed.Records == nil || len(r.listeners) == 0 {
		return c, false
	}
	state, known := b.Observed.Records[r.ref]
	if state.Ready == "" {
		return c, !known
	}
	generation := state.Generation
	if slices.Equal(state.Hostnames, r.hostnames()) {
		generation = r.GetGeneration()
	}
	return condition{ConditionRecords, state.Ready, state.Reason, state.Message}.at(generation), false
}

// localAddresses are the private ones among those that are published, or else those of the
// nodes, where these are what is listened on.
func (b *build) localAddresses(published []string) []netip.Addr {
	local := privateAddresses(published)
	if len(local) > 0 || b.Settings.PublishService != (types.NamespacedName{}) {
		return local
	}
	var internal []string
	for _, n := range b.Nodes {
		if b.Settings.NodeName != "" && n.Name != b.Settings.NodeName {
			continue
		}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				internal = append(internal, a.Address)
			}
		}
	}
	local = privateAddresses(internal)
	return local[:min(len(local), maxStatusAddresses)]
}

// privateAddresses are those that a home or an office has (RFC 1918, RFC 4193), sorted.
func privateAddresses(all []string) []netip.Addr {
	var private []netip.Addr
	for _, address := range all {
		if ip, err := netip.ParseAddr(address); err == nil && ip.IsPrivate() {
			private = append(private, ip.Unmap())
		}
	}
	slices.SortFunc(private, netip.Addr.Compare)
	return slices.Compact(private)
}

// localAddresses are those that its sockets have, and the nodes' where they have any.
func (g *boundGateway) localAddresses(nodes []netip.Addr) []netip.Addr {
	var local []netip.Addr
	for i := range g.listening {
		switch a := &g.listening[i]; {
		case a.fault != nil:
		case a.everywhere():
			local = append(local, nodes...)
		case a.ip.IsPrivate():
			local = append(local, a.ip)
		}
	}
	slices.SortFunc(local, netip.Addr.Compare)
	return slices.Compact(local)
}

// annotations are those of the Gateway, and before them those of a ListenerSet.
func (l *listener) annotations() map[string]string {
	if l.owner == &l.gateway.listenerOwner || len(l.owner.object.GetAnnotations()) == 0 {
		return l.gateway.Annotations
	}
	all := maps.Clone(l.gateway.Annotations)
	if all == nil {
		all = make(map[string]string)
	}
	maps.Copy(all, l.owner.object.GetAnnotations())
	return all
}

// ingressHostnames are those of rules, and those that have a certificate.
func ingressHostnames(i *networkingv1.Ingress) []string {
	var names []string
	for _, r := range i.Spec.Rules {
		names = append(names, strings.ToLower(r.Host))
	}
	for _, t := range i.Spec.TLS {
		for _, h := range t.Hosts {
			names = append(names, strings.ToLower(h))
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}
