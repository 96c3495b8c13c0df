package tunnel

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/lintel-dev/lintel/internal/edgewire"
)

// streamBuffer bounds what goes out together with a head, in bytes.
const streamBuffer = 32 << 10

// quicResponse writes a response as the edge wants it over QUIC. One goroutine uses it,
// until it is hijacked.
type quicResponse struct {
	stream  *quicStream
	request *http.Request
	fields  http.Header
	status  int // that was sent; 0 before
	sent    bool
	head    bytes.Buffer // goes out together with what follows
}

// Header implements http.ResponseWriter.
func (r *quicResponse) Header() http.Header { return r.fields }

// WriteHeader implements http.ResponseWriter. 1xx responses do not reach clients.
func (r *quicResponse) WriteHeader(status int) {
	if r.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	r.status = status
	metadata := []pogs.Metadata{{Key: statusKey, Val: strconv.Itoa(status)}}
	for name, values := range r.fields {
		if edgewire.Controls(name) || strings.HasPrefix(name, http.TrailerPrefix) {
			continue
		}
		for _, value := range values {
			metadata = append(metadata, pogs.Metadata{Key: fieldKey + name, Val: value})
		}
	}
	_ = r.answer(nil, metadata...) // into a buffer
}

// answer puts the response's head together.
func (r *quicResponse) answer(fault error, metadata ...pogs.Metadata) error {
	r.sent = true
	return writeHead(&r.head, fault, metadata)
}

// send sends the head of the answer to a TCP stream.
func (r *quicResponse) send() error {
	if err := r.answer(nil); err != nil {
		return err
	}
	return r.FlushError()
}

// refuse answers what nobody serves.
func (r *quicResponse) refuse(fault error) error {
	if err := r.answer(fault, pogs.Metadata{Key: statusKey, Val: strconv.Itoa(http.StatusBadGateway)}); err != nil {
		return err
	}
	return r.FlushError()
}

// Write implements http.ResponseWriter.
func (r *quicResponse) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.request.Method == http.MethodHead {
		return len(p), nil
	}
	if r.head.Len() > 0 && r.head.Len()+len(p) <= streamBuffer {
		r.head.Write(p)
		return len(p), r.FlushError()
	}
	if err := r.FlushError(); err != nil {
		return 0, err
	}
	return r.stream.Stream.Write(p)
}

// FlushError sends what was written.
func (r *quicResponse) FlushError() error {
	if r.status == 0 && !r.sent {
		r.WriteHeader(http.StatusOK)
	}
	if r.head.Len() == 0 {
		return nil
	}
	_, err := r.stream.Stream.Write(r.head.Bytes())
	r.head = bytes.Buffer{}
	return err
}

// Flush implements http.Flusher.
func (r *quicResponse) Flush() { _ = r.FlushError() }

// SetReadDeadline is for http.ResponseController.
func (r *quicResponse) SetReadDeadline(at time.Time) error { return r.stream.SetReadDeadline(at) }

// SetWriteDeadline is for http.ResponseController.
func (r *quicResponse) SetWriteDeadline(at time.Time) error { return r.stream.SetWriteDeadline(at) }

// Hijack implements http.Hijacker: after 101 the stream carries what was agreed on.
func (r *quicResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if r.status != http.StatusSwitchingProtocols {
		return nil, nil, http.ErrNotSupported
	}
	if err := r.FlushError(); err != nil {
		return nil, nil, err
	}
	r.stream.client = peer(r.request.RemoteAddr)
	return r.stream, bufio.NewReadWriter(bufio.NewReader(r.stream), bufio.NewWriter(r.stream)), nil
}

// finish sends what is left. A stream that nobody accepted is refused.
func (r *quicResponse) finish() error {
	if r.request == nil && !r.sent {
		return r.refuse(io.ErrClosedPipe)
	}
	return r.FlushError()
}
