package gateway

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// requestRule is what the rules of HTTPRoutes and GRPCRoutes have in common, in the terms of
// HTTPRoutes.
type requestRule struct {
	matches  int // none means everything
	match    func(i int, field string) (router.Match, bool)
	filters  []gatewayv1.HTTPRouteFilter
	session  *gatewayv1.SessionPersistence
	backends []gatewayv1.HTTPBackendRef
}

// requestRule parses what is in common. Whether the rule is invalid is left to the caller.
func (p *routeParser) requestRule(field string, r requestRule) parsedRule {
	var rule parsedRule
	for i := range r.matches {
		f := fmt.Sprintf("%s.matches[%d]", field, i)
		if m, ok := r.match(i, f); ok {
			p.matching(&rule, f, m)
		}
	}
	if r.matches == 0 {
		p.matching(&rule, field, router.Match{Path: router.PathMatch{Kind: router.PathPrefix, Value: "/"}})
	}
	filters := p.filters(field, r.filters)
	rule.action, rule.mirrors, rule.auth = filters.action, filters.mirrors, filters.auth
	rule.action.Session = p.session(field+".sessionPersistence", r.session)
	for i := range r.backends {
		ref := &r.backends[i]
		rule.backends = append(rule.backends, p.backend(fmt.Sprintf("%s.backendRefs[%d]", field, i), &ref.BackendRef, ref.Filters))
	}
	return rule
}
