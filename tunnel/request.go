package tunnel

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/lintel-dev/lintel/internal/edgewire"
)

// What the edge says of a request in its fields, as they stand in an [http.Header].
const (
	clientField    = "Cf-Connecting-Ip"
	schemeField    = "X-Forwarded-Proto"
	forwardedField = "X-Forwarded-For"
	upgradeField   = "Cf-Cloudflared-Proxy-Connection-Upgrade"
	streamField    = "Cf-Cloudflared-Proxy-Src"
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
	client, ok := edgewire.ParseClient(h.Get(clientField))
	if !ok {
		return
	}
	r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
	takeOff(h, client)
}

// takeOff removes the last hop of X-Forwarded-For if it is the client.
func takeOff(h http.Header, client netip.Addr) {
	values := h[forwardedField]
	if len(values) == 0 {
		return
	}
	last := len(values) - 1
	rest, cut := edgewire.CutClient(values[last], client)
	switch {
	case cut && rest != "":
		h[forwardedField] = append(values[:last:last], rest)
	case cut && last > 0:
		h[forwardedField] = values[:last]
	case cut:
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
