package gateway

import (
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// NamedObject is a Route or an Ingress of ours that is served, with what the DNS records
// for its names are made of.
type NamedObject struct {
	Object ObjectRef
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
	// hostnames.
	Addresses []string
}

// collectNames makes Plan.Names, if anybody reads it.
func (b *build) collectNames(routes []*boundRoute, ingresses []*networkingv1.Ingress) {
	if !b.Settings.CollectNames {
		return
	}
	nodes := b.nodeAddresses()
	for _, r := range routes {
		if n, served := r.named(nodes); served {
			b.plan.Names = append(b.plan.Names, n)
		}
	}
	for _, i := range ingresses {
		b.plan.Names = append(b.plan.Names, NamedObject{
			Object: ingressRef(i), Hostnames: ingressHostnames(i), Labels: i.Labels, Annotations: i.Annotations,
			Entries: []NamedEntry{{Addresses: nodes}},
		})
	}
	slices.SortFunc(b.plan.Names, func(x, y NamedObject) int { return x.Object.compare(y.Object) })
}

// named is false for a Route that no Listener takes.
func (r *boundRoute) named(nodes []string) (NamedObject, bool) {
	n := NamedObject{Object: r.ref, Labels: r.GetLabels(), Annotations: r.GetAnnotations()}
	for _, h := range r.memo.parsed.hostnames {
		if h != "" {
			n.Hostnames = append(n.Hostnames, h)
		}
	}
	slices.Sort(n.Hostnames)
	n.Hostnames = slices.Compact(n.Hostnames)
	for _, l := range r.listeners {
		// A Listener whose certificate is still to come has its names already: a CA may
		// look for them.
		if l.gateway.refused != nil || l.owner.refused != nil || l.refused != nil || l.conflict != nil {
			continue
		}
		e := NamedEntry{Gateway: l.gateway.ref, Hostname: l.hostname, Annotations: l.annotations()}
		shown, _ := l.gateway.shownAddresses(nodes)
		for i := range shown {
			e.Addresses = append(e.Addresses, shown[i].value)
		}
		n.Entries = append(n.Entries, e)
	}
	return n, len(n.Entries) > 0
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
