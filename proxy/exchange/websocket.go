package exchange

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2 asks for it; nothing depends on its strength
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// WebSocket translates between the two ways in which a WebSocket is opened: by an
// upgrade of an HTTP/1.1 connection (RFC 6455 §4), or by an extended CONNECT of a stream
// (RFC 8441). Inside a flight it is an upgrade always.
type WebSocket struct {
	Key string // Sec-WebSocket-Key; "" when it is none
}

// The protocol and the constant of RFC 6455 §4.2.2.
const (
	WebSocketProtocol = "websocket"
	webSocketGUID     = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	webSocketKeySize  = 16
)

// ErrNotAgreed is why a 101 response is not passed on.
var ErrNotAgreed = errors.New("the upstream has agreed to another WebSocket")

// NewWebSocket returns one with a new key.
func NewWebSocket() WebSocket {
	var nonce [webSocketKeySize]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return WebSocket{Key: base64.StdEncoding.EncodeToString(nonce[:])}
}

// Accept is the Sec-WebSocket-Accept that the key asks for.
func (w *WebSocket) Accept() string {
	sum := sha1.Sum([]byte(w.Key + webSocketGUID)) //nolint:gosec // see above
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Request makes r, which came as an extended CONNECT, an upgrade.
func (w *WebSocket) Request(r *h1.Request) {
	r.Method, r.Upgrade = http.MethodGet, WebSocketProtocol
	r.Fields = append(WithoutHandshake(r.Fields), router.Field{Name: "Sec-WebSocket-Key", Value: w.Key})
}

// WebSocketOf returns the WebSocket that an upgrade asks for; none if it is another
// protocol.
func WebSocketOf(r *h1.Request) WebSocket {
	if !strings.EqualFold(r.Upgrade, WebSocketProtocol) || r.Method != http.MethodGet {
		return WebSocket{}
	}
	key, _ := router.Lookup(r.Fields, "Sec-WebSocket-Key")
	return WebSocket{Key: key}
}

// Response makes res, which agrees to an extended CONNECT, the one that agrees to the
// upgrade.
func (w *WebSocket) Response(res *h1.Response) {
	res.Status, res.Upgrade, res.Framing = http.StatusSwitchingProtocols, WebSocketProtocol, h1.NoBody
	res.Fields = append(WithoutHandshake(res.Fields), router.Field{Name: "Sec-WebSocket-Accept", Value: w.Accept()})
}

// Agreed checks the 101 response of an upstream.
func (w *WebSocket) Agreed(res *h1.Response) error {
	accept, _ := router.Lookup(res.Fields, "Sec-WebSocket-Accept")
	if accept != w.Accept() || !strings.EqualFold(res.Upgrade, WebSocketProtocol) {
		return ErrNotAgreed
	}
	return nil
}

// WithoutHandshake takes out the fields that RFC 8441 §5 has no use for.
func WithoutHandshake(fields []router.Field) []router.Field {
	kept := fields[:0]
	for _, f := range fields {
		if !strings.EqualFold(f.Name, "Sec-WebSocket-Key") && !strings.EqualFold(f.Name, "Sec-WebSocket-Accept") {
			kept = append(kept, f)
		}
	}
	return kept
}
