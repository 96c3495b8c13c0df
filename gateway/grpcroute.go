package gateway

import (
	"fmt"
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

func parseGRPCRoute(r *gatewayv1.GRPCRoute) *parsedRoute {
	p := newRouteParser(ObjectRef{Kind: kindGRPCRoute, Namespace: r.Namespace, Name: r.Name}, r.Spec.Hostnames)
	for i := range r.Spec.Rules {
		p.parsed.rules = append(p.parsed.rules, p.grpcRule(fmt.Sprintf("spec.rules[%d]", i), &r.Spec.Rules[i]))
	}
	return p.parsed
}

func (p *routeParser) grpcRule(field string, r *gatewayv1.GRPCRouteRule) parsedRule {
	before := len(p.parsed.invalid)
	backends := make([]gatewayv1.HTTPBackendRef, len(r.BackendRefs))
	for i := range r.BackendRefs {
		backends[i] = gatewayv1.HTTPBackendRef{BackendRef: r.BackendRefs[i].BackendRef, Filters: httpFilters(r.BackendRefs[i].Filters)}
	}
	rule := p.requestRule(field, requestRule{
		matches: len(r.Matches), match: func(i int, field string) (router.Match, bool) { return p.grpcMatch(field, &r.Matches[i]) },
		filters: httpFilters(r.Filters), backends: backends,
		session: r.SessionPersistence, //nolint:staticcheck // deprecated, and still served by the API
	})
	rule.invalid = len(p.parsed.invalid) > before
	return rule
}

// httpFilters writes filters of a GRPCRoute as those of an HTTPRoute, which has them all.
func httpFilters(filters []gatewayv1.GRPCRouteFilter) []gatewayv1.HTTPRouteFilter {
	all := make([]gatewayv1.HTTPRouteFilter, len(filters))
	for i, f := range filters {
		all[i] = gatewayv1.HTTPRouteFilter{
			Type:                   gatewayv1.HTTPRouteFilterType(f.Type),
			RequestHeaderModifier:  f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier,
			RequestMirror:          f.RequestMirror,
			ExtensionRef:           f.ExtensionRef,
		}
	}
	return all
}

func (p *routeParser) grpcMatch(field string, m *gatewayv1.GRPCRouteMatch) (router.Match, bool) {
	before := len(p.parsed.invalid)
	match := router.Match{Path: p.grpcMethod(field+".method", m.Method)}
	for i, h := range m.Headers {
		if repeatsName(m.Headers[:i], gatewayv1.HTTPHeaderName(h.Name), func(h gatewayv1.GRPCHeaderMatch) gatewayv1.HTTPHeaderName { return gatewayv1.HTTPHeaderName(h.Name) }) {
			continue
		}
		match.Headers = append(match.Headers, p.value(valueMatch{
			field: fmt.Sprintf("%s.headers[%d]", field, i), kind: valueOr(h.Type, matchExact),
			name: string(h.Name), value: h.Value,
		}))
	}
	return match, len(p.parsed.invalid) == before
}

// grpcMethod returns the paths of calls: "/service/method" (gRPC over HTTP2, "Requests").
// GRPCRoute has the most characters of the service come first, and then those of the
// method. So a service without a method is a prefix, and a method of any service comes
// after every service. An expression for a service comes before the services that are
// named without a method; GRPCRoute leaves that open.
func (p *routeParser) grpcMethod(field string, m *gatewayv1.GRPCMethodMatch) router.PathMatch {
	if m == nil {
		return anyMethod()
	}
	service, method := valueOr(m.Service, ""), valueOr(m.Method, "")
	kind := valueOr(m.Type, matchExact)
	switch {
	case kind != matchExact && kind != matchRegularExpression:
		p.invalid(field+".type", fmt.Sprintf("%q is not supported; use Exact or RegularExpression", kind))
		return anyMethod()
	case service == "" && method == "":
		return anyMethod()
	case kind == matchRegularExpression:
		return p.grpcExpression(field, service, method)
	}
	p.grpcName(field+".service", service)
	p.grpcName(field+".method", method)
	switch {
	case method == "":
		return router.PathMatch{Kind: router.PathPrefix, Value: "/" + service}
	case service == "":
		return methodOfAnyService(regexp.QuoteMeta(method))
	default:
		return router.PathMatch{Kind: router.PathExact, Value: "/" + service + "/" + method}
	}
}

// grpcName refuses what would be more than one element of a path.
func (p *routeParser) grpcName(field, name string) {
	if strings.Contains(name, "/") {
		p.invalid(field, fmt.Sprintf("%q has a slash, which is what stands between the names of a service and a method", name))
	}
}

// grpcExpression matches a service, a method or both by expressions.
func (p *routeParser) grpcExpression(field, service, method string) router.PathMatch {
	ok := service == "" || p.isRegexp(field+".service", service)
	ok = (method == "" || p.isRegexp(field+".method", method)) && ok
	switch {
	case !ok:
		return anyMethod()
	case service == "":
		return methodOfAnyService(method)
	case method == "":
		method = "[^/]+"
	}
	expression := `/(?:` + service + `)/(?:` + method + `)`
	return router.PathMatch{Kind: router.PathRegex, Value: expression, Regexp: regexp.MustCompile(`\A` + expression + `\z`)}
}

func methodOfAnyService(expression string) router.PathMatch {
	return router.PathMatch{Kind: router.PathPrefix, Value: "/", Regexp: regexp.MustCompile(`\A/[^/]+/(?:` + expression + `)\z`)}
}

func anyMethod() router.PathMatch { return router.PathMatch{Kind: router.PathPrefix, Value: "/"} }
