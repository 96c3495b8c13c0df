package proxy

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

// webSocket translates between the two ways in which a WebSocket is opened: by an
// upgrade of an HTTP/1.1 connection (RFC 6455 §4), or by an extended CONNECT of a stream
// (RFC 8441). Inside a flight it is an upgrade always.
type webSocket struct {
	key string // Sec-WebSocket-Key; "" when it is none
}

// The protocol and the constant of RFC 6455 §4.2.2.
const (
	webSocketProtocol = "websocket"
	webSocketGUID     = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	webSocketKeySize  = 16
)

var errNotAgreed = errors.New("the upstream has agreed to another WebSocket")

// newWebSocket returns one with a new key.
func newWebSocket() webSocket {
	var nonce [webSocketKeySize]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return webSocket{key: base64.StdEncoding.EncodeToString(nonce[:])}
}

// accept is the Sec-WebSocket-Accept that the key asks for.
func (w *webSocket) accept() string {
	sum := sha1.Sum([]byte(w.key + webSocketGUID)) //nolint:gosec // see above
	return base64.StdEncoding.EncodeToString(sum[:])
}

// request makes r, which came as an extended CONNECT, an upgrade.
func (w *webSocket) request(r *h1.Request) {
	r.Method, r.Upgrade = http.MethodGet, webSocketProtocol
	r.Fields = append(withoutHandshake(r.Fields), router.Field{Name: "Sec-WebSocket-Key", Value: w.key})
}

// webSocketOf returns the WebSocket that an upgrade asks for; none if it is another
// protocol.
func webSocketOf(r *h1.Request) webSocket {
	if !strings.EqualFold(r.Upgrade, webSocketProtocol) || r.Method != http.MethodGet {
		return webSocket{}
	}
	key, _ := router.Lookup(r.Fields, "Sec-WebSocket-Key")
	return webSocket{key: key}
}

// response makes res, which agrees to an extended CONNECT, the one that agrees to the
// upgrade.
func (w *webSocket) response(res *h1.Response) {
	res.Status, res.Upgrade, res.Framing = http.StatusSwitchingProtocols, webSocketProtocol, h1.NoBody
	res.Fields = append(withoutHandshake(res.Fields), router.Field{Name: "Sec-WebSocket-Accept", Value: w.accept()})
}

// agreed checks the 101 response of an upstream.
func (w *webSocket) agreed(res *h1.Response) error {
	accept, _ := router.Lookup(res.Fields, "Sec-WebSocket-Accept")
	if accept != w.accept() || !strings.EqualFold(res.Upgrade, webSocketProtocol) {
		return errNotAgreed
	}
	return nil
}

// withoutHandshake takes out the fields that RFC 8441 §5 has no use for.
func withoutHandshake(fields []router.Field) []router.Field {
	kept := fields[:0]
	for _, f := range fields {
		if !strings.EqualFold(f.Name, "Sec-WebSocket-Key") && !strings.EqualFold(f.Name, "Sec-WebSocket-Accept") {
			kept = append(kept, f)
		}
	}
	return kept
}
