package gateway

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// parsedRoute is what an HTTPRoute says by itself, whatever it refers to.
type parsedRoute struct {
	hostnames []string // lower-case; one "" when the Route names none
	rules     []parsedRule
	fields    []string  // of every match of every rule in order: "spec.rules[0].matches[1]"
	invalid   []Problem // rules that cannot be served as written
	ignored   []string  // fields that have no effect yet
}

// parsedRule is one rule of a Route.
type parsedRule struct {
	matches []router.Match
	action  router.Action // without Backends
	refs    []parsedRef
	// invalid says that a value is not supported: what the matches cover is
	// answered with 500, so that nothing slips past a filter that was meant to stop it.
	invalid bool
}

// parsedRef is one BackendRef.
type parsedRef struct {
	field           string
	group, kind     string
	name            types.NamespacedName
	port            int32 // 0 when none is given
	weight          int
	requestHeaders  *router.HeaderFilter
	responseHeaders *router.HeaderFilter
}

// routeParser collects the mistakes of one Route while it is parsed.
type routeParser struct {
	route  *gatewayv1.HTTPRoute
	object ObjectRef
	parsed *parsedRoute
}

func parseHTTPRoute(r *gatewayv1.HTTPRoute) *parsedRoute {
	p := &routeParser{route: r, object: ObjectRef{Kind: kindHTTPRoute, Namespace: r.Namespace, Name: r.Name}, parsed: &parsedRoute{}}
	for _, h := range r.Spec.Hostnames {
		p.parsed.hostnames = append(p.parsed.hostnames, strings.ToLower(string(h)))
	}
	if len(p.parsed.hostnames) == 0 {
		p.parsed.hostnames = []string{""}
	}
	for i := range r.Spec.Rules {
		p.parsed.rules = append(p.parsed.rules, p.rule(fmt.Sprintf("spec.rules[%d]", i), &r.Spec.Rules[i]))
	}
	return p.parsed
}

// invalid records a value that is not supported.
func (p *routeParser) invalid(field, message string) {
	p.parsed.invalid = append(p.parsed.invalid, Problem{
		Object: p.object, Field: field, Reason: string(gatewayv1.RouteReasonUnsupportedValue), Message: message,
	})
}

func (p *routeParser) ignored(field string) {
	p.parsed.ignored = append(p.parsed.ignored, field)
}

func (p *routeParser) rule(field string, r *gatewayv1.HTTPRouteRule) parsedRule {
	before := len(p.parsed.invalid)
	var rule parsedRule
	for i := range r.Matches {
		f := fmt.Sprintf("%s.matches[%d]", field, i)
		if m, ok := p.match(f, &r.Matches[i]); ok {
			rule.matches = append(rule.matches, m)
			p.parsed.fields = append(p.parsed.fields, f)
		}
	}
	if len(r.Matches) == 0 {
		rule.matches = []router.Match{{Path: router.PathMatch{Kind: router.PathPrefix, Value: "/"}}}
		p.parsed.fields = append(p.parsed.fields, field)
	}
	for i := range r.Filters {
		p.filter(fmt.Sprintf("%s.filters[%d]", field, i), &r.Filters[i], &rule.action)
	}
	p.timeouts(field+".timeouts", r.Timeouts, &rule.action)
	if r.Retry != nil {
		p.ignored(field + ".retry")
	}
	if r.SessionPersistence != nil { //nolint:staticcheck // deprecated, and still served by the API
		p.ignored(field + ".sessionPersistence")
	}
	for i := range r.BackendRefs {
		rule.refs = append(rule.refs, p.backendRef(fmt.Sprintf("%s.backendRefs[%d]", field, i), &r.BackendRefs[i]))
	}
	rule.invalid = len(p.parsed.invalid) > before
	return rule
}

