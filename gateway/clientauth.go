package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// clientAuth is what a port of a Gateway asks of clients' certificates (GEP-91).
type clientAuth struct {
	kind        tls.ClientAuthType
	authorities *x509.CertPool

	// refused is why the Listeners of the port cannot be served, and unresolved the first
	// reference that does not resolve; nil where there is none.
	refused    *Problem
	unresolved *Problem
}

// equal reports whether both ask for the same. Either may be nil, which asks for nothing.
func (a *clientAuth) equal(o *clientAuth) bool {
	if a == nil || o == nil {
		return a == o
	}
	return a.kind == o.kind && a.authorities.Equal(o.authorities)
}

// requireClients finds what a Listener that ends TLS asks of clients. The API speaks of
// HTTPS alone; what ends TLS for streams would be open otherwise, or would open the port
// that it shares.
func (b *build) requireClients(l *listener) {
	validation, field := clientValidation(l)
	if validation == nil {
		return
	}
	auth := b.clientAuths[validation]
	if auth == nil {
		auth = b.readClientAuth(l.gateway, validation, field)
		b.clientAuths[validation] = auth
	}
	l.clients = auth
	if l.unresolved == nil {
		l.unresolved = auth.unresolved
	}
	if l.refused == nil {
		l.refused = auth.refused
	}
}

// clientValidation returns what the Gateway says of clients at the port of a Listener, and
// where; nil when nothing.
func clientValidation(l *listener) (*gatewayv1.FrontendTLSValidation, string) {
	if l.gateway.Spec.TLS == nil || l.gateway.Spec.TLS.Frontend == nil {
		return nil, ""
	}
	frontend := l.gateway.Spec.TLS.Frontend
	for i := range frontend.PerPort {
		if p := &frontend.PerPort[i]; p.Port == l.Port {
			return p.TLS.Validation, fmt.Sprintf("spec.tls.frontend.perPort[%d].tls.validation", i)
		}
	}
	return frontend.Default.Validation, "spec.tls.frontend.default.validation"
}

// readClientAuth reads one validation. Without any authority nobody is let in.
func (b *build) readClientAuth(g *boundGateway, v *gatewayv1.FrontendTLSValidation, field string) *clientAuth {
	auth := &clientAuth{kind: tls.RequireAndVerifyClientCert}
	switch v.Mode {
	case "", gatewayv1.AllowValidOnly:
	case gatewayv1.AllowInsecureFallback:
		auth.kind = tls.RequestClientCert
	default:
		auth.refused = &Problem{g.ref, field + ".mode", string(gatewayv1.ListenerReasonUnsupportedValue),
			fmt.Sprintf("%q is not supported; use AllowValidOnly or AllowInsecureFallback", v.Mode)}
		b.report(*auth.refused)
	}
	var trusted []*authorities
	for i := range v.CACertificateRefs {
		a, reason, why := b.clientAuthorities(g, &v.CACertificateRefs[i])
		if why == "" {
			trusted = append(trusted, a)
			continue
		}
		p := Problem{g.ref, fmt.Sprintf("%s.caCertificateRefs[%d]", field, i), string(reason), why}
		b.report(p)
		if auth.unresolved == nil {
			auth.unresolved = &p
		}
	}
	if len(trusted) == 0 && auth.refused == nil {
		message := "no caCertificateRef resolves, so that no client could be recognised"
		auth.refused = &Problem{g.ref, field + ".caCertificateRefs", string(gatewayv1.ListenerReasonNoValidCACertificate), message}
	}
	auth.authorities = poolOf(trusted)
	return auth
}

// clientAuthorities reads one caCertificateRef of a Gateway.
func (b *build) clientAuthorities(g *boundGateway, r *gatewayv1.ObjectReference) (*authorities, gatewayv1.ListenerConditionReason, string) {
	ref := authorityRef{string(r.Group), string(r.Kind), types.NamespacedName{Namespace: valueOr(r.Namespace, g.Namespace), Name: string(r.Name)}}
	if ref.clusterScoped() {
		if r.Namespace != nil {
			return nil, gatewayv1.ListenerReasonInvalidCACertificateRef, "a ClusterTrustBundle has no namespace; remove the field"
		}
	} else if !b.permits(reference{groupGateway, kindGateway, g.Namespace, ref.group, ref.kind, ref.name}) {
		return nil, gatewayv1.ListenerReasonRefNotPermitted,
			fmt.Sprintf("no ReferenceGrant in namespace %q lets a Gateway of namespace %q refer to %s %q", ref.name.Namespace, g.Namespace, ref.kind, ref.name.Name)
	}
	a := b.authorities(&ref)
	if a == nil {
		return nil, gatewayv1.ListenerReasonInvalidCACertificateKind, ref.unknownKind()
	}
	return a, gatewayv1.ListenerReasonInvalidCACertificateRef, a.fault
}

// separateClients refuses Listeners that ask something else of clients than an older one
// with the same socket: a client could come in by one and reuse the connection for the
// other.
func (b *build) separateClients() {
	first := make(map[string]*listener)
	for _, l := range b.listeners {
		if !l.terminates() || !l.usable() {
			continue
		}
		for i, socket := range l.sockets {
			if l.gateway.listening[i].tunnel != nil {
				continue // nobody is asked there
			}
			switch other := first[socket]; {
			case other == nil:
				first[socket] = l
			case !other.clients.equal(l.clients):
				b.refuse(l, l.problem(".port", string(gatewayv1.ListenerReasonPortUnavailable), fmt.Sprintf(
					"Listener %q of %s, which is older, asks other certificates of clients on %s; use another port, or another address", other.Name, other.owner.ref, socket)))
			}
		}
	}
}

// insecureFallback is the condition of a Gateway that lets clients in whatever their
// certificates are. There is no condition where none does.
func (g *boundGateway) insecureFallback() (condition, bool) {
	if g.Spec.TLS == nil || g.Spec.TLS.Frontend == nil {
		return condition{}, false
	}
	frontend := g.Spec.TLS.Frontend
	insecure := func(field string, v *gatewayv1.FrontendTLSValidation) (condition, bool) {
		return truth(gatewayv1.GatewayConditionInsecureFrontendValidationMode, gatewayv1.GatewayReasonConfigurationChanged,
			field+".mode: AllowInsecureFallback lets in clients without a valid certificate"), v != nil && v.Mode == gatewayv1.AllowInsecureFallback
	}
	if c, ok := insecure("spec.tls.frontend.default.validation", frontend.Default.Validation); ok {
		return c, true
	}
	for i := range frontend.PerPort {
		if c, ok := insecure(fmt.Sprintf("spec.tls.frontend.perPort[%d].tls.validation", i), frontend.PerPort[i].TLS.Validation); ok {
			return c, true
		}
	}
	return condition{}, false
}
