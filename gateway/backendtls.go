package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

const (
	kindBackendTLSPolicy = "BackendTLSPolicy"

	// reasonInvalidTLSPolicy is why a BackendRef does not resolve whose Service has a
	// BackendTLSPolicy that cannot be followed: in the clear nothing is sent to it.
	reasonInvalidTLSPolicy gatewayv1.RouteConditionReason = "InvalidBackendTLSPolicy"
)

// tlsPolicy is a BackendTLSPolicy (GEP-1897) as it was read.
type tlsPolicy struct {
	*gatewayv1.BackendTLSPolicy
	ref ObjectRef
	// tls is how endpoints are recognised; nil if none may be spoken to.
	tls      *router.BackendTLS
	accepted condition // but for what becomes of its targets
	resolved condition
	// ancestors are the Gateways whose Routes use a target, with the Accepted condition for each.
	ancestors map[ObjectRef]condition
}

// tlsTargets are the policies of one Service, by port name, the one that counts first; ""
// are those of all ports that have none of their own.
type tlsTargets map[string][]*tlsPolicy

// readTLSPolicies reads all BackendTLSPolicies, the oldest first: where several have one
// target, it is the one that counts.
func (b *build) readTLSPolicies() {
	policies := slices.Clone(b.BackendTLSPolicies)
	slices.SortFunc(policies, func(x, y *gatewayv1.BackendTLSPolicy) int { return byAge(x, y) })
	for _, p := range policies {
		policy := &tlsPolicy{
			BackendTLSPolicy: p, ref: ObjectRef{kindBackendTLSPolicy, p.Namespace, p.Name},
			ancestors: make(map[ObjectRef]condition),
		}
		b.readTLSPolicy(policy)
		b.tlsPolicies = append(b.tlsPolicies, policy)
		for i := range p.Spec.TargetRefs {
			b.addTLSTarget(policy, i)
		}
	}
}

// addTLSTarget puts a policy among those of a Service.
func (b *build) addTLSTarget(p *tlsPolicy, i int) {
	t := &p.Spec.TargetRefs[i]
	service, ok := b.policyService(p.ref, i, &t.LocalPolicyTargetReference)
	if !ok {
		return
	}
	targets := b.tlsTargets[service]
	if targets == nil {
		targets = make(tlsTargets)
		b.tlsTargets[service] = targets
	}
	port := valueOr(t.SectionName, "")
	targets[port] = append(targets[port], p)
}

// policyService returns the Service that spec.targetRefs[i] of a policy names, there or not,
// and reports what it names instead, or that it is not there.
func (b *build) policyService(policy ObjectRef, i int, t *gatewayv1.LocalPolicyTargetReference) (types.NamespacedName, bool) {
	service := types.NamespacedName{Namespace: policy.Namespace, Name: string(t.Name)}
	field := fmt.Sprintf("spec.targetRefs[%d]", i)
	if t.Group != groupCore || t.Kind != kindService {
		b.report(Problem{policy, field, ReasonUnclaimed, fmt.Sprintf("kind %q of group %q cannot have %s here; refer to a Service", t.Kind, t.Group, article(policy.Kind))})
		return service, false
	}
	if b.services[service] == nil {
		b.report(Problem{policy, field, ReasonUnclaimed, fmt.Sprintf("Service %s not found", service)})
	}
	return service, true
}

// readTLSPolicy reads how endpoints are recognised.
func (b *build) readTLSPolicy(p *tlsPolicy) {
	message := "valid and supported"
	if len(p.Spec.Options) > 0 {
		message += "; without effect in this version: options " + strings.Join(sortedKeys(p.Spec.Options), ", ")
	}
	p.accepted = truth(gatewayv1.PolicyConditionAccepted, gatewayv1.PolicyReasonAccepted, message)
	p.resolved = truth(gatewayv1.BackendTLSPolicyConditionResolvedRefs, gatewayv1.BackendTLSPolicyReasonResolvedRefs, "every reference resolves")
	v := &p.Spec.Validation
	t := &router.BackendTLS{ServerName: strings.ToLower(string(v.Hostname))}
	for _, name := range v.SubjectAltNames {
		switch name.Type {
		case gatewayv1.HostnameSubjectAltNameType:
			t.DNSNames = append(t.DNSNames, strings.ToLower(string(name.Hostname)))
		case gatewayv1.URISubjectAltNameType:
			t.URIs = append(t.URIs, string(name.URI))
		}
	}
	switch known := v.WellKnownCACertificates; {
	case len(v.CACertificateRefs) > 0:
		trusted := b.tlsPolicyAuthorities(p)
		if len(trusted) == 0 {
			p.accepted = falsity(gatewayv1.PolicyConditionAccepted, gatewayv1.BackendTLSPolicyReasonNoValidCACertificate, p.resolved.message)
			return
		}
		t.Roots = poolOf(trusted)
	case known == nil || *known != gatewayv1.WellKnownCACertificatesSystem:
		p.accepted = falsity(gatewayv1.PolicyConditionAccepted, gatewayv1.PolicyReasonInvalid,
			fmt.Sprintf("spec.validation.wellKnownCACertificates: %q is not supported; use System, or caCertificateRefs", valueOr(known, "")))
		return
	}
	if t.ServerName == "" {
		p.accepted = falsity(gatewayv1.PolicyConditionAccepted, gatewayv1.PolicyReasonInvalid, "spec.validation.hostname: is required")
		return
	}
	p.tls = t
}

