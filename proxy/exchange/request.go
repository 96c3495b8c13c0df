package exchange

import (
	"net/http"
	"net/netip"
	"strings"
	"unsafe"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// AppendRequest appends the head that goes to endpoint over HTTP/1.
func (x *Exchange) AppendRequest(dst []byte, endpoint netip.AddrPort) []byte {
	r := x.Request
	dst = h1.AppendRequestLine(dst, r.Method, x.TargetUpstream())
	dst = x.appendHost(dst, endpoint)
	// Without filters the fields are fit to send, and the first is Host.
	checked := x.unfiltered()
	for i := range x.fields {
		field := &x.fields[i]
		if checked && i > 0 || !checked && forwardable(field) {
			dst = h1.AppendField(dst, field.Name, field.Value)
		}
	}
	switch r.Framing {
	case h1.NoBody:
		if ExpectsBody(r.Method) { // some servers answer 411 without
			dst = h1.AppendLength(dst, 0)
		}
	case h1.Length:
		dst = h1.AppendLength(dst, r.Length)
	case h1.Chunked:
		dst = h1.AppendChunked(dst)
	}
	switch {
	case r.Upgrade != "":
		dst = h1.AppendField(dst, "Connection", "Upgrade")
		dst = h1.AppendField(dst, "Upgrade", r.Upgrade)
	case x.wantsTrailers():
		// The one TE that reaches through us (RFC 9110 §10.1.4).
		dst = h1.AppendField(dst, "Connection", "TE")
		dst = h1.AppendField(dst, "TE", "trailers")
	}
	return h1.AppendCRLF(dst)
}

// unfiltered reports whether the request goes upstream without a filter's changes.
func (x *Exchange) unfiltered() bool {
	return x.Rule.Action.RequestHeaders == nil && x.Chosen.RequestHeaders == nil
}

// RequestFields appends the fields that go upstream over HTTP/2: all but Host, and with
// the one TE that reaches through us (RFC 9110 §10.1.4).
func (x *Exchange) RequestFields(dst []router.Field) []router.Field {
	checked := x.unfiltered()
	for i := range x.fields {
		if checked && i > 0 || !checked && forwardable(&x.fields[i]) {
			dst = append(dst, x.fields[i])
		}
	}
	if x.web != NoGRPCWeb || x.wantsTrailers() {
		dst = append(dst, router.Field{Name: "te", Value: "trailers"})
	}
	return dst
}

// ExpectsBody reports whether a method defines a meaning for a body, so that a
// sender says the length even of none (RFC 9110 §8.6).
func ExpectsBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// forwardable refuses what a filter must not write: fields that frame or steer
// the connection, Host (see appendHost) and what is no field at all.
func forwardable(field *router.Field) bool {
	if h1.IsHopByHop(field.Name) || !h1.ValidName(field.Name) || !h1.ValidValue(field.Value) {
		return false
	}
	kind := classify(field.Name)
	return kind != isHost && kind != isFraming
}

// appendHost writes the one Host.
func (x *Exchange) appendHost(dst []byte, endpoint netip.AddrPort) []byte {
	host := x.host()
	if host == "" { // HTTP/1.0 may have none, but 1.1 must
		dst = append(dst, "Host: "...)
		dst = endpoint.AppendTo(dst)
		return h1.AppendCRLF(dst)
	}
	return h1.AppendField(dst, "Host", host)
}

// Authority is what the request to endpoint has as :authority over HTTP/2.
func (x *Exchange) Authority(endpoint netip.AddrPort) string {
	host := x.host()
	if host == "" {
		return endpoint.String()
	}
	return host
}

// host is the one Host that goes upstream, "" when there is none. A filter may have set
// it; a value that no host can have, such as the list that an Add makes, leaves it as it
// was.
func (x *Exchange) host() string {
	host, _ := router.Lookup(x.fields, "Host")
	if _, ok := router.NormalizeHost(host); !ok || strings.Contains(host, ",") {
		return x.Request.Host
	}
	return host
}

// TargetUpstream returns the request target in origin-form. It is built from the
// normalised path, so that the upstream cannot see another path than the one
// that was matched.
func (x *Exchange) TargetUpstream() string {
	r := x.Request
	if r.Path == "*" {
		return "*"
	}
	path := x.Match.Path
	if w := x.Rule.Action.RewriteOf(x.Chosen); w != nil {
		path = w.Path.Apply(path, x.Rule.Match.Path)
	}
	if path == r.Path && strings.HasPrefix(r.Target, "/") {
		return r.Target
	}
	x.target = append(x.target[:0], path...)
	if question := len(r.Target) - len(r.Query) - 1; question >= 0 && r.Target[question] == '?' {
		x.target = append(x.target, r.Target[question:]...)
	}
	return unsafe.String(unsafe.SliceData(x.target), len(x.target))
}

// wantsTrailers reports whether the client's TE names trailers.
func (x *Exchange) wantsTrailers() bool {
	te, ok := router.Lookup(x.Request.Fields, "TE")
	if !ok {
		return false
	}
	for coding := range strings.SplitSeq(te, ",") {
		if strings.EqualFold(strings.TrimSpace(coding), "trailers") {
			return true
		}
	}
	return false
}
