package tunnel

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/cloudflare/cloudflared/tunnelrpc/proto"
	"github.com/lintel-dev/lintel/internal/edgewire"
	capnp "zombiezen.com/go/capnproto2"
)

// The heads of requests over QUIC are messages of Cap'n Proto. The package tunnelrpc/quic
// reads them by reflection, which costs as much as all else that a request takes; here it
// is done by the accessors that are generated from the schema, in a buffer that is used
// again.

const (
	// maxHead bounds a head, in bytes.
	maxHead = 1 << 20
	// usualHead is what any usual head fits into. Buffers that had to grow beyond are
	// not kept.
	usualHead = 4 << 10
)

// quicHead reads heads, one after the other.
type quicHead struct {
	in      *bufio.Reader // of the stream: its signature was read
	decoder *capnp.Decoder

	spent bool // its buffers are not to be used again

	// Of the head that was read last, and valid until the next.
	kind    pogs.ConnectionType
	dest    string
	request edgewire.Request
}

func newQUICHead(in *bufio.Reader) *quicHead {
	h := &quicHead{in: in, decoder: capnp.NewDecoder(in)}
	h.decoder.MaxMessageSize = maxHead
	h.decoder.ReuseBuffer()
	return h
}

// read reads what the edge says of a stream, behind its signature.
func (h *quicHead) read() (err error) {
	defer func() { // the library panics where a message points out of itself
		if reason := recover(); reason != nil {
			err = fmt.Errorf("read head: malformed: %v", reason)
		}
	}()
	if _, err := h.in.Discard(len(edgewire.Version)); err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	message, err := h.decoder.Decode()
	if err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	message.ReadLimiter().Reset(2 * maxHead) // a list may have the same text many times
	first, err := message.Segment(0)
	if err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	h.spent = h.spent || message.NumSegments() > 1 || len(first.Data()) > usualHead
	root, err := proto.ReadRootConnectRequest(message)
	if err == nil {
		err = h.take(root)
	}
	if err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	return nil
}

// take takes all from a message.
func (h *quicHead) take(root proto.ConnectRequest) error {
	h.kind = pogs.ConnectionType(root.Type())
	r := &h.request
	*r = edgewire.Request{WebSocket: h.kind == pogs.ConnectionTypeWebsocket, Fields: r.Fields[:0]}
	dest, err := root.DestBytes()
	if err != nil {
		return err
	}
	h.dest = text(dest)
	r.Target = pathOf(h.dest)
	list, err := root.Metadata()
	if err != nil {
		return err
	}
	if list.Len() > maxHead/16 { // a list may claim more than a message holds
		return errors.New("too many fields")
	}
	for i := range list.Len() {
		m := list.At(i)
		key, err := m.KeyBytes()
		if err != nil {
			return err
		}
		value, err := m.ValBytes()
		if err != nil {
			return err
		}
		switch name := text(key); name {
		case edgewire.MethodKey:
			r.Method = text(value)
		case edgewire.HostKey:
			r.Host = text(value)
		default:
			if name, ok := strings.CutPrefix(name, edgewire.FieldKey); ok {
				r.Fields = append(r.Fields, edgewire.Field{Name: name, Value: text(value)})
			}
		}
	}
	return nil
}

// text is b, which stays as it is until the next head.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// pathOf is the path and query of a URL, or of what is just these.
func pathOf(dest string) string {
	if strings.HasPrefix(dest, "/") {
		return dest
	}
	_, rest, _ := strings.Cut(dest, "://")
	switch i := strings.IndexAny(rest, "/?"); {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	default:
		return rest[i:]
	}
}