// tlsPolicyAuthorities reads the authorities that a policy refers to. The first that cannot
// be read makes the ResolvedRefs condition.
func (b *build) tlsPolicyAuthorities(p *tlsPolicy) []*authorities {
	var trusted []*authorities
	for i, r := range p.Spec.Validation.CACertificateRefs {
		ref := authorityRef{string(r.Group), string(r.Kind), types.NamespacedName{Namespace: p.Namespace, Name: string(r.Name)}}
		reason := gatewayv1.BackendTLSPolicyReasonInvalidCACertificateRef
		var why string
		a := b.authorities(&ref)
		switch {
		case a == nil:
			reason, why = gatewayv1.BackendTLSPolicyReasonInvalidKind, ref.unknownKind()
		case a.fault != "":
			why = a.fault
		default:
			trusted = append(trusted, a)
			continue
		}
		if p.resolved.status == metav1.ConditionTrue {
			p.resolved = falsity(gatewayv1.BackendTLSPolicyConditionResolvedRefs, reason, fmt.Sprintf("spec.validation.caCertificateRefs[%d]: %s", i, why))
		}
	}
	return trusted
}

// tlsPolicyFor returns the policy that counts for a port of a Service, or nil. The fault
// says why the port cannot be spoken to: of a policy for a port that the Service does not
// have nobody knows which it is meant for, and no port without a policy of its own may be
// the one that gets in the clear what was meant to be secret (GEP-1897 forbids it for
// policies that are not valid).
func (b *build) tlsPolicyFor(service *corev1.Service, port string) (*tlsPolicy, refFault) {
	name := nameOf(service)
	targets := b.tlsTargets[name]
	for _, n := range []string{port, ""} {
		if policies := targets[n]; len(policies) > 0 {
			if p := policies[0]; p.tls == nil {
				return nil, p.fault(name, p.accepted.message)
			}
			return policies[0], refFault{}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(targets)) {
		if !hasPort(service, n) {
			return nil, targets[n][0].fault(name, noSuchPort(service, n).message)
		}
	}
	return nil, refFault{}
}

func hasPort(service *corev1.Service, name string) bool { return portNamed(service, name) != nil }

// portNamed returns a port of a Service, or nil.
func portNamed(service *corev1.Service, name string) *corev1.ServicePort {
	for i := range service.Spec.Ports {
		if p := &service.Spec.Ports[i]; p.Name == name {
			return p
		}
	}
	return nil
}

// noSuchPort is what becomes of a policy for a port that the Service does not have.
func noSuchPort(service *corev1.Service, name string) condition {
	return falsity(gatewayv1.PolicyConditionAccepted, gatewayv1.PolicyReasonTargetNotFound,
		fmt.Sprintf("spec.targetRefs: Service %s has no port named %q; it has %s", nameOf(service), name, portList(service)))
}

// secure puts what the policy wants into the settings of a Backend, whose Protocol says
// what would be spoken in the clear.
func (p *tlsPolicy) secure(settings *router.BackendSettings, use string) {
	t := *p.tls
	switch {
	case use == useStream:
		t.ALPN = []string{} // only the ends of the stream know
	case settings.Protocol == router.H2C:
		t.ALPN = []string{"h2"}
	}
	settings.Protocol, settings.TLS = router.HTTPS, &t
}

// fault is why a Service that the policy is for cannot be spoken to.
func (p *tlsPolicy) fault(service types.NamespacedName, why string) refFault {
	return refFault{reasonInvalidTLSPolicy, fmt.Sprintf("%s, which is for Service %s, cannot be followed: %s", p.ref, service, why)}
}

// bindTLSPolicies finds the Gateways that the policies have to do with.
func (b *build) bindTLSPolicies(routes []*boundRoute) {
	if len(b.tlsTargets) == 0 {
		return
	}
	for _, r := range routes {
		b.bindTLSPoliciesOf(r.memo.parsed.refs, r.listeners...)
	}
	for _, l := range b.listeners {
		if l.auths != nil && l.usable() {
			b.bindTLSPoliciesOf(l.auths.refs, l)
		}
	}
}

// bindTLSPoliciesOf does so for references from Routes of Listeners, or from these themselves.
func (b *build) bindTLSPoliciesOf(refs []parsedRef, listeners ...*listener) {
	for i := range refs {
		service := b.services[refs[i].name]
		targets := b.tlsTargets[refs[i].name]
		if service == nil || targets == nil || refs[i].group != groupCore || refs[i].kind != kindService {
			continue
		}
		for _, l := range listeners {
			switch l.streamUse() {
			case usePassthrough:
			case useUDP:
				targets.bindDatagrams(service, l.gateway.ref)
			default:
				targets.bind(service, refs[i].port, l.gateway.ref)
			}
		}
	}
}

// bind notes that Routes of a Gateway use a port of the Service.
func (targets tlsTargets) bind(service *corev1.Service, port int32, gateway ObjectRef) {
	targets.bindDatagrams(service, gateway)
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port && p.Protocol != corev1.ProtocolUDP })
	for name, policies := range targets {
		switch {
		case onlyDatagrams(service, name):
		case name != "" && !hasPort(service, name):
			for _, p := range policies {
				p.bind(gateway, noSuchPort(service, name))
			}
		case name == "" || i >= 0 && service.Spec.Ports[i].Name == name:
			policies[0].bind(gateway, besideDatagrams(policies[0].accepted, service, name))
			for _, p := range policies[1:] {
				p.bind(gateway, falsity(gatewayv1.PolicyConditionAccepted, gatewayv1.PolicyReasonConflicted,
					fmt.Sprintf("spec.targetRefs: %s, which is older, is for Service %s already", policies[0].ref, nameOf(service))))
			}
		}
	}
}

