package proxy

import (
	"net/http"
	"strings"
	"unsafe"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// appendRequest appends the head that goes upstream.
func (f *flight) appendRequest(dst []byte) []byte {
	r := f.request
	dst = h1.AppendRequestLine(dst, r.Method, f.targetUpstream())
	dst = f.appendHost(dst)
	// Without filters the fields are fit to send, and the first is Host.
	checked := f.rule.Action.RequestHeaders == nil && f.chosen.RequestHeaders == nil
	for i := range f.fields {
		field := &f.fields[i]
		if checked && i > 0 || !checked && forwardable(field) {
			dst = h1.AppendField(dst, field.Name, field.Value)
		}
	}
	switch r.Framing {
	case h1.NoBody:
		if expectsBody(r.Method) { // some servers answer 411 without
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
	case f.wantsTrailers():
		// The one TE that reaches through us (RFC 9110 §10.1.4).
		dst = h1.AppendField(dst, "Connection", "TE")
		dst = h1.AppendField(dst, "TE", "trailers")
	}
	return h1.AppendCRLF(dst)
}

// expectsBody reports whether a method defines a meaning for a body, so that a
// sender says the length even of none (RFC 9110 §8.6).
func expectsBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// forwardable refuses what a filter must not write: fields that frame or steer
// the connection, Host (see appendHost) and what is no field at all.
func forwardable(field *router.Field) bool {
	if h1.IsHopByHop(field.Name) || !h1.ValidName(field.Name) || !h1.ValidValue(field.Value) {
		return false
	}
	kind := classify(field.Name)
	return kind != isHost && kind != isLength
}

// appendHost writes the one Host. A filter may have set it; a value that no host
// can have, such as the list that an Add makes, leaves it as it was.
func (f *flight) appendHost(dst []byte) []byte {
	host, _ := router.Lookup(f.fields, "Host")
	if _, ok := router.NormalizeHost(host); !ok || strings.Contains(host, ",") {
		host = f.request.Host
	}
	if host == "" { // HTTP/1.0 may have none, but 1.1 must
		dst = append(dst, "Host: "...)
		dst = f.up.endpoint.Addr.AppendTo(dst)
		return h1.AppendCRLF(dst)
	}
	return h1.AppendField(dst, "Host", host)
}

// targetUpstream returns the request target in origin-form. It is built from the
// normalised path, so that the upstream cannot see another path than the one
// that was matched.
func (f *flight) targetUpstream() string {
	r := f.request
	if r.Path == "*" {
		return "*"
	}
	path := f.match.Path
	if w := f.rule.Action.Rewrite; w != nil {
		path = w.Path.Apply(path, f.rule.Match.Path)
	}
	if path == r.Path && strings.HasPrefix(r.Target, "/") {
		return r.Target
	}
	f.target = append(f.target[:0], path...)
	if question := len(r.Target) - len(r.Query) - 1; question >= 0 && r.Target[question] == '?' {
		f.target = append(f.target, r.Target[question:]...)
	}
	return unsafe.String(unsafe.SliceData(f.target), len(f.target))
}

// wantsTrailers reports whether the client's TE names trailers.
func (f *flight) wantsTrailers() bool {
	te, ok := router.Lookup(f.request.Fields, "TE")
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
