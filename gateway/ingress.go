package gateway

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// ingressMemo is what is known of one version of an Ingress.
type ingressMemo struct {
	uid        types.UID
	generation int64
	paths      []ingressPath
	fields     []string // of the Rules, by their Order.Index
	backends   []*router.Backend
	rules      map[entry][]*router.Rule // parallel to paths
}

// ingressPath is one path of one host; the default backend is the path "/" of any host.
type ingressPath struct {
	host    string
	match   router.Match
	backend *networkingv1.IngressBackend
}

// bindIngresses puts the Rules of our Ingresses on the Ingress ports, and returns
// those Ingresses.
func (b *build) bindIngresses() []*networkingv1.Ingress {
	var ours []*networkingv1.Ingress
	for _, i := range b.Ingresses {
		switch class := ingressClass(i); {
		case b.ingressClasses[class], class == "" && b.defaultIngress:
			ours = append(ours, i)
			b.checkAnnotations(ingressRef(i), i)
		default:
			b.unclaimedClass(ingressRef(i), "spec.ingressClassName", class)
		}
	}
	slices.SortFunc(ours, func(x, y *networkingv1.Ingress) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	if len(ours) == 0 {
		return nil
	}
	var secured map[string]bool
	if local := slices.DeleteFunc(slices.Clone(ours), b.isInTunnelAlone); len(local) > 0 {
		secured = b.openIngressSockets(local)
	}
	for _, i := range ours {
		b.placeIngress(i, secured)
	}
	return ours
}

func ingressRef(i *networkingv1.Ingress) ObjectRef {
	return ObjectRef{Kind: kindIngress, Namespace: i.Namespace, Name: i.Name}
}

// openIngressSockets asks for the two sockets of Ingress, and returns the hosts
// that are served by TLS: those that any of our Ingresses names in spec.tls. A
// Gateway that has the port for another protocol keeps it.
func (b *build) openIngressSockets(ingresses []*networkingv1.Ingress) (secured map[string]bool) {
	secured = make(map[string]bool)
	var certificates []Certificate
	for _, i := range ingresses {
		for j := range i.Spec.TLS {
			certificates = append(certificates, b.ingressCertificates(i, j, secured)...)
		}
	}
	b.openIngressSocket(ingresses[0], Socket{Name: socketName(netip.Addr{}, int32(b.Settings.HTTPPort))})
	if len(certificates) > 0 || b.ingressAwaitsHandshakes() {
		b.openIngressSocket(ingresses[0], Socket{Name: socketName(netip.Addr{}, int32(b.Settings.HTTPSPort)), Protocol: router.SocketTLS, Certificates: certificates})
	}
	return secured
}

// ingressAwaitsHandshakes reports whether an Ingress gets its certificate only if the
// socket answers the handshakes of a CA (RFC 8737).
func (b *build) ingressAwaitsHandshakes() bool {
	return slices.ContainsFunc(b.claims, func(c claim) bool { return c.listener == nil && c.issue.issuer.Challenge == challengeTLSALPN })
}

// openIngressSocket asks for one of the two sockets, unless it is turned off (port
// 0) or a Gateway has the port for the other protocol or for some addresses alone.
func (b *build) openIngressSocket(first *networkingv1.Ingress, want Socket) {
	if want.Name == ":0" {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(b.sockets)) {
		has := b.sockets[name]
		if strings.HasSuffix(name, want.Name) && (name != want.Name || has.Protocol != want.Protocol) {
			b.report(Problem{
				ingressRef(first), "", string(gatewayv1.ListenerReasonPortUnavailable),
				fmt.Sprintf("a Gateway listens on %s; Ingress is not served on %s", name, want.Name),
			})
			return
		}
	}
	b.openSocket(want)
}

// ingressCertificates reads spec.tls[j] and marks its hosts as secured.
func (b *build) ingressCertificates(i *networkingv1.Ingress, j int, secured map[string]bool) []Certificate {
	t := &i.Spec.TLS[j]
	field := fmt.Sprintf("spec.tls[%d].secretName", j)
	secret := types.NamespacedName{Namespace: i.Namespace, Name: t.SecretName}
	hosts := ingressHosts(i, j)
	claimed := b.claimIngressCertificate(i, field, secret, hosts)
	k := b.ingressKeyPair(secret)
	if k.fault != "" && claimed {
		return nil // it is waited for
	}
	if k.fault != "" {
		b.report(Problem{ingressRef(i), field, string(gatewayv1.ListenerReasonInvalidCertificateRef), k.fault})
		return nil
	}
	var certificates []Certificate
	for _, h := range hosts {
		secured[h] = true
		certificates = append(certificates, Certificate{ServerName: h, Certificate: k.certificate, Secret: secret})
	}
	return certificates
}

// ingressHosts are the hosts of spec.tls[j], or else those of the Ingress's own rules, or
// else "" for any.
func ingressHosts(i *networkingv1.Ingress, j int) []string {
	hosts := slices.Clone(i.Spec.TLS[j].Hosts)
	if len(hosts) == 0 {
		for _, r := range i.Spec.Rules {
			hosts = append(hosts, r.Host)
		}
	}
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	for k, h := range hosts {
		hosts[k] = strings.ToLower(h)
	}
	return hosts
}

// claimIngressCertificate claims a certificate for the hosts of an entry of spec.tls, if an
// issuer cares for it.
func (b *build) claimIngressCertificate(i *networkingv1.Ingress, field string, name types.NamespacedName, hosts []string) bool {
	issue := b.ingressIssuance(i)
	if secret := b.secrets[name]; issue == nil || name.Name == "" || secret != nil && !isOurs(secret) {
		return false
	}
	b.claims = append(b.claims, claim{
		secret: name, issue: issue, object: i, ref: ingressRef(i), field: field, missing: b.isMissing(name),
		names: slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == "" }),
	})
	return true
}