// bindDatagrams refuses the policies that are for UDP alone, over which there is no TLS.
func (targets tlsTargets) bindDatagrams(service *corev1.Service, gateway ObjectRef) {
	for name, policies := range targets {
		if !onlyDatagrams(service, name) {
			continue
		}
		what := fmt.Sprintf("Service %s", nameOf(service))
		if name != "" {
			what = fmt.Sprintf("port %q of %s", name, what)
		}
		for _, p := range policies {
			p.bind(gateway, falsity(gatewayv1.PolicyConditionAccepted, gatewayv1.PolicyReasonInvalid,
				fmt.Sprintf("spec.targetRefs: %s is for UDP, and there is TLS over TCP alone", what)))
		}
	}
}

// onlyDatagrams reports whether what a policy is for, a port or with "" all, is UDP.
func onlyDatagrams(service *corev1.Service, name string) bool {
	isUDP := func(p *corev1.ServicePort) bool { return p.Protocol == corev1.ProtocolUDP }
	if name != "" {
		p := portNamed(service, name)
		return p != nil && isUDP(p)
	}
	for i := range service.Spec.Ports {
		if !isUDP(&service.Spec.Ports[i]) {
			return false
		}
	}
	return len(service.Spec.Ports) > 0
}

// besideDatagrams adds to the condition of a policy for all ports that some are UDP.
func besideDatagrams(accepted condition, service *corev1.Service, name string) condition {
	if name == "" && accepted.status == metav1.ConditionTrue && slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Protocol == corev1.ProtocolUDP }) {
		accepted.message += fmt.Sprintf("; without effect on the UDP ports of Service %s", nameOf(service))
	}
	return accepted
}

// bind notes what becomes of the policy at a Gateway. Of several targets there, one that
// is at fault decides.
func (p *tlsPolicy) bind(gateway ObjectRef, accepted condition) {
	bindPolicy(p.ancestors, gateway, accepted)
}

// tlsPolicyStatuses makes the status of every policy that has to do with a Gateway of
// ours, or had.
func (b *build) tlsPolicyStatuses() {
	for _, p := range b.tlsPolicies {
		for _, g := range slices.SortedFunc(maps.Keys(p.ancestors), ObjectRef.compare) {
			accepted := p.ancestors[g]
			if accepted.message != p.resolved.message { // the other one says it better
				b.reportPolicy(p.ref, accepted)
			}
			b.reportPolicy(p.ref, p.resolved)
		}
		b.policyStatus(policyStatusOf{
			ref: p.ref, object: p.BackendTLSPolicy, current: p.Status.Ancestors, ancestors: p.ancestors, others: []condition{p.resolved},
		})
	}
}

func sortedKeys[K ~string, V any](m map[K]V) []string {
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		keys = append(keys, string(k))
	}
	return keys
}
