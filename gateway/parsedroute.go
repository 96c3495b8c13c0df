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

// parsedRoute is what a Route says by itself, whatever it refers to.
type parsedRoute struct {
	hostnames []string // lower-case; one "" when the Route names none
	rules     []parsedRule
	refs      []parsedRef // of all rules: those of mirrors and of backendRefs
	fields    []string    // of every match of every rule in order: "spec.rules[0].matches[1]"
	invalid   []Problem   // rules that cannot be served as written
}

// parsedRule is one rule of a Route.
type parsedRule struct {
	matches  []router.Match
	action   router.Action // without Backends and Mirrors
	backends []parsedBackend
	mirrors  []parsedMirror
	auth     *parsedAuth // nil for none
	// invalid says that a value is not supported: what the matches cover is
	// answered with 500, so that nothing slips past a filter that was meant to stop it.
	invalid bool
}

// parsedRef is a reference to a Backend.
type parsedRef struct {
	field       string
	group, kind string
	name        types.NamespacedName
	port        int32  // 0 when none is given
	use         string // of BackendKey; "" is what Routes of the kind use
}

// parsedBackend is one entry of backendRefs.
type parsedBackend struct {
	ref             int // in parsedRoute.refs
	weight          int
	requestHeaders  *router.HeaderFilter
	responseHeaders *router.HeaderFilter
	rewrite         *router.Rewrite
	mirrors         []parsedMirror
}

// parsedMirror is one RequestMirror.
type parsedMirror struct {
	ref                    int // in parsedRoute.refs
	numerator, denominator int
}

// routeParser collects the mistakes of one Route while it is parsed.
type routeParser struct {
	object ObjectRef
	parsed *parsedRoute
}

func newRouteParser(object ObjectRef, hostnames []gatewayv1.Hostname) *routeParser {
	p := &routeParser{object: object, parsed: &parsedRoute{}}
	for _, h := range hostnames {
		p.parsed.hostnames = append(p.parsed.hostnames, strings.ToLower(string(h)))
	}
	if len(p.parsed.hostnames) == 0 {
		p.parsed.hostnames = []string{""}
	}
	return p
}

// invalid records a value that is not supported.
func (p *routeParser) invalid(field, message string) {
	p.reject(Problem{Field: field, Reason: string(gatewayv1.RouteReasonUnsupportedValue), Message: message})
}

// incompatible records a filter that cannot stand beside what else is there.
func (p *routeParser) incompatible(field, message string) {
	p.reject(Problem{Field: field, Reason: string(gatewayv1.RouteReasonIncompatibleFilters), Message: message})
}

func (p *routeParser) reject(problem Problem) {
	problem.Object = p.object
	p.parsed.invalid = append(p.parsed.invalid, problem)
}

// matching records the field of a match that stands.
func (p *routeParser) matching(rule *parsedRule, field string, m router.Match) {
	rule.matches = append(rule.matches, m)
	p.parsed.fields = append(p.parsed.fields, field)
}

// valueMatch is a header or query match as a Route writes it.
type valueMatch struct{ field, kind, name, value string }

func (p *routeParser) value(m valueMatch) router.ValueMatch {
	match := router.ValueMatch{Name: m.name, Value: m.value}
	switch m.kind {
	case matchExact:
	case matchRegularExpression:
		match.Regexp = p.regexp(m.field+".value", m.value)
	default:
		p.invalid(m.field+".type", fmt.Sprintf("%q is not supported; use Exact or RegularExpression", m.kind))
	}
	return match
}

// regexp compiles an RE2 expression that must match as a whole.
func (p *routeParser) regexp(field, expression string) *regexp.Regexp {
	if !p.isRegexp(field, expression) {
		return nil
	}
	return regexp.MustCompile(`\A(?:` + expression + `)\z`)
}

// isRegexp checks an expression by itself, so that an error speaks of what the user wrote.
func (p *routeParser) isRegexp(field, expression string) bool {
	_, err := regexp.Compile(expression)
	if err == nil {
		return true
	}
	why := err.Error()
	if e, ok := errors.AsType[*syntax.Error](err); ok {
		why = e.Code.String()
	}
	p.invalid(field, fmt.Sprintf("%q is not a valid regular expression (RE2): %s", expression, why))
	return false
}

// duration parses a GEP-2257 duration, which is a subset of Go's; none is 0.
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

// ref adds a reference, and returns its place.
func (p *routeParser) ref(field string, r *gatewayv1.BackendObjectReference) int {
	ref := parsedRef{
		field: field,
		group: valueOr(r.Group, groupCore),
		kind:  valueOr(r.Kind, kindService),
		name:  types.NamespacedName{Namespace: valueOr(r.Namespace, p.object.Namespace), Name: string(r.Name)},
	}
	if r.Port != nil {
		ref.port = *r.Port
	}
	p.parsed.refs = append(p.parsed.refs, ref)
	return len(p.parsed.refs) - 1
}

// backend parses one entry of backendRefs with its filters.
func (p *routeParser) backend(field string, r *gatewayv1.BackendRef, filters []gatewayv1.HTTPRouteFilter) parsedBackend {
	b := parsedBackend{ref: p.ref(field, &r.BackendObjectReference), weight: 1}
	if r.Weight != nil {
		b.weight = int(*r.Weight)
	}
	for i := range filters {
		switch t := filters[i].Type; t {
		case gatewayv1.HTTPRouteFilterRequestRedirect, gatewayv1.HTTPRouteFilterCORS, gatewayv1.HTTPRouteFilterExternalAuth:
			p.invalid(filterField(field, i)+".type", fmt.Sprintf("%q is not supported on a backendRef; move it to the filters of the rule", t))
			return b
		}
	}
	f := p.filters(field, filters)
	b.requestHeaders, b.responseHeaders = f.action.RequestHeaders, f.action.ResponseHeaders
	b.rewrite, b.mirrors = f.action.Rewrite, f.mirrors
	return b
}

// What the kinds of matches are called, of headers, query parameters, paths and methods alike.
const (
	matchExact             = string(gatewayv1.HeaderMatchExact)
	matchRegularExpression = string(gatewayv1.HeaderMatchRegularExpression)
)
