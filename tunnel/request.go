package tunnel

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// What the edge says of a request in its fields.
const (
	clientField    = "Cf-Connecting-Ip"
	schemeField    = "X-Forwarded-Proto"
	forwardedField = "X-Forwarded-For"
	upgradeField   = "Cf-Cloudflared-Proxy-Connection-Upgrade"
	streamField    = "Cf-Cloudflared-Proxy-Src"
)

// The kinds of streams that upgradeField names.
const (
	kindControl       = "control-stream"
	kindWebSocket     = "websocket"
	kindConfiguration = "update-configuration"
)

// identify makes a request what it would be if its client had come to us: RemoteAddr and
// URL.Scheme are the client's, and what the edge has added to X-Forwarded-For is taken off
// again, since whoever serves the request adds the client himself. Fields about the
// connection to the edge go.
func identify(r *http.Request) {
	h := r.Header
	delete(h, upgradeField)
	delete(h, streamField)
	for _, name := range h["Connection"] {
		for option := range strings.SplitSeq(name, ",") {
			h.Del(strings.TrimSpace(option))
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
	if te, ok := h["Te"]; ok && !(len(te) == 1 && strings.EqualFold(te[0], "trailers")) {
		delete(h, "Te")
	}
	r.URL.Scheme = "https"
	if h.Get(schemeField) == "http" {
		r.URL.Scheme = "http"
	}
	r.RemoteAddr = ""
	client, err := netip.ParseAddr(h.Get(clientField))
	if err != nil {
		return
	}
	client = client.Unmap().WithZone("")
	r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
	takeOff(h, client)
}

// takeOff removes the last hop of X-Forwarded-For if it is the client.
func takeOff(h http.Header, client netip.Addr) {
	values := h[forwardedField]
	if len(values) == 0 {
		return
	}
	last := values[len(values)-1]
	i := strings.LastIndexByte(last, ',')
	hop, err := netip.ParseAddr(strings.TrimSpace(last[i+1:]))
	if err != nil || hop.Unmap() != client {
		return
	}
	values = values[:len(values)-1]
	if i > 0 {
		values = append(values, last[:i])
	}
	if h[forwardedField] = values; len(values) == 0 {
		delete(h, forwardedField)
	}
}

// offer makes a request one for a WebSocket.
func offer(r *http.Request) {
	r.Header["Connection"] = []string{"Upgrade"}
	r.Header["Upgrade"] = []string{"websocket"}
	if r.Header["Sec-Websocket-Version"] == nil {
		r.Header["Sec-Websocket-Version"] = []string{"13"}
	}
	r.ContentLength = -1
}

// peer is a client's address as a connection has it; nil when it is not known.
func peer(text string) net.Addr {
	address, err := netip.ParseAddrPort(text)
	if err != nil {
		return &net.TCPAddr{}
	}
	return net.TCPAddrFromAddrPort(address)
}

// controls reports whether a field of a response is for the edge alone, so that nobody
// else may set it.
func controls(name string) bool {
	const cf = "cf-"
	if len(name) < len(cf) || !strings.EqualFold(name[:len(cf)], cf) {
		return false
	}
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "cf-int-") || strings.HasPrefix(name, "cf-cloudflared-") || strings.HasPrefix(name, "cf-proxy-")
}
