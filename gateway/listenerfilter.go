package gateway

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// parsedAuths are the filters of a Listener, in their order (GEP-5224).
type parsedAuths struct {
	auths []*parsedAuth
	refs  []parsedRef
}

// acceptFilters reads the filters of a Listener. One that cannot be followed as it is
// written refuses the Listener: none may be left out.
func (b *build) acceptFilters(l *listener) {
	if l.Filters == nil {
		return
	}
	no := func(field, message string) {
		b.refuse(l, l.problem(field, string(gatewayv1.ListenerReasonUnsupportedValue), message))
	}
	if !l.isHTTP() {
		no(".filters", fmt.Sprintf("a Listener with protocol %s has no requests to filter; use HTTP or HTTPS", l.Protocol))
		return
	}
	p := newRouteParser(l.owner.ref, nil)
	filters := &parsedAuths{}
	for i := range l.Filters.Requests {
		f := &l.Filters.Requests[i]
		field := fmt.Sprintf(".filters.requests[%d]", i)
		switch {
		case f.Type == gatewayv1.ListenerFilterExternalAuth && f.ExternalAuth != nil:
			filters.auths = append(filters.auths, p.externalAuth(l.field+field+".externalAuth", f.ExternalAuth))
		case f.Type == gatewayv1.ListenerFilterExtensionRef && f.ExtensionRef != nil:
			no(field+".extensionRef", fmt.Sprintf("%s %q of group %q is not a filter of this controller; remove it", f.ExtensionRef.Kind, f.ExtensionRef.Name, f.ExtensionRef.Group))
		default:
			no(field+".type", fmt.Sprintf("%q is not supported; use ExternalAuth", f.Type))
		}
	}
	if len(p.parsed.invalid) > 0 {
		wrong := p.parsed.invalid[0]
		b.refuse(l, &wrong)
	}
	filters.refs = p.parsed.refs
	l.auths = filters
}

// placeFilters resolves what the filters of Listeners refer to, and puts them before the
// Rules. Where a reference does not resolve, requests are answered with 500.
func (b *build) placeFilters() {
	for _, l := range b.listeners {
		if l.auths == nil || !l.usable() {
			continue
		}
		backends := make([]*router.Backend, len(l.auths.refs))
		for i := range l.auths.refs {
			r := &l.auths.refs[i]
			backend, why := b.resolveRefFor(r.use, r, l.owner.ref)
			if backend == nil {
				b.unresolve(l, &Problem{l.owner.ref, r.field, string(why.reason), why.message})
			}
			backends[i] = backend
		}
		backends = b.showing(l.gateway, backends)
		var auths []*router.ExternalAuth
		for _, a := range l.auths.auths {
			auths = append(auths, a.by(backends))
		}
		for _, socket := range l.sockets {
			b.hosts[hostKey{socket: socket, listenerHost: l.hostname, host: l.hostname}].Auths = auths
		}
	}
}
