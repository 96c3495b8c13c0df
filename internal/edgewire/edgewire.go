// Package edgewire has the words by which Cloudflare's edge and the connectors of tunnels
// tell each other of requests and responses, as cloudflared has them.
package edgewire

import (
	"encoding/base64"
	"net/netip"
	"strings"
)

// Fields of requests, in the form of HTTP/2.
const (
	Client     = "cf-connecting-ip"
	Scheme     = "x-forwarded-proto"
	Chain      = "x-forwarded-for"
	StreamKind = "cf-cloudflared-proxy-connection-upgrade"
	// StreamSource is a TCP stream's client ("ip:port"), and with any other request it is
	// not there.
	StreamSource = "cf-cloudflared-proxy-src"
)

// The kinds of streams that StreamKind names. Without it a stream is a request.
const (
	Control       = "control-stream"
	WebSocket     = "websocket"
	Configuration = "update-configuration"
)

// Over HTTP/2 all fields of a response are in one, Packed, so that the rules of HTTP/2 do
// not apply to them, and Meta says who made it.
const (
	Packed = "cf-cloudflared-response-headers"
	Meta   = "cf-cloudflared-response-meta"

	MetaOrigin    = `{"src":"origin"}`
	MetaConnector = `{"src":"cloudflared"}`
)

// AppendPair appends a field to those that Packed has.
func AppendPair(dst []byte, name, value string) []byte {
	if len(dst) > 0 {
		dst = append(dst, ';')
	}
	dst = appendBase64(dst, name)
	dst = append(dst, ':')
	return appendBase64(dst, value)
}

// appendBase64 is base64's AppendEncode, which would copy a string.
func appendBase64(dst []byte, text string) []byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for ; len(text) >= 3; text = text[3:] {
		n := uint(text[0])<<16 | uint(text[1])<<8 | uint(text[2])
		dst = append(dst, alphabet[n>>18], alphabet[n>>12&63], alphabet[n>>6&63], alphabet[n&63])
	}
	if len(text) > 0 {
		dst = base64.RawStdEncoding.AppendEncode(dst, []byte(text))
	}
	return dst
}

// Controls reports whether a field of a response is for the edge alone, so that nobody
// else may set it.
func Controls(name string) bool {
	const cf = "cf-"
	if len(name) < len(cf) || !strings.EqualFold(name[:len(cf)], cf) {
		return false
	}
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "cf-int-") || strings.HasPrefix(name, "cf-cloudflared-") || strings.HasPrefix(name, "cf-proxy-")
}

// ParseClient reads the value of Client.
func ParseClient(value string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(value)
	if err != nil {
		return netip.Addr{}, false
	}
	return address.Unmap().WithZone(""), true
}

// CutClient takes the client off the end of a value of Chain, where the edge has added it,
// and reports whether it was there. Whoever serves the request adds the client himself.
func CutClient(chain string, client netip.Addr) (rest string, cut bool) {
	i := strings.LastIndexByte(chain, ',')
	hop, err := netip.ParseAddr(strings.TrimSpace(chain[i+1:]))
	if err != nil || hop.Unmap() != client {
		return chain, false
	}
	return chain[:max(i, 0)], true
}
