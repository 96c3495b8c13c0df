package proxy

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// A request that a library has read is taken as the request of HTTP/1.1 that means the same: it is
// written as one and parsed by the codec that reads all others, so that nothing is
// allowed here that is not allowed there, limits included. Of HTTP/3, http3 has refused
// already what is malformed by RFC 9114 §4.2 and §4.3: names in upper case, fields of a
// connection, and pseudo-header fields that are missing, repeated or unknown.
//
// Fields come as a map: those of one name keep their order, while the names
// come in that of the alphabet.

// readHead fills d.request. The error is an *h1.Error, or why the client did not finish.
func (d *servedDownstream) readHead() error {
	framing, err := d.findFraming()
	if err != nil {
		return err
	}
	if !validHead(d.sent) {
		return &h1.Error{Status: http.StatusBadRequest, Reason: "field or target is malformed"}
	}
	d.headBuf = d.server.heads.get()
	head := d.appendHead((*d.headBuf)[:0], framing)
	n, err := d.request.Parse(head, d.server.settings.Limits)
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
func (d *servedDownstream) findFraming() (h1.Framing, error) {
	if d.sent.ContentLength >= 0 {
		return h1.Length, nil
	}
	switch method := d.sent.Method; {
	case d.offer != "", method == http.MethodConnect:
		return h1.NoBody, nil
	case method == http.MethodGet, method == http.MethodHead, method == http.MethodOptions, method == http.MethodDelete:
	default:
		return h1.Chunked, nil
	}
	d.readBy.exactly(time.Now().Add(d.server.settings.ReadHeaderTimeout))
	_ = d.read() // next tells of its error too
	switch {
	case d.n > 0:
		return h1.Chunked, nil
	case d.failed == io.EOF:
		return h1.NoBody, nil
	case readCause(d.failed) == exchange.CauseClientGone:
		return 0, d.failed
	}
	return h1.Chunked, nil // which is ill, or does not come: as with any body
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
func (d *servedDownstream) appendHead(dst []byte, framing h1.Framing) []byte {
	r, method := d.sent, d.sent.Method
	if d.offer != "" {
		method = http.MethodGet
	}
	dst = h1.AppendRequestLine(dst, method, r.RequestURI)
	dst = h1.AppendField(dst, "Host", r.Host)
	for _, name := range sortedNames(r.Header) {
		if name == "Host" || name == "Content-Length" {
			continue
		}
		for _, value := range r.Header[name] {
			dst = h1.AppendField(dst, name, value)
		}
	}
	if len(r.Trailer) > 0 { // which the library has taken out of the fields
		dst = h1.AppendField(dst, "Trailer", strings.Join(sortedNames(r.Trailer), ", "))
	}
	switch framing {
	case h1.Length:
		dst = h1.AppendLength(dst, r.ContentLength)
	case h1.Chunked:
		dst = h1.AppendChunked(dst)
	}
	if d.offer != "" {
		dst = d.appendOffer(dst)
	}
	return h1.AppendCRLF(dst)
}

// keyField is the field of a WebSocket's handshake that HTTP/3 does not have.
const keyField = "Sec-Websocket-Key"

// appendOffer appends the fields by which HTTP/1.1 asks for what the client asks for. The
// key of a WebSocket is ours.
func (d *servedDownstream) appendOffer(dst []byte) []byte {
	dst = h1.AppendField(dst, "Connection", "Upgrade")
	dst = h1.AppendField(dst, "Upgrade", d.offer)
	if strings.EqualFold(d.offer, exchange.WebSocketProtocol) {
		d.socket = exchange.NewWebSocket()
		dst = h1.AppendField(dst, "Sec-WebSocket-Key", d.socket.Key)
	}
	return dst
}

func sortedNames(fields http.Header) []string { return slices.Sorted(maps.Keys(fields)) }
