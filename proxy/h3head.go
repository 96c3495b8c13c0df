package proxy

import (
	"crypto/rand"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// A request of HTTP/3 is read as the request of HTTP/1.1 that means the same: it is
// written as one and parsed by the codec that reads all others, so that nothing is
// allowed here that is not allowed there, limits included. http3 has refused already
// what is malformed by RFC 9114 §4.2 and §4.3: names in upper case, fields of a
// connection, and pseudo-header fields that are missing, repeated or unknown.
//
// http3 hands fields out as a map: those of one name keep their order, while the names
// come in that of the alphabet.

// readHead fills d.request. The error is an *h1.Error, or why the client did not finish.
func (d *h3Downstream) readHead() error {
	framing, err := d.findFraming()
	if err != nil {
		return err
	}
	if !validHead(d.sent) {
		return &h1.Error{Status: http.StatusBadRequest, Reason: "field or target is malformed"}
	}
	d.headBuf = d.c.server.heads.get()
	head := appendHead((*d.headBuf)[:0], d.sent, framing)
	n, err := d.request.Parse(head, d.c.server.settings.Limits)
	if err != nil {
		return err
	}
	if n != len(head) {
		return &h1.Error{Status: http.StatusBadRequest, Reason: "head is malformed"}
	}
	if framing != h1.Chunked && d.request.Length == 0 {
		d.failed = io.EOF
	}
	return nil
}

// findFraming says what stands for the end of the body in HTTP/1.1. A body without a
// Content-Length ends with the stream. Whether there is one at all is not known before
// something follows the head: methods that usually have none are worth the wait, since
// many servers refuse such a body, and clients end the stream together with the head.
func (d *h3Downstream) findFraming() (h1.Framing, error) {
	if d.sent.ContentLength >= 0 {
		return h1.Length, nil
	}
	switch d.sent.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete:
	case http.MethodConnect:
		return h1.NoBody, nil
	default:
		return h1.Chunked, nil
	}
	d.readBy.exactly(time.Now().Add(d.c.server.settings.ReadHeaderTimeout))
	if err := d.read(); err != nil {
		return 0, err
	}
	switch {
	case d.n > 0:
		return h1.Chunked, nil
	case d.failed == io.EOF:
		return h1.NoBody, nil
	}
	return 0, d.failed
}

// validHead reports whether nothing in the head would read as something else in
// HTTP/1.1.
func validHead(r *http.Request) bool {
	if !h1.ValidName(r.Method) || !h1.ValidValue(r.RequestURI) || strings.ContainsAny(r.RequestURI, " \t") ||
		!h1.ValidValue(r.Host) {
		return false
	}
	for name, values := range r.Header {
		if !h1.ValidName(name) || h1.IsHopByHop(name) && name != "Te" || !all(values, h1.ValidValue) {
			return false
		}
	}
	return true
}

func all(values []string, holds func(string) bool) bool {
	return !slices.ContainsFunc(values, func(v string) bool { return !holds(v) })
}

// appendHead appends the request as HTTP/1.1.
func appendHead(dst []byte, r *http.Request, framing h1.Framing) []byte {
	tunnel := r.Method == http.MethodConnect && r.Proto != protocolHTTP3
	method := r.Method
	if tunnel {
		method = http.MethodGet
	}
	dst = h1.AppendRequestLine(dst, method, r.RequestURI)
	dst = h1.AppendField(dst, "Host", r.Host)
	for _, name := range sortedNames(r.Header) {
		if name == "Host" || name == "Content-Length" || tunnel && name == "Sec-Websocket-Key" {
			continue
		}
		for _, value := range r.Header[name] {
			dst = h1.AppendField(dst, name, value)
		}
	}
	if len(r.Trailer) > 0 { // which http3 has taken out of the fields
		dst = h1.AppendField(dst, "Trailer", strings.Join(sortedNames(r.Trailer), ", "))
	}
	switch framing {
	case h1.Length:
		dst = h1.AppendLength(dst, r.ContentLength)
	case h1.Chunked:
		dst = h1.AppendChunked(dst)
	}
	if tunnel {
		dst = appendOffer(dst, r.Proto)
	}
	return h1.AppendCRLF(dst)
}

// protocolHTTP3 is the Proto of a request that is no extended CONNECT.
const protocolHTTP3 = "HTTP/3.0"

// appendOffer appends the fields by which HTTP/1.1 asks for what an extended CONNECT asks
// for (RFC 9220). The key of a WebSocket is ours, as HTTP/3 has none.
func appendOffer(dst []byte, protocol string) []byte {
	dst = h1.AppendField(dst, "Connection", "Upgrade")
	dst = h1.AppendField(dst, "Upgrade", protocol)
	if strings.EqualFold(protocol, "websocket") {
		var key [16]byte
		_, _ = rand.Read(key[:]) // it never fails
		dst = h1.AppendField(dst, "Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
	}
	return dst
}

func sortedNames(fields http.Header) []string { return slices.Sorted(maps.Keys(fields)) }
