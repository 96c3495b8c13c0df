package gateway

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// socket is the name of the tunnel's own socket for a port: the Table has it, and nobody
// opens it. No address looks like it.
func (t *boundTunnel) socket(port int32) string {
	return tunnelSocket + t.Namespace + "/" + t.Name + ":" + strconv.Itoa(int(port))
}

// tunnelSocket begins the names of sockets of tunnels.
const tunnelSocket = "tunnel "

// TunnelOfSocket returns the Tunnel ("namespace/name") whose socket has a name, if it is such
// a socket.
func TunnelOfSocket(name string) (tunnel string, ok bool) {
	rest, ok := strings.CutPrefix(name, tunnelSocket)
	if !ok {
		return "", false
	}
	return rest[:strings.LastIndexByte(rest, ':')], true
}

// throughTunnel reports whether the Listener's traffic comes through the tunnel of its
// Gateway, if that has one. What a client shows there is Cloudflare's to ask.
func (b *build) throughTunnel(l *listener) bool {
	switch l.Protocol {
	case gatewayv1.HTTPProtocolType, gatewayv1.TCPProtocolType:
		return true
	case gatewayv1.HTTPSProtocolType:
		return clientCertificates(l) == nil
	default:
		return false
	}
}

// clientCertificates returns what the Gateway wants of clients at the port of a Listener,
// nil if they need no certificate.
func clientCertificates(l *listener) *gatewayv1.FrontendTLSValidation {
	validation, _ := clientValidation(l)
	if validation != nil && validation.Mode == gatewayv1.AllowInsecureFallback {
		return nil
	}
	return validation
}

// leadTunnels decides where requests from tunnels land, once all Listeners are known.
func (b *build) leadTunnels() {
	for _, l := range b.listeners {
		t := l.gateway.tunnel
		if t == nil || l.gateway.refused != nil || l.owner.refused != nil {
			continue
		}
		if l.Protocol == gatewayv1.HTTPSProtocolType {
			t.secured = true
		}
		if !slices.Contains(l.sockets, t.socket(l.Port)) {
			b.report(*l.problem(".protocol", reasonNotThroughTunnel, t.unreachable(l)))
			continue
		}
		if !l.usable() {
			continue
		}
		switch l.socketProtocol() {
		case router.SocketHTTP:
			t.plain = append(t.plain, l.Port)
		case router.SocketTLS:
			t.secure = append(t.secure, l.Port)
		case router.SocketTCP:
			if t.Spec.Access != nil {
				b.report(*l.problem(".protocol", reasonNotThroughTunnel, "streams have nothing that Access could be seen from, and "+t.ref.String()+" asks for it: the Listener is not reached through the tunnel"))
				continue
			}
			if t.plan.Streams == nil {
				t.plan.Streams = make(map[uint16]string)
			}
			t.plan.Streams[uint16(l.Port)] = t.socket(l.Port)
		case router.SocketUDP:
		}
	}
	for _, t := range b.tunnels {
		t.plan.Plain, t.plan.Secure = t.first(t.plain, 80), t.first(t.secure, 443)
		if !t.secured {
			t.plan.Secure = t.plan.Plain // Cloudflare has ended TLS
		}
	}
}

// first returns the socket of the usual port, or of the lowest; "" without ports.
func (t *boundTunnel) first(ports []int32, usual int32) string {
	switch {
	case len(ports) == 0:
		return ""
	case slices.Contains(ports, usual):
		return t.socket(usual)
	default:
		return t.socket(slices.Min(ports))
	}
}

// reasonNotThroughTunnel marks a Listener that the tunnel of its Gateway does not lead to.
const reasonNotThroughTunnel = "NotThroughTunnel"

// unreachable says why a Listener is not reached through the tunnel.
func (t *boundTunnel) unreachable(l *listener) string {
	message := fmt.Sprintf("protocol %s does not pass through a tunnel", l.Protocol)
	if l.Protocol == gatewayv1.HTTPSProtocolType {
		message = "the Gateway asks clients for certificates, which they can't show through a tunnel"
	}
	if t.closed() {
		return message + ", and localSockets of " + t.ref.String() + " is Closed: the Listener can't be reached"
	}
	return message + ": the Listener is reached at the local addresses alone"
}
