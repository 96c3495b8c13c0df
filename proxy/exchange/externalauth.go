package exchange

import (
	"net/http"
	"slices"
	"strings"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// An authorization server is asked about a request after its Rule is known, or before
// that for all requests of a Listener; see [router.ExternalAuth]. It may hand fields to
// the upstream, and to the match if it is asked before. What it does not consent to ends
// there, with the server's own response.

// Refusal is the response of an authorization server that does not consent, without its
// status.
type Refusal struct {
	Fields []router.Field // fit to be sent, but for those of framing
	Body   []byte
}

// granted is what authorization servers want to be upstream.
type granted struct {
	listener, rule grant
	response       []router.Field // comes on top of that of the upstream
}

// grant holds fields that take the place of all others of their names. One whose value is
// withheld only takes them away.
type grant []router.Field

// withheld stands for no value: a field cannot have it.
const withheld = "\x00"

// replace puts the fields of g in the place of those of the same names.
func (g grant) replace(fields []router.Field) []router.Field {
	if len(g) == 0 {
		return fields
	}
	fields = slices.DeleteFunc(fields, func(f router.Field) bool {
		return slices.ContainsFunc(g, func(o router.Field) bool { return strings.EqualFold(o.Name, f.Name) })
	})
	for _, f := range g {
		if f.Value != withheld {
			fields = append(fields, f)
		}
	}
	return fields
}

// pass asks all authorization servers of the Listener.
func (x *Exchange) pass(table *router.Table) (refusal Answer, granted bool) {
	auths := table.Auths(x.Client.Socket, x.Match.Host)
	if len(auths) > 0 && x.isChallenge(table) {
		return Answer{}, true
	}
	for _, auth := range auths {
		if refusal, granted = x.ask(auth); !granted {
			return refusal, false
		}
	}
	if len(auths) > 0 {
		x.Match.Fields = x.believed()
	}
	return Answer{}, true
}

// isChallenge reports whether we answer by ourselves, as we do to a CA that checks whose a
// hostname is: it could never get a consent (RFC 8555 §8.3).
func (x *Exchange) isChallenge(table *router.Table) bool {
	rule := table.Match(x.Client.Socket, &x.Match)
	return rule != nil && rule.Action.Body != ""
}

// ask asks one, if there is one.
func (x *Exchange) ask(auth *router.ExternalAuth) (refusal Answer, granted bool) {
	switch {
	case auth == nil:
		return Answer{}, true
	case x.Ask == nil:
		x.Waits = true
		return Answer{}, false
	case auth.Backend == nil:
		return CauseNoBackend.Answer(), false
	}
	return x.Ask(auth)
}

// Question makes x the request that asks about the request of from over HTTP, which has a
// body of the given size: that of the request with the server's prefix before its path,
// and with the fields that the server is to be told. It borrows from, which is not to
// change meanwhile.
func (x *Exchange) Question(from *Exchange, auth *router.ExternalAuth, body int) {
	x.question(from, auth)
	x.Request.Method, x.Request.Length = from.Request.Method, int64(body)
	path := auth.Path + from.Match.Path
	x.Request.Path, x.Request.Target, x.Match.Path = path, path, path
	if query := from.Match.Query; query != "" {
		x.Request.Query = query
		x.Request.Target += "?" + query
	}
	x.Request.Host = from.Request.Host
	x.fields = append(x.fields[:0], router.Field{Name: "Host", Value: from.Request.Host})
	for _, f := range from.offered(auth) {
		if strings.EqualFold(f.Name, "Authorization") || slices.ContainsFunc(auth.RequestFields, func(n string) bool { return strings.EqualFold(n, f.Name) }) {
			x.fields = append(x.fields, f)
		}
	}
	if body > 0 {
		if kind, ok := router.Lookup(from.Request.Fields, "Content-Type"); ok && !slices.ContainsFunc(x.fields, named("Content-Type")) {
			x.fields = append(x.fields, router.Field{Name: "Content-Type", Value: kind})
		}
	}
}

// question is what questions have in common.
func (x *Exchange) question(from *Exchange, auth *router.ExternalAuth) {
	x.Repeatable = true
	x.Rule, x.Chosen = &router.Rule{}, &router.WeightedBackend{Backend: auth.Backend}
	x.Request = &h1.Request{Minor: 1, Framing: h1.Length, KeepAlive: true}
	x.Match = router.Request{}
	x.Report.Start = from.Report.Start
}

// offered are the fields that an authorization server may be told of: those that would go
// upstream, but for what it does itself. They are valid until the next call of a method.
func (x *Exchange) offered(auth *router.ExternalAuth) []router.Field {
	fields := x.collect(nil)
	if x.Rule != nil && auth.AfterHeaders {
		fields = x.Rule.Action.RequestHeaders.Apply(fields)
	}
	return slices.DeleteFunc(fields, func(f router.Field) bool { return !forwardable(&f) })
}

// Grant notes what the server that has consented wants to be upstream: fields of its
// response, which have to stay valid.
func (x *Exchange) Grant(auth *router.ExternalAuth, res []router.Field) {
	var g grant
	for _, name := range auth.ResponseFields {
		if field := (router.Field{Name: name, Value: withheld}); forwardable(&router.Field{Name: name}) {
			g = append(g, field)
		}
	}
	for i := range res {
		f := &res[i]
		switch {
		case len(auth.ResponseFields) == 0 && aboutContent(f.Name):
		case len(auth.ResponseFields) == 0:
			g = append(g, *f)
		case slices.ContainsFunc(auth.ResponseFields, func(n string) bool { return strings.EqualFold(n, f.Name) }):
			g = append(g, *f)
		}
	}
	x.grant(g)
}

// grant adds to what is granted.
func (x *Exchange) grant(g grant) {
	to := &x.granted.rule
	if x.Rule == nil {
		to = &x.granted.listener
	}
	kept := slices.DeleteFunc(slices.Clone(*to), func(f router.Field) bool { return slices.ContainsFunc(g, named(f.Name)) })
	*to = append(kept, g...)
}

func named(name string) func(router.Field) bool {
	return func(f router.Field) bool { return strings.EqualFold(f.Name, name) }
}

// aboutContent reports whether a field says something of the content that comes with it
// (RFC 9110 §8): a request has content of its own.
func aboutContent(name string) bool {
	const prefix = "content-"
	return len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// EndToEnd returns a copy of the fields of a response that are for whoever it is passed to:
// all but those of the connection and those of framing.
func EndToEnd(res *h1.Response) []router.Field {
	var fields []router.Field
	for i := range res.Fields {
		if f := &res.Fields[i]; !res.HopByHop(f.Name) && forwardable(f) {
			fields = append(fields, *f)
		}
	}
	return h1.CloneFields(fields)
}

// Refuse returns the answer to a request that an authorization server does not consent to:
// its response. One that would look like a success is 403. What is passed has to stay
// valid.
func Refuse(status int, fields []router.Field, body []byte) Answer {
	if status < http.StatusMultipleChoices {
		return Answer{Status: http.StatusForbidden, Cause: CauseDenied}
	}
	if !hasContent(status) {
		body = nil
	}
	fields = slices.DeleteFunc(fields, isDate)
	return Answer{Status: status, Cause: CauseDenied, Refusal: &Refusal{fields, body}}
}
