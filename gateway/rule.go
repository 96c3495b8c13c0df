package gateway

import (
	"crypto/tls"
	"net/http"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// entry is where requests come in that a Rule is made for.
type entry struct {
	label  string // router.Rule.Listener
	scheme string
	port   int
	// certificate is shown to endpoints: with another one the Backends are others.
	certificate *tls.Certificate
}

// entryRules are the Rules of a Route for an entry. A Route has few entries, mostly one.
type entryRules struct {
	entry entry
	rules []*router.Rule
}

// placeRules resolves the Route's BackendRefs, and puts its Rules under every
// host of every Listener that it is attached to.
func (b *build) placeRules(r *boundRoute) {
	parsed := r.memo.parsed
	backends := b.resolveRefs(r)
	if !slices.Equal(backends, r.memo.backends) {
		r.memo.backends, r.memo.rules = backends, nil
	}
	if len(r.memo.rules) > len(r.listeners) { // some are of certificates or Listeners that are no more
		r.memo.rules = nil
	}
	for _, l := range r.listeners {
		if !l.usable() {
			continue
		}
		rules := r.rulesFor(l.entry(), b.showing(l.gateway, backends))
		b.plan.Attachments = append(b.plan.Attachments, Attachment{l.label, r.memo.label})
		for _, socket := range l.sockets {
			for _, h := range parsed.hostnames {
				if intersects(l.hostname, h) {
					b.addRules(hostKey{socket: socket, listenerHost: l.hostname, host: h}, rules)
				}
			}
		}
	}
}

func (l *listener) entry() entry {
	e := entry{label: l.label, scheme: schemeHTTP, port: int(l.Port), certificate: l.gateway.certificate}
	if l.isTLS() {
		e.scheme = schemeHTTPS
	}
	return e
}

// resolveRefs finds the Backends of all references, in order, and the ResolvedRefs
// condition: the first fault decides its reason.
func (b *build) resolveRefs(r *boundRoute) []*router.Backend {
	r.resolved = truth(gatewayv1.RouteConditionResolvedRefs, gatewayv1.RouteReasonResolvedRefs, "every reference resolves")
	refs := r.memo.parsed.refs
	backends := make([]*router.Backend, len(refs))
	for i := range refs {
		backend, why := b.resolveRef(&refs[i], r.ref)
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
	return backends
}

// rulesFor makes the Rules of the Route for requests that come in by an entry, or
// returns those that were made before: the same pointers tell the router that
// nothing changed.
func (r *boundRoute) rulesFor(e entry, backends []*router.Backend) []*router.Rule {
	if known := slices.IndexFunc(r.memo.rules, func(k entryRules) bool { return k.entry == e }); known >= 0 {
		return r.memo.rules[known].rules
	}
	var rules []*router.Rule
	order := router.Order{Created: r.created, Name: r.ref.Namespace + "/" + r.ref.Name}
	for i := range r.memo.parsed.rules {
		p := &r.memo.parsed.rules[i]
		action := p.actionOn(e, backends)
		for _, m := range p.matches {
			rules = append(rules, router.NewRule(router.Rule{Listener: e.label, Route: r.memo.label, Match: m, Order: order, Action: action}))
			order.Index++
		}
	}
	r.memo.rules = append(r.memo.rules, entryRules{e, rules})
	return rules
}

// actionOn completes a rule's action with its Backends and its entry.
func (p *parsedRule) actionOn(e entry, backends []*router.Backend) router.Action {
	if p.invalid {
		return router.Action{Status: http.StatusInternalServerError}
	}
	action := p.action
	if action.Redirect != nil {
		action.Redirect = redirectOn(*action.Redirect, e)
	}
	action.Mirrors = mirrorsTo(backends, p.mirrors)
	if p.auth != nil {
		action.Auth = p.auth.by(backends)
	}
	for i := range p.backends {
		b := &p.backends[i]
		action.Backends = append(action.Backends, router.WeightedBackend{
			Backend: backends[b.ref], Weight: b.weight, RequestHeaders: b.requestHeaders, ResponseHeaders: b.responseHeaders,
			Rewrite: b.rewrite, Mirrors: mirrorsTo(backends, b.mirrors),
		})
	}
	return action
}

// mirrorsTo completes mirrors with their Backends, and leaves out those without one:
// HTTPRequestMirrorFilter wants these dropped, and the request served all the same.
func mirrorsTo(backends []*router.Backend, mirrors []parsedMirror) []router.Mirror {
	var all []router.Mirror
	for _, m := range mirrors {
		if backends[m.ref] != nil {
			all = append(all, router.Mirror{Backend: backends[m.ref], Numerator: m.numerator, Denominator: m.denominator})
		}
	}
	return all
}
