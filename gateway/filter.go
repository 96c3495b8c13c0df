package gateway

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// parsedFilters is what the filters of a rule or of a backendRef come to.
type parsedFilters struct {
	action  router.Action // without Mirrors and Auth
	mirrors []parsedMirror
	auth    *parsedAuth
}

func filterField(field string, i int) string { return fmt.Sprintf("%s.filters[%d]", field, i) }

// filters parses the filters of the rule or backendRef that field names.
func (p *routeParser) filters(field string, filters []gatewayv1.HTTPRouteFilter) parsedFilters {
	var parsed parsedFilters
	for i := range filters {
		if before := incompatibleFilter(filters[:i], filters[i].Type); before >= 0 {
			p.incompatible(filterField(field, i)+".type", fmt.Sprintf("%q cannot stand beside the %q of %s; remove one", filters[i].Type, filters[before].Type, filterField(field, before)))
			continue
		}
		p.filter(filterField(field, i), &filters[i], &parsed)
	}
	return parsed
}

// incompatibleFilter returns the index of an earlier filter that rules out one of type t,
// or -1: only mirrors may be repeated, and a redirect leaves nothing to be rewritten.
func incompatibleFilter(earlier []gatewayv1.HTTPRouteFilter, t gatewayv1.HTTPRouteFilterType) int {
	return slices.IndexFunc(earlier, func(e gatewayv1.HTTPRouteFilter) bool {
		switch t {
		case gatewayv1.HTTPRouteFilterRequestMirror, gatewayv1.HTTPRouteFilterExtensionRef:
			return false
		case gatewayv1.HTTPRouteFilterRequestRedirect:
			return e.Type == t || e.Type == gatewayv1.HTTPRouteFilterURLRewrite
		case gatewayv1.HTTPRouteFilterURLRewrite:
			return e.Type == t || e.Type == gatewayv1.HTTPRouteFilterRequestRedirect
		default:
			return e.Type == t
		}
	})
}

// filter adds one filter.
func (p *routeParser) filter(field string, f *gatewayv1.HTTPRouteFilter, parsed *parsedFilters) {
	action := &parsed.action
	switch {
	case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
		action.RequestHeaders = p.headerFilter(field+".requestHeaderModifier", f.RequestHeaderModifier)
	case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
		action.ResponseHeaders = p.headerFilter(field+".responseHeaderModifier", f.ResponseHeaderModifier)
	case f.Type == gatewayv1.HTTPRouteFilterRequestMirror && f.RequestMirror != nil:
		parsed.mirrors = p.mirror(field+".requestMirror", f.RequestMirror, parsed.mirrors)
	case f.Type == gatewayv1.HTTPRouteFilterRequestRedirect && f.RequestRedirect != nil:
		action.Redirect = p.redirect(field+".requestRedirect", f.RequestRedirect)
	case f.Type == gatewayv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil:
		action.Rewrite = &router.Rewrite{
			Hostname: valueOr(f.URLRewrite.Hostname, ""),
			Path:     p.pathModifier(field+".urlRewrite.path", f.URLRewrite.Path),
		}
	case f.Type == gatewayv1.HTTPRouteFilterCORS && f.CORS != nil:
		action.CORS = p.cors(field+".cors", f.CORS)
	case f.Type == gatewayv1.HTTPRouteFilterExternalAuth && f.ExternalAuth != nil:
		parsed.auth = p.externalAuth(field+".externalAuth", f.ExternalAuth)
		parsed.auth.auth.AfterHeaders = action.RequestHeaders != nil
	case f.Type == gatewayv1.HTTPRouteFilterExtensionRef && f.ExtensionRef != nil:
		p.invalid(field+".extensionRef", fmt.Sprintf("%s %q of group %q is not a filter of this controller; remove it", f.ExtensionRef.Kind, f.ExtensionRef.Name, f.ExtensionRef.Group))
	default:
		p.invalid(field+".type", fmt.Sprintf("%q is not supported by this version", f.Type))
	}
}

// mirror adds a RequestMirror to those of its rule or backendRef, unless it mirrors nothing.
func (p *routeParser) mirror(field string, f *gatewayv1.HTTPRequestMirrorFilter, mirrors []parsedMirror) []parsedMirror {
	m := parsedMirror{ref: p.ref(field+".backendRef", &f.BackendRef), numerator: 1, denominator: 1}
	switch {
	case f.Percent != nil && f.Fraction != nil:
		p.invalid(field, "percent and fraction cannot both be given; remove one")
	case f.Percent != nil:
		m.numerator, m.denominator = int(*f.Percent), 100
	case f.Fraction != nil:
		m.numerator, m.denominator = int(f.Fraction.Numerator), 100
		if d := f.Fraction.Denominator; d != nil {
			m.denominator = int(*d)
		}
	}
	if m.numerator < 0 || m.denominator < 1 || m.numerator > m.denominator {
		p.invalid(field, fmt.Sprintf("%d of %d requests cannot be mirrored; give a share between none and all of them", m.numerator, m.denominator))
	}
	if m.numerator == 0 {
		return mirrors
	}
	return append(mirrors, m)
}

func (p *routeParser) headerFilter(field string, f *gatewayv1.HTTPHeaderFilter) *router.HeaderFilter {
	return &router.HeaderFilter{
		Set:    p.headerFields(field+".set", f.Set),
		Add:    p.headerFields(field+".add", f.Add),
		Remove: f.Remove,
	}
}

// headerFields refuses what would end a header line early: the schema of HTTPRoute
// lets line breaks pass in a value.
func (p *routeParser) headerFields(field string, headers []gatewayv1.HTTPHeader) []router.Field {
	var fields []router.Field
	for i, h := range headers {
		if repeatsName(headers[:i], h.Name, func(h gatewayv1.HTTPHeader) gatewayv1.HTTPHeaderName { return h.Name }) {
			continue
		}
		if !httpguts.ValidHeaderFieldName(string(h.Name)) {
			p.invalid(fmt.Sprintf("%s[%d].name", field, i), fmt.Sprintf("%q is not a header name", h.Name))
		}
		if !httpguts.ValidHeaderFieldValue(h.Value) {
			p.invalid(fmt.Sprintf("%s[%d].value", field, i), fmt.Sprintf("%q has characters that a header value cannot have", h.Value))
		}
		fields = append(fields, router.Field{Name: string(h.Name), Value: h.Value})
	}
	return fields
}

// repeatsName reports whether an earlier entry has the same header name in another
// case: of equivalent names only the first counts (HTTPHeader.name).
func repeatsName[T any](earlier []T, name gatewayv1.HTTPHeaderName, nameOf func(T) gatewayv1.HTTPHeaderName) bool {
	return slices.ContainsFunc(earlier, func(e T) bool { return strings.EqualFold(string(nameOf(e)), string(name)) })
}
