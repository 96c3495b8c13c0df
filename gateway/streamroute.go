package gateway

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

const (
	kindTLSRoute = "TLSRoute"
	kindTCPRoute = "TCPRoute"
	kindUDPRoute = "UDPRoute"
)

func parseTLSRoute(r *gatewayv1.TLSRoute) *parsedRoute {
	p := newRouteParser(ObjectRef{kindTLSRoute, r.Namespace, r.Name}, r.Spec.Hostnames)
	for i := range r.Spec.Rules {
		p.streamRule(i, r.Spec.Rules[i].BackendRefs)
	}
	return p.parsed
}

func parseTCPRoute(r *gatewayv1.TCPRoute) *parsedRoute {
	p := newRouteParser(ObjectRef{kindTCPRoute, r.Namespace, r.Name}, nil)
	for i := range r.Spec.Rules {
		p.streamRule(i, r.Spec.Rules[i].BackendRefs)
	}
	return p.parsed
}

func parseUDPRoute(r *gatewayv1.UDPRoute) *parsedRoute {
	p := newRouteParser(ObjectRef{kindUDPRoute, r.Namespace, r.Name}, nil)
	for i := range r.Spec.Rules {
		p.streamRule(i, r.Spec.Rules[i].BackendRefs)
	}
	return p.parsed
}

// streamRule reads a rule that has nothing but Backends. The API allows one.
func (p *routeParser) streamRule(index int, refs []gatewayv1.BackendRef) {
	var rule parsedRule
	for i := range refs {
		field := fmt.Sprintf("spec.rules[%d].backendRefs[%d]", index, i)
		rule.backends = append(rule.backends, p.backend(field, &refs[i], nil))
	}
	p.parsed.rules = append(p.parsed.rules, rule)
}

// isStream reports whether the Route's traffic is connections or datagrams, and not
// requests.
func (r *route) isStream() bool {
	return r.ref.Kind == kindTLSRoute || r.ref.Kind == kindTCPRoute || r.ref.Kind == kindUDPRoute
}

// streamUse is what a Listener uses the Backends of its streams for.
func (l *listener) streamUse() string {
	switch {
	case l.Protocol == gatewayv1.UDPProtocolType:
		return useUDP
	case l.isTLS() && !l.terminates():
		return usePassthrough
	default:
		return useStream
	}
}

// streamUses are the uses that the Route's Backends are resolved for, at least one.
func (r *boundRoute) streamUses() []string {
	var uses []string
	for _, l := range r.listeners {
		if use := l.streamUse(); !slices.Contains(uses, use) {
			uses = append(uses, use)
		}
	}
	slices.Sort(uses)
	switch {
	case len(uses) > 0:
		return uses
	case r.ref.Kind == kindUDPRoute:
		return []string{useUDP}
	default:
		return []string{useStream}
	}
}

// placeStreams resolves the Route's BackendRefs, and gives it the hosts that it names on
// every Listener that it is attached to, as far as no older Route has them.
func (b *build) placeStreams(r *boundRoute) {
	backends := b.resolveStreams(r)
	for _, l := range r.listeners {
		if !l.usable() {
			continue
		}
		stream := r.streamFor(l, b.showing(l.gateway, backends[l.streamUse()]))
		for i, h := range r.memo.parsed.hostnames {
			if intersects(l.hostname, h) && b.ownStream(r, l, i) {
				b.addStream(l, h, stream)
			}
		}
	}
}

// addStream puts a Stream under one host of a Listener.
func (b *build) addStream(l *listener, host string, stream *router.Stream) {
	b.plan.Attachments = append(b.plan.Attachments, Attachment{l.label, stream.Route})
	for _, socket := range l.sockets {
		b.streams = append(b.streams, router.StreamRules{
			Socket: socket, ListenerHost: l.hostname, Terminate: l.terminates(), Host: host, Stream: stream,
		})
	}
}

// ownStream gives a Route the i-th of its hosts on a Listener, and reports whether it was
// free. If not, an older Route has it.
func (b *build) ownStream(r *boundRoute, l *listener, i int) bool {
	host := r.memo.parsed.hostnames[i]
	key := hostKey{socket: l.label, listenerHost: l.hostname, host: host}
	owner, owned := b.streamOf[key]
	if !owned || owner == r.ref {
		b.streamOf[key] = r.ref
		return true
	}
	p := Problem{r.ref, fmt.Sprintf("spec.hostnames[%d]", i), reasonDuplicateMatch, fmt.Sprintf("%q at Listener %q of %s belongs to %s, which is older", host, l.Name, l.owner.ref, owner)}
	if host == "" {
		p.Field = "spec.parentRefs"
		p.Message = fmt.Sprintf("Listener %q of %s, which takes one %s, belongs to %s, which is older", l.Name, l.owner.ref, r.ref.Kind, owner)
	}
	b.shadows[r.ref] = append(b.shadows[r.ref], p)
	b.report(p)
	return false
}

// resolveStreams finds the Backends of all references, in order, for each use, and the
// ResolvedRefs condition: the first fault decides its reason.
func (b *build) resolveStreams(r *boundRoute) map[string][]*router.Backend {
	r.resolved = truth(gatewayv1.RouteConditionResolvedRefs, gatewayv1.RouteReasonResolvedRefs, "every reference resolves")
	refs := r.memo.parsed.refs
	byUse := make(map[string][]*router.Backend)
	if len(r.memo.streams) > len(r.listeners) { // some are of certificates or Listeners that are no more
		clear(r.memo.streams)
	}
	var all []*router.Backend
	for _, use := range r.streamUses() {
		backends := make([]*router.Backend, len(refs))
		for i := range refs {
			backend, why := b.resolveRefFor(use, &refs[i], r.ref)
			backends[i] = backend
			if backend != nil {
				continue
			}
			p := Problem{r.ref, refs[i].field, string(why.reason), why.message}
			b.report(p)
			if r.resolved.reason == string(gatewayv1.RouteReasonResolvedRefs) {
				r.resolved = fault(gatewayv1.RouteConditionResolvedRefs, p)
			}
		}
		byUse[use] = backends
		all = append(all, backends...)
	}
	if !slices.Equal(all, r.memo.backends) || r.memo.streams == nil {
		r.memo.backends, r.memo.streams = all, make(map[entry]*router.Stream)
	}
	return byUse
}

// streamFor makes the Stream of the Route at a Listener, or returns the one that was made
// before.
func (r *boundRoute) streamFor(l *listener, backends []*router.Backend) *router.Stream {
	if s := r.memo.streams[l.entry()]; s != nil {
		return s
	}
	s := &router.Stream{Listener: l.label, Route: r.memo.label}
	for i := range r.memo.parsed.rules {
		for _, p := range r.memo.parsed.rules[i].backends {
			s.Backends = append(s.Backends, router.WeightedBackend{Backend: backends[p.ref], Weight: p.weight})
		}
	}
	r.memo.streams[l.entry()] = s
	return s
}