func (p *routeParser) match(field string, m *gatewayv1.HTTPRouteMatch) (router.Match, bool) {
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
			field: fmt.Sprintf("%s.headers[%d]", field, i), kind: valueOr(h.Type, string(gatewayv1.HeaderMatchExact)),
			name: string(h.Name), value: h.Value,
		}))
	}
	for i, q := range m.QueryParams {
		match.Query = append(match.Query, p.value(valueMatch{
			field: fmt.Sprintf("%s.queryParams[%d]", field, i), kind: valueOr(q.Type, string(gatewayv1.QueryParamMatchExact)),
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
	case string(gatewayv1.PathMatchExact):
		match.Kind = router.PathExact
	case string(gatewayv1.PathMatchRegularExpression):
		match.Kind = router.PathRegex
		match.Regexp = p.regexp(field+".value", match.Value)
	default:
		p.invalid(field+".type", fmt.Sprintf("%q is not supported; use Exact, PathPrefix or RegularExpression", *m.Type))
	}
	return match
}

// valueMatch is a header or query match as a Route writes it.
type valueMatch struct{ field, kind, name, value string }

func (p *routeParser) value(m valueMatch) router.ValueMatch {
	match := router.ValueMatch{Name: m.name, Value: m.value}
	switch m.kind {
	case string(gatewayv1.HeaderMatchExact):
	case string(gatewayv1.HeaderMatchRegularExpression):
		match.Regexp = p.regexp(m.field+".value", m.value)
	default:
		p.invalid(m.field+".type", fmt.Sprintf("%q is not supported; use Exact or RegularExpression", m.kind))
	}
	return match
}

// regexp compiles an RE2 expression that must match as a whole.
func (p *routeParser) regexp(field, expression string) *regexp.Regexp {
	// The expression is compiled by itself first, so that an error speaks of what the user wrote.
	if _, err := regexp.Compile(expression); err != nil {
		why := err.Error()
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			why = e.Code.String()
		}
		p.invalid(field, fmt.Sprintf("%q is not a valid regular expression (RE2): %s", expression, why))
		return nil
	}
	return regexp.MustCompile(`\A(?:` + expression + `)\z`)
}

func (p *routeParser) timeouts(field string, t *gatewayv1.HTTPRouteTimeouts, action *router.Action) {
	if t == nil {
		return
	}
	action.RequestTimeout = p.duration(field+".request", t.Request)
	action.BackendTimeout = p.duration(field+".backendRequest", t.BackendRequest)
}

// duration parses a GEP-2257 duration, which is a subset of Go's.
func (p *routeParser) duration(field string, d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	parsed, err := time.ParseDuration(string(*d))
	if err != nil || parsed < 0 {
		p.invalid(field, fmt.Sprintf("%q is not a duration; write it like 10s or 1h30m", *d))
	}
	return parsed
}

func (p *routeParser) backendRef(field string, r *gatewayv1.HTTPBackendRef) parsedRef {
	ref := parsedRef{
		field:  field,
		group:  valueOr(r.Group, groupCore),
		kind:   valueOr(r.Kind, kindService),
		name:   types.NamespacedName{Namespace: valueOr(r.Namespace, p.route.Namespace), Name: string(r.Name)},
		weight: 1,
	}
	if r.Port != nil {
		ref.port = *r.Port
	}
	if r.Weight != nil {
		ref.weight = int(*r.Weight)
	}
	var action router.Action
	for i := range r.Filters {
		f := fmt.Sprintf("%s.filters[%d]", field, i)
		switch r.Filters[i].Type {
		case gatewayv1.HTTPRouteFilterRequestHeaderModifier, gatewayv1.HTTPRouteFilterResponseHeaderModifier:
			p.filter(f, &r.Filters[i], &action)
		default:
			p.invalid(f+".type", fmt.Sprintf("%q is not supported on a backendRef by this version", r.Filters[i].Type))
		}
	}
	ref.requestHeaders, ref.responseHeaders = action.RequestHeaders, action.ResponseHeaders
	return ref
}
