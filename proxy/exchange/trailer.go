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

// unfitTrailers returns which trailers of a message are dropped: those that are not ordinary, that
// belong to its connection, or that a filter sets or removes.
func unfitTrailers(ofConnection func(name string) bool, filters ...*router.HeaderFilter) func(h1.Field) bool {
	return func(field h1.Field) bool {
		return classify(field.Name) != ordinary || ofConnection(field.Name) ||
			slices.ContainsFunc(filters, func(f *router.HeaderFilter) bool { return decides(f, field.Name) })
	}
}

// unfitRequest is unfitTrailers for the request, of which something goes upstream.
func (x *Exchange) unfitRequest() func(h1.Field) bool {
	return unfitTrailers(x.Request.HopByHop, x.Rule.Action.RequestHeaders, x.Chosen.RequestHeaders)
}

// unfitResponse is unfitTrailers for the response res.
func (x *Exchange) unfitResponse(res *h1.Response) func(h1.Field) bool {
	return unfitTrailers(res.HopByHop, x.Rule.Action.ResponseHeaders, x.Chosen.ResponseHeaders)
}

// DropRequestTrailers drops those trailers of the request that must not go upstream.
func (x *Exchange) DropRequestTrailers(body *h1.Body) {
	if x.Chosen != nil && len(body.Trailers()) > 0 { // else nothing goes upstream
		body.DropTrailers(x.unfitRequest())
	}
}

// DropResponseTrailers drops those trailers of the response that must not reach the
// client.
func (x *Exchange) DropResponseTrailers(body *h1.Body, res *h1.Response) {
	if len(body.Trailers()) > 0 {
		body.DropTrailers(x.unfitResponse(res))
	}
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
	return slices.DeleteFunc(fields, x.unfitRequest())
}

// ResponseTrailers returns those of the response's trailers that may reach the client,
// in the place of all.
func (x *Exchange) ResponseTrailers(fields []h1.Field, res *h1.Response) []h1.Field {
	if len(fields) == 0 {
		return fields
	}
	return slices.DeleteFunc(fields, x.unfitResponse(res))
}
