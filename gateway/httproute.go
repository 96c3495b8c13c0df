package gateway

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

func parseHTTPRoute(r *gatewayv1.HTTPRoute) *parsedRoute {
	p := newRouteParser(ObjectRef{Kind: kindHTTPRoute, Namespace: r.Namespace, Name: r.Name}, r.Spec.Hostnames)
	for i := range r.Spec.Rules {
		p.parsed.rules = append(p.parsed.rules, p.httpRule(fmt.Sprintf("spec.rules[%d]", i), &r.Spec.Rules[i]))
	}
	return p.parsed
}

func (p *routeParser) httpRule(field string, r *gatewayv1.HTTPRouteRule) parsedRule {
	before := len(p.parsed.invalid)
	rule := p.requestRule(field, requestRule{
		matches: len(r.Matches), match: func(i int, field string) (router.Match, bool) { return p.httpMatch(field, &r.Matches[i]) },
		filters: r.Filters, backends: r.BackendRefs,
		session: r.SessionPersistence, //nolint:staticcheck // deprecated, and still served by the API
	})
	if t := r.Timeouts; t != nil {
		rule.action.RequestTimeout = p.duration(field+".timeouts.request", t.Request)
		rule.action.BackendTimeout = p.duration(field+".timeouts.backendRequest", t.BackendRequest)
	}
	rule.action.Retry = p.retry(field+".retry", r.Retry)
	p.checkPrefixes(field, &rule)
	rule.invalid = len(p.parsed.invalid) > before
	return rule
}

// checkPrefixes refuses to replace the prefix that was matched where none is matched.
func (p *routeParser) checkPrefixes(field string, rule *parsedRule) {
	replaces := func(r *router.Rewrite) bool { return r != nil && r.Path.Kind == router.ReplacePrefix }
	wanted := replaces(rule.action.Rewrite) || rule.action.Redirect != nil && rule.action.Redirect.Path.Kind == router.ReplacePrefix
	for i := range rule.backends {
		wanted = wanted || replaces(rule.backends[i].rewrite)
	}
	for i := range rule.matches {
		if wanted && rule.matches[i].Path.Kind != router.PathPrefix {
			p.invalid(field+".matches", "ReplacePrefixMatch needs a path of type PathPrefix in every match of its rule")
			return
		}
	}
}

func (p *routeParser) httpMatch(field string, m *gatewayv1.HTTPRouteMatch) (router.Match, bool) {
	before := len(p.parsed.invalid)
	match := router.Match{Path: p.path(field+".path", m.Path)}
	if m.Method != nil {
		match.Method = string(*m.Method)
	}
	for i, h := range m.Headers {
		if repeatsName(m.Headers[:i], h.Name, func(h gatewayv1.HTTPHeaderMatch) gatewayv1.HTTPHeaderName { return h.Name }) {
			continue
		}
		match.Headers = append(match.Headers, p.value(valueMatch{
			field: fmt.Sprintf("%s.headers[%d]", field, i), kind: valueOr(h.Type, matchExact),
			name: string(h.Name), value: h.Value,
		}))
	}
	for i, q := range m.QueryParams {
		match.Query = append(match.Query, p.value(valueMatch{
			field: fmt.Sprintf("%s.queryParams[%d]", field, i), kind: valueOr(q.Type, matchExact),
			name: string(q.Name), value: q.Value,
		}))
	}
	return match, len(p.parsed.invalid) == before
}

func (p *routeParser) path(field string, m *gatewayv1.HTTPPathMatch) router.PathMatch {
	match := router.PathMatch{Kind: router.PathPrefix, Value: "/"}
	if m == nil {
		return match
	}
	match.Value = valueOr(m.Value, "/")
	switch valueOr(m.Type, string(gatewayv1.PathMatchPathPrefix)) {
	case string(gatewayv1.PathMatchPathPrefix):
	case matchExact:
		match.Kind = router.PathExact
	case matchRegularExpression:
		match.Kind = router.PathRegex
		match.Regexp = p.regexp(field+".value", match.Value)
	default:
		p.invalid(field+".type", fmt.Sprintf("%q is not supported; use Exact, PathPrefix or RegularExpression", *m.Type))
	}
	return match
}