// ingressIssuance reads the annotations of an Ingress, once.
func (b *build) ingressIssuance(i *networkingv1.Ingress) *issuance {
	issue, known := b.ingressIssues[i]
	if !known {
		issue = b.issuance(ingressRef(i), i.Annotations, nil)
		b.ingressIssues[i] = issue
	}
	return issue
}

// ingressKeyPair reads the Secret of a spec.tls entry.
func (b *build) ingressKeyPair(name types.NamespacedName) *keyPair {
	switch secret := b.secrets[name]; {
	case name.Name == "":
		return &keyPair{fault: "no Secret is named, and there is no default certificate"}
	case secret == nil:
		return &keyPair{fault: fmt.Sprintf("Secret %s not found", name)}
	default:
		return b.keyPair(secret)
	}
}

// placeIngress resolves the backends of an Ingress and puts its Rules in place.
func (b *build) placeIngress(i *networkingv1.Ingress, secured map[string]bool) {
	m := b.was.ingresses[nameOf(i)]
	if m == nil || m.uid != i.UID || m.generation != i.Generation {
		m = &ingressMemo{uid: i.UID, generation: i.Generation}
		m.parse(i)
	}
	b.memo.ingresses[nameOf(i)] = m
	backends := make([]*router.Backend, len(m.paths))
	for j := range m.paths {
		backends[j] = b.resolveIngressBackend(i, m.fields[j], m.paths[j].backend)
	}
	if !slices.Equal(backends, m.backends) || m.rules == nil {
		m.backends, m.rules = backends, make(map[entry][]*router.Rule)
	}
	if !b.isInTunnelAlone(i) {
		b.placeIngressOn(i, m, entry{label: "Ingress http", scheme: schemeHTTP, port: b.Settings.HTTPPort}, nil)
		b.placeIngressOn(i, m, entry{label: "Ingress https", scheme: schemeHTTPS, port: b.Settings.HTTPSPort}, secured)
	}
	if t := b.ingressTunnel(i); t != nil {
		b.placeIngressInTunnel(i, m, t)
	}
}

// placeIngressOn puts the Rules of an Ingress on one socket; if only is not nil,
// those of its hosts alone.
func (b *build) placeIngressOn(i *networkingv1.Ingress, m *ingressMemo, e entry, only map[string]bool) {
	socket := socketName(netip.Addr{}, int32(e.port))
	s := b.sockets[socket]
	if e.port == 0 || s == nil || (s.Protocol == router.SocketTLS) != (e.scheme == schemeHTTPS) {
		return
	}
	b.addIngressRules(i, m, e, ingressPlace{socket, only})
}

// ingressPlace is a socket on which an Ingress is put, as far as its hosts are among those of
// only; nil is all.
type ingressPlace struct {
	socket string
	only   map[string]bool
}

func (b *build) addIngressRules(i *networkingv1.Ingress, m *ingressMemo, e entry, place ingressPlace) {
	rules := m.rulesFor(i, e)
	b.plan.Attachments = append(b.plan.Attachments, Attachment{e.label, ingressRef(i).String()})
	for j, p := range m.paths {
		if place.only != nil && p.host != "" && !coversHost(place.only, p.host) {
			continue
		}
		b.addRules(hostKey{
			socket: place.socket, listenerHost: b.listenerFor(place.socket, p.host),
			host: p.host, oneLabel: strings.HasPrefix(p.host, "*."),
		}, rules[j:j+1])
	}
}

// coversHost reports whether a host is among the secured ones, by itself, by a
// wildcard of one label, or because everything is.
func coversHost(secured map[string]bool, host string) bool {
	_, parent, _ := strings.Cut(host, ".")
	return secured[host] || secured[""] || secured["*."+parent]
}

