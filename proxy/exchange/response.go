package exchange

import (
	"iter"
	"net/http"
	"slices"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// Framing chooses how an HTTP/1 client learns where the response res ends. To
// HTTP/1.0 a body of unknown length lasts until the connection closes.
func (x *Exchange) Framing(res *h1.Response) h1.Framing {
	switch {
	case res.Framing == h1.NoBody, res.Framing == h1.Length:
		return res.Framing
	case x.Request.Minor == 0:
		x.Keep = false
		return h1.UntilClose
	default:
		return h1.Chunked
	}
}

// AppendResponse appends the head of the final response res for an HTTP/1 client.
func (x *Exchange) AppendResponse(dst []byte, res *h1.Response, framing h1.Framing, now time.Time) []byte {
	dst = h1.AppendStatusLine(dst, res.Status, res.Reason)
	fields := x.ResponseFields(res, now)
	for i := range fields {
		dst = h1.AppendField(dst, fields[i].Name, fields[i].Value)
	}
	switch framing {
	case h1.Length:
		dst = h1.AppendLength(dst, res.Length)
	case h1.Chunked:
		dst = h1.AppendChunked(dst)
	}
	dst = x.appendPersistence(dst)
	return h1.AppendCRLF(dst)
}

// ResponseFields returns what the client is told in the head of the final response
// res, but for what frames a body: the upstream's fields without those of the
// connection, changed by the filters, and a Date. They are valid until the next
// call of a method.
func (x *Exchange) ResponseFields(res *h1.Response, now time.Time) []router.Field {
	x.sized = res.Framing == h1.Length
	fields := x.filtered(res)
	if !slices.ContainsFunc(fields, isDate) { // RFC 9110 §6.6.1
		fields = append(fields, router.Field{Name: "Date", Value: x.Dates.At(now)})
	}
	if res.Framing == h1.NoBody && res.Status != http.StatusNoContent {
		// Says what a GET would have brought (RFC 9110 §8.6).
		if size, ok := router.Lookup(res.Fields, "Content-Length"); ok {
			fields = append(fields, router.Field{Name: "Content-Length", Value: size})
		}
	}
	fields = x.appendSession(fields, now)
	fields = x.appendAltSvc(fields)
	x.fields = fields
	return fields
}

func isDate(field router.Field) bool {
	return len(field.Name) == 4 && folds(field.Name, "date")
}

// filtered returns the upstream's fields without those of the connection, changed
// by the filters.
func (x *Exchange) filtered(res *h1.Response) []router.Field {
	fields := x.fields[:0]
	for i := range res.Fields {
		field := &res.Fields[i]
		if !res.HopByHop(field.Name) && classify(field.Name) != isFraming {
			fields = append(fields, *field)
		}
	}
	if c := x.Rule.Action.CORS; c != nil {
		fields = x.replaceCORS(fields, c)
	}
	fields = append(fields, x.granted.response...)
	inner, outer := x.Chosen.ResponseHeaders, x.Rule.Action.ResponseHeaders
	if inner == nil && outer == nil {
		return fields
	}
	fields = outer.Apply(inner.Apply(fields))
	return slices.DeleteFunc(fields, func(field router.Field) bool { return !forwardable(&field) })
}

// AppendSwitch appends the head of the 101 response res for the client (RFC 9110
// §7.8).
func (x *Exchange) AppendSwitch(dst []byte, res *h1.Response) []byte {
	fields := x.SwitchFields(res)
	dst = h1.AppendStatusLine(dst, res.Status, res.Reason)
	for i := range fields {
		dst = h1.AppendField(dst, fields[i].Name, fields[i].Value)
	}
	dst = h1.AppendField(dst, "Connection", "Upgrade")
	dst = h1.AppendField(dst, "Upgrade", res.Upgrade)
	return h1.AppendCRLF(dst)
}

// SwitchFields returns what the client is told in the head of the 101 response res, but
// for Connection and Upgrade: the upstream's fields without those of the connection,
// changed by the filters. They are valid until the next call of a method.
func (x *Exchange) SwitchFields(res *h1.Response) []router.Field {
	fields := x.filtered(res)
	fields = slices.DeleteFunc(fields, func(field router.Field) bool { return !forwardable(&field) })
	x.fields = x.appendSession(fields, x.Report.Start)
	return x.fields
}

// AppendInterim appends the head of the 1xx response res for an HTTP/1.1 client.
func AppendInterim(dst []byte, res *h1.Response) []byte {
	dst = h1.AppendStatusLine(dst, res.Status, res.Reason)
	for field := range InterimFields(res) {
		dst = h1.AppendField(dst, field.Name, field.Value)
	}
	return h1.AppendCRLF(dst)
}

// InterimFields are what the client is told in the head of the 1xx response res: the
// upstream's fields without those of the connection.
func InterimFields(res *h1.Response) iter.Seq[*router.Field] {
	return func(yield func(*router.Field) bool) {
		for i := range res.Fields {
			field := &res.Fields[i]
			if !res.HopByHop(field.Name) && classify(field.Name) != isFraming && !yield(field) {
				return
			}
		}
	}
}
