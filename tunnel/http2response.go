package tunnel

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 §1.3 wants it, and nothing rests on it
	"encoding/base64"
	"net"
	"net/http"
	"slices"
	"strings"
)

// The fields by which a response over HTTP/2 reaches the edge: all those of the response
// are in one, so that the rules of HTTP/2 do not apply to them, and the other says who
// made it.
const (
	responseFields = "Cf-Cloudflared-Response-Headers"
	responseMeta   = "Cf-Cloudflared-Response-Meta"

	metaOrigin    = `{"src":"origin"}`
	metaConnector = `{"src":"cloudflared"}`
)

// http2Response writes a response as the edge wants it over HTTP/2. One goroutine uses it,
// until it is hijacked.
type http2Response struct {
	http.ResponseWriter
	request  *http.Request
	fields   http.Header
	status   int          // that was sent; 0 before
	hijacked *http2Stream // or a TCP stream
}

func newHTTP2Response(w http.ResponseWriter, r *http.Request) *http2Response {
	return &http2Response{ResponseWriter: w, request: r, fields: http.Header{}}
}

// Unwrap lets http.ResponseController set deadlines.
func (r *http2Response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Header implements http.ResponseWriter.
func (r *http2Response) Header() http.Header { return r.fields }

// WriteHeader implements http.ResponseWriter. 1xx responses do not reach clients.
func (r *http2Response) WriteHeader(status int) {
	if r.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	r.status = status
	if status == http.StatusSwitchingProtocols {
		status = http.StatusOK
	}
	h := r.ResponseWriter.Header()
	h[responseFields] = []string{serialize(r.fields)}
	h[responseMeta] = []string{metaOrigin}
	h["Content-Type"], h["Date"] = nil, nil // which would be added
	if length := r.fields["Content-Length"]; len(length) == 1 {
		h["Content-Length"] = []string{strings.Clone(length[0])}
	}
	r.ResponseWriter.WriteHeader(status)
}

// refuse answers what nobody serves.
func (r *http2Response) refuse() {
	r.status = http.StatusBadGateway
	r.ResponseWriter.Header()[responseMeta] = []string{metaConnector}
	r.ResponseWriter.WriteHeader(r.status)
}

// Write implements http.ResponseWriter.
func (r *http2Response) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	return r.ResponseWriter.Write(p)
}

// FlushError sends what was written.
func (r *http2Response) FlushError() error {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (r *http2Response) Flush() { _ = r.FlushError() }

// Hijack implements http.Hijacker: after 101 the streams of the request and of the
// response carry what was agreed on.
func (r *http2Response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if r.status != http.StatusSwitchingProtocols || r.hijacked != nil {
		return nil, nil, http.ErrNotSupported
	}
	if err := r.FlushError(); err != nil {
		return nil, nil, err
	}
	conn := r.stream(r.request.RemoteAddr)
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), nil
}

// finish ends the response, and what reads the request.
func (r *http2Response) finish() {
	if r.hijacked != nil {
		r.hijacked.finish()
		return
	}
	h := r.ResponseWriter.Header()
	for name, values := range r.fields {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			h[name] = values
		}
	}
}

// serialize is fields in the form in which the edge reads them: pairs of base64. Names in
// order make it the same each time.
func serialize(fields http.Header) string {
	names := make([]string, 0, len(fields))
	size := 0
	for name, values := range fields {
		if controls(name) || strings.HasPrefix(name, http.TrailerPrefix) {
			continue
		}
		names = append(names, name)
		for _, value := range values {
			size += (len(name)+len(value)+2)*4/3 + 4
		}
	}
	slices.Sort(names)
	text := make([]byte, 0, size)
	for _, name := range names {
		for _, value := range fields[name] {
			if len(text) > 0 {
				text = append(text, ';')
			}
			text = base64.RawStdEncoding.AppendEncode(text, []byte(name))
			text = append(text, ':')
			text = base64.RawStdEncoding.AppendEncode(text, []byte(value))
		}
	}
	return string(text)
}

// acceptOf is the answer to the key of a WebSocket (RFC 6455 §4.2.2).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}