// listenerFor returns the hostname of the Gateway Listener that requests for an
// Ingress host belong to on a shared socket, "" when there is none: Gateway API
// isolates Listeners, and a Gateway's wildcard must not hide an Ingress.
func (b *build) listenerFor(socket, host string) string {
	best := ""
	for _, l := range b.listeners {
		if !l.usable() || !slices.Contains(l.sockets, socket) || l.hostname == "" || host == "" {
			continue
		}
		suffix, wild := strings.CutPrefix(l.hostname, "*")
		if (l.hostname == host || (wild && strings.HasSuffix(host, suffix))) && (best == "" || len(l.hostname) > len(best) || l.hostname == host) {
			best = l.hostname
		}
	}
	return best
}

// parse reads the paths of an Ingress.
func (m *ingressMemo) parse(i *networkingv1.Ingress) {
	for r := range i.Spec.Rules {
		rule := &i.Spec.Rules[r]
		host := strings.ToLower(rule.Host)
		if rule.HTTP == nil || len(rule.HTTP.Paths) == 0 {
			if i.Spec.DefaultBackend != nil { // "all traffic matching the host goes to the default backend"
				m.add(host, fmt.Sprintf("spec.rules[%d]", r), router.PathMatch{Value: "/"}, i.Spec.DefaultBackend)
			}
			continue
		}
		for p := range rule.HTTP.Paths {
			path := &rule.HTTP.Paths[p]
			m.add(host, fmt.Sprintf("spec.rules[%d].http.paths[%d]", r, p), ingressPathMatch(path), &path.Backend)
		}
	}
	if i.Spec.DefaultBackend != nil {
		m.add("", fieldDefaultBackend, router.PathMatch{Value: "/"}, i.Spec.DefaultBackend)
	}
}

func (m *ingressMemo) add(host, field string, path router.PathMatch, backend *networkingv1.IngressBackend) {
	m.paths = append(m.paths, ingressPath{host, router.Match{Path: path}, backend})
	m.fields = append(m.fields, field)
}

// ingressPathMatch reads a path. ImplementationSpecific is a prefix here, as it is
// for most controllers.
func ingressPathMatch(p *networkingv1.HTTPIngressPath) router.PathMatch {
	match := router.PathMatch{Kind: router.PathPrefix, Value: cmp.Or(p.Path, "/")}
	if p.PathType != nil && *p.PathType == networkingv1.PathTypeExact {
		match.Kind = router.PathExact
	}
	return match
}

// rulesFor makes one Rule a path for requests that come in by an entry, or returns
// those that were made before.
func (m *ingressMemo) rulesFor(i *networkingv1.Ingress, e entry) []*router.Rule {
	if rules, ok := m.rules[e]; ok {
		return rules
	}
	rules := make([]*router.Rule, len(m.paths))
	for j, p := range m.paths {
		order := router.Order{Created: i.CreationTimestamp.UnixNano(), Name: i.Namespace + "/" + i.Name, Index: j}
		if m.fields[j] == fieldDefaultBackend {
			order.Created = createdLast
		}
		rules[j] = router.NewRule(router.Rule{
			Listener: e.label,
			Route:    ingressRef(i).String(),
			Match:    p.match,
			Order:    order,
			Action:   router.Action{Backends: []router.WeightedBackend{{Backend: m.backends[j], Weight: 1}}},
		})
	}
	m.rules[e] = rules
	return rules
}

// resolveIngressBackend finds the Backend of one path, nil when it does not resolve.
func (b *build) resolveIngressBackend(i *networkingv1.Ingress, field string, r *networkingv1.IngressBackend) *router.Backend {
	if r.Service == nil {
		b.report(Problem{ingressRef(i), field, string(gatewayv1.RouteReasonInvalidKind), "a resource backend is not supported; name a service"})
		return nil
	}
	port, wanted := r.Service.Port, r.Service.Port.Name
	if wanted == "" {
		wanted = strconv.Itoa(int(port.Number))
	}
	match := func(p *corev1.ServicePort) bool {
		return (port.Name != "" && p.Name == port.Name) || (port.Name == "" && p.Port == port.Number)
	}
	backend, why := b.resolveService(types.NamespacedName{Namespace: i.Namespace, Name: r.Service.Name}, portRef{useHTTP, match, wanted})
	if backend == nil {
		b.report(Problem{ingressRef(i), field, string(why.reason), why.message})
	}
	return backend
}

const (
	fieldDefaultBackend = "spec.defaultBackend"
	// createdLast lets a default backend come after every rule with the same match,
	// however old the rule is.
	createdLast = math.MaxInt64
	// createdFirst comes before every rule with the same match.
	createdFirst = math.MinInt64
)
