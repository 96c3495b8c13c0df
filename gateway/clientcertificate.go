package gateway

import (
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// resolveClientCertificate finds the certificate that a Gateway shows to endpoints
// (GEP-3155). Without it endpoints are spoken to all the same: those that want to know
// who calls refuse by themselves.
func (b *build) resolveClientCertificate(g *boundGateway) {
	if !g.wantsClientCertificate() {
		return
	}
	certificate, reason, fault := b.resolveCertificate(g.Spec.TLS.Backend.ClientCertificateRef, g.ref)
	if fault == "" {
		g.certificate = certificate
		return
	}
	p := Problem{g.ref, "spec.tls.backend.clientCertificateRef", string(gatewayv1.GatewayReasonInvalidClientCertificateRef), fault}
	if reason == gatewayv1.ListenerReasonRefNotPermitted {
		p.Reason = string(gatewayv1.GatewayReasonRefNotPermitted)
	}
	b.report(p)
	g.unresolved = &p
}

func (g *boundGateway) wantsClientCertificate() bool {
	return g.Spec.TLS != nil && g.Spec.TLS.Backend != nil && g.Spec.TLS.Backend.ClientCertificateRef != nil
}

// resolvedRefs is the condition of a Gateway that refers to a certificate itself. There is
// none for others: what their Listeners refer to, these say.
func (g *boundGateway) resolvedRefs() (condition, bool) {
	if !g.wantsClientCertificate() {
		return condition{}, false
	}
	if g.unresolved != nil {
		return fault(gatewayv1.GatewayConditionResolvedRefs, *g.unresolved), true
	}
	var listeners []string
	for _, l := range g.listeners {
		if l.unresolved != nil {
			listeners = append(listeners, string(l.Name))
		}
	}
	if len(listeners) > 0 {
		return falsity(gatewayv1.GatewayConditionResolvedRefs, gatewayv1.GatewayReasonListenersNotResolved,
			"references of Listeners do not resolve: "+strings.Join(listeners, ", ")), true
	}
	return truth(gatewayv1.GatewayConditionResolvedRefs, gatewayv1.GatewayReasonResolvedRefs, "every reference resolves"), true
}

// showing returns the Backends to use for requests that come by a Gateway: those that are
// spoken to over TLS are others where the Gateway has a certificate to show.
func (b *build) showing(g *boundGateway, backends []*router.Backend) []*router.Backend {
	if g.certificate == nil {
		return backends
	}
	all := slices.Clone(backends)
	for i, backend := range all {
		if backend != nil && backend.TLS() != nil {
			all[i] = b.showingTo(g, backend)
		}
	}
	return all
}

func (b *build) showingTo(g *boundGateway, backend *router.Backend) *router.Backend {
	key := b.backendKeys[backend]
	portName := b.memo.backends[key].PortName
	settings := *backend.Settings()
	t := *settings.TLS
	t.Certificate = g.certificate
	settings.TLS = &t
	key.Use += "/gateway " + nameOf(g).String()
	return b.backend(key, portName, &settings).Backend
}
