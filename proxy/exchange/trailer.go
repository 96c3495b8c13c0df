package exchange

import (
	"slices"
	"strings"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// A trailer must not say what a field of the head could not: recipients may merge
// the two (RFC 9110 §6.5.1). So those go on that the head would pass as they came:
// ordinary ones that neither Connection nominates nor a filter sets or removes.

// DropRequestTrailers drops those trailers of the request that must not go upstream.
func (x *Exchange) DropRequestTrailers(body *h1.Body) {
	if x.Chosen == nil { // nothing goes upstream
		return
	}
	outer, inner := x.Rule.Action.RequestHeaders, x.Chosen.RequestHeaders
	body.DropTrailers(func(field h1.Field) bool {
		return classify(field.Name) != ordinary || x.Request.HopByHop(field.Name) ||
			decides(outer, field.Name) || decides(inner, field.Name)
	})
}

// DropResponseTrailers drops those trailers of the response that must not reach the
// client.
func (x *Exchange) DropResponseTrailers(body *h1.Body, res *h1.Response) {
	outer, inner := x.Rule.Action.ResponseHeaders, x.Chosen.ResponseHeaders
	body.DropTrailers(func(field h1.Field) bool {
		return classify(field.Name) != ordinary || res.HopByHop(field.Name) ||
			decides(outer, field.Name) || decides(inner, field.Name)
	})
}

// decides reports whether a filter sets or removes the field called name.
func decides(filter *router.HeaderFilter, name string) bool {
	if filter == nil {
		return false
	}
	return slices.ContainsFunc(filter.Set, func(set router.Field) bool { return strings.EqualFold(set.Name, name) }) ||
		slices.ContainsFunc(filter.Remove, func(removed string) bool { return strings.EqualFold(removed, name) })
}

// RequestTrailers returns those of the request's trailers that may go upstream, in the
// place of all.
func (x *Exchange) RequestTrailers(fields []h1.Field) []h1.Field {
	if x.Chosen == nil || len(fields) == 0 { // nothing goes upstream
		return fields
	}
	outer, inner := x.Rule.Action.RequestHeaders, x.Chosen.RequestHeaders
	return slices.DeleteFunc(fields, func(field h1.Field) bool {
		return classify(field.Name) != ordinary || x.Request.HopByHop(field.Name) ||
			decides(outer, field.Name) || decides(inner, field.Name)
	})
}

// ResponseTrailers returns those of the response's trailers that may reach the client,
// in the place of all.
func (x *Exchange) ResponseTrailers(fields []h1.Field, res *h1.Response) []h1.Field {
	if len(fields) == 0 {
		return fields
	}
	outer, inner := x.Rule.Action.ResponseHeaders, x.Chosen.ResponseHeaders
	return slices.DeleteFunc(fields, func(field h1.Field) bool {
		return classify(field.Name) != ordinary || res.HopByHop(field.Name) ||
			decides(outer, field.Name) || decides(inner, field.Name)
	})
}
