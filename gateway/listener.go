package gateway

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// listener is one Listener of a Gateway or a ListenerSet of ours.
type listener struct {
	*gatewayv1.Listener
	gateway  *boundGateway
	owner    *listenerOwner // in which it is written
	field    string         // "spec.listeners[0]"
	label    string         // as Rules carry it
	hostname string         // "" for any
	sockets  []string
	// attachedMessage is that of a Route which attaches to this Listener alone.
	attachedMessage string

	kinds        []gatewayv1.RouteGroupKind
	selector     labels.Selector // of namespaces, when allowedRoutes has one
	certificates []Certificate
	clients      *clientAuth  // nil when nothing is asked of them
	auths        *parsedAuths // nil for none

	claims  []claim  // for certificates that are to be issued
	foreign []string // Secrets that an issuer would care for, were they not somebody else's
	pending string   // why a claimed certificate is not there, "" if all are
	// standIn says in words what is served for a certificate that is waited for; "" for
	// nothing.
	standIn string
	renewal string // why the last renewal failed, "" if it did not

	// The first mistake of each kind; nil where there is none.
	refused    *Problem // Accepted is False
	conflict   *Problem // Conflicted is True
	unresolved *Problem // ResolvedRefs is False

	attached int32                  // Routes
	taken    map[string]routeByHost // by the kind of these, where kinds cannot share a hostname
}

// newListener reads the next Listener of its owner by itself.
func (b *build) newListener(g *boundGateway, owner *listenerOwner, spec *gatewayv1.Listener) *listener {
	l := &listener{
		Listener: spec,
		gateway:  g,
		owner:    owner,
		field:    fmt.Sprintf("spec.listeners[%d]", len(owner.listeners)),
		label:    owner.ref.String() + "/" + string(spec.Name),

		attachedMessage: "attached to Listener " + string(spec.Name),
	}
	if spec.Hostname != nil && (l.isHTTP() || l.isTLS()) {
		l.hostname = strings.ToLower(string(*spec.Hostname))
	}
	for i := range g.listening {
		if a := &g.listening[i]; a.tunnel == nil || b.throughTunnel(l) {
			l.sockets = append(l.sockets, a.socket(spec.Port)+l.socketSuffix())
		}
	}
	b.acceptListener(l)
	b.allowKinds(l)
	b.allowNamespaces(l)
	if l.refused == nil && l.terminates() {
		b.resolveCertificates(l)
		b.requireClients(l)
	}
	return l
}

// socketProtocol is what is spoken on the Listener's sockets.
func (l *listener) socketProtocol() router.SocketProtocol {
	switch l.Protocol {
	case gatewayv1.HTTPSProtocolType, gatewayv1.TLSProtocolType:
		return router.SocketTLS
	case gatewayv1.TCPProtocolType:
		return router.SocketTCP
	case gatewayv1.UDPProtocolType:
		return router.SocketUDP
	default:
		return router.SocketHTTP
	}
}

// socketSuffix tells UDP sockets from those of TCP.
func (l *listener) socketSuffix() string {
	if l.Protocol == gatewayv1.UDPProtocolType {
		return "/udp"
	}
	return ""
}

func (l *listener) isTLS() bool { return l.socketProtocol() == router.SocketTLS }

// isHTTP reports whether the Listener's traffic is requests, and not streams.
func (l *listener) isHTTP() bool {
	return l.Protocol == gatewayv1.HTTPProtocolType || l.Protocol == gatewayv1.HTTPSProtocolType
}

// tlsMode is what the Listener does with TLS; Terminate is the default.
func (l *listener) tlsMode() gatewayv1.TLSModeType {
	if l.TLS == nil || l.TLS.Mode == nil {
		return gatewayv1.TLSModeTerminate
	}
	return *l.TLS.Mode
}

// terminates reports whether TLS ends at the Listener, which needs a certificate then.
func (l *listener) terminates() bool {
	return l.isTLS() && l.tlsMode() == gatewayv1.TLSModeTerminate
}

// usable reports whether traffic may reach the Listener at all.
func (l *listener) usable() bool {
	return l.gateway.refused == nil && l.owner.refused == nil && l.refused == nil && l.conflict == nil && (!l.terminates() || len(l.certificates) > 0)
}

// problem makes a Problem of the Listener; field is relative to it.
func (l *listener) problem(field, reason, message string) *Problem {
	return &Problem{Object: l.owner.ref, Field: l.field + field, Reason: reason, Message: message}
}

// refuse records and reports why the Listener is not accepted, once.
func (b *build) refuse(l *listener, p *Problem) {
	if l.refused == nil {
		l.refused = p
		b.report(*p)
	}
}

// unresolve records and reports a reference that does not resolve; the condition
// shows the first.
func (b *build) unresolve(l *listener, p *Problem) {
	if l.unresolved == nil {
		l.unresolved = p
	}
	b.report(*p)
}

// acceptListener refuses what this version cannot serve as it was meant.
func (b *build) acceptListener(l *listener) {
	if len(routeKinds(l.Protocol)) == 0 {
		b.refuse(l, l.problem(".protocol", string(gatewayv1.ListenerReasonUnsupportedProtocol),
			fmt.Sprintf("%q is not supported; use HTTP, HTTPS, TLS, TCP or UDP", l.Protocol)))
	}
	switch mode := l.tlsMode(); {
	case mode == gatewayv1.TLSModeTerminate:
	case mode != gatewayv1.TLSModePassthrough:
		b.refuse(l, l.problem(".tls.mode", string(gatewayv1.ListenerReasonUnsupportedValue),
			fmt.Sprintf("%q is not supported; use Terminate or Passthrough", mode)))
	case l.Protocol != gatewayv1.TLSProtocolType:
		b.refuse(l, l.problem(".tls.mode", string(gatewayv1.ListenerReasonUnsupportedValue),
			fmt.Sprintf("TLS of a Listener with protocol %s cannot be passed through; use protocol TLS and TLSRoutes", l.Protocol)))
	}
	b.acceptFilters(l)
}

// routeKinds are the kinds of Routes that may attach to a Listener with a protocol.
func routeKinds(protocol gatewayv1.ProtocolType) []string {
	switch protocol {
	case gatewayv1.HTTPProtocolType, gatewayv1.HTTPSProtocolType:
		return []string{kindHTTPRoute, kindGRPCRoute}
	case gatewayv1.TLSProtocolType:
		return []string{kindTLSRoute}
	case gatewayv1.TCPProtocolType:
		return []string{kindTCPRoute}
	case gatewayv1.UDPProtocolType:
		return []string{kindUDPRoute}
	default:
		return nil
	}
}

// allowKinds fills the kinds of Routes that may attach.
func (b *build) allowKinds(l *listener) {
	l.kinds = []gatewayv1.RouteGroupKind{}
	allow := func(kind string) {
		group := gatewayv1.Group(groupGateway)
		l.kinds = append(l.kinds, gatewayv1.RouteGroupKind{Group: &group, Kind: gatewayv1.Kind(kind)})
	}
	supported := routeKinds(l.Protocol)
	if l.AllowedRoutes == nil || len(l.AllowedRoutes.Kinds) == 0 {
		for _, kind := range supported {
			allow(kind)
		}
		return
	}
	for i, k := range l.AllowedRoutes.Kinds {
		if slices.Contains(supported, string(k.Kind)) && valueOr(k.Group, groupGateway) == groupGateway {
			allow(string(k.Kind))
			continue
		}
		message := fmt.Sprintf("Routes of kind %q cannot attach to a Listener with protocol %s", k.Kind, l.Protocol)
		if len(supported) > 0 {
			message += "; it takes " + strings.Join(supported, ", ")
		}
		b.unresolve(l, l.problem(fmt.Sprintf(".allowedRoutes.kinds[%d]", i), string(gatewayv1.ListenerReasonInvalidRouteKinds), message))
	}
}

// allowNamespaces compiles the selector of namespaces.
func (b *build) allowNamespaces(l *listener) {
	if l.from() != gatewayv1.NamespacesFromSelector {
		return
	}
	selector, err := metav1.LabelSelectorAsSelector(l.AllowedRoutes.Namespaces.Selector)
	if err != nil {
		b.refuse(l, l.problem(".allowedRoutes.namespaces.selector", string(gatewayv1.ListenerReasonUnsupportedValue), err.Error()))
		selector = labels.Nothing()
	}
	l.selector = selector
}

func (l *listener) from() gatewayv1.FromNamespaces {
	if l.AllowedRoutes == nil || l.AllowedRoutes.Namespaces == nil || l.AllowedRoutes.Namespaces.From == nil {
		return gatewayv1.NamespacesFromSame
	}
	return *l.AllowedRoutes.Namespaces.From
}

// allows reports whether a Route may attach, by its kind and namespace.
func (l *listener) allows(x *index, route *ObjectRef) bool {
	if !slices.ContainsFunc(l.kinds, func(k gatewayv1.RouteGroupKind) bool { return string(k.Kind) == route.Kind }) {
		return false
	}
	switch l.from() {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return route.Namespace == l.owner.ref.Namespace
	case gatewayv1.NamespacesFromSelector:
		return l.selector.Matches(x.namespaceLabels[route.Namespace])
	default:
		return false
	}
}

// openListener asks for the sockets of a Listener, and adds its certificates.
func (b *build) openListener(l *listener) {
	if !l.usable() {
		if l.awaitsHandshakes() {
			for i, name := range l.sockets {
				if a := &l.gateway.listening[i]; a.tunnel == nil {
					b.openSocket(Socket{Name: name, Protocol: router.SocketTLS, FreeBind: a.pool})
				}
			}
		}
		return
	}
	for i, name := range l.sockets {
		want := Socket{Name: name, Protocol: l.socketProtocol(), Certificates: l.certificates, FreeBind: l.gateway.listening[i].pool}
		if l.clients != nil {
			want.ClientAuth, want.ClientCAs = l.clients.kind, l.clients.authorities
		}
		if l.gateway.listening[i].tunnel == nil {
			b.openSocket(want)
		}
		// Without any Route the Listener still takes the traffic of its hostname (GEP-1713).
		if l.isHTTP() {
			b.addRules(hostKey{socket: name, listenerHost: l.hostname, host: l.hostname}, nil)
		} else {
			b.streams = append(b.streams, router.StreamRules{Socket: name, ListenerHost: l.hostname, Terminate: l.terminates(), Host: l.hostname})
		}
	}
}

// openSocket asks for a socket, or adds the certificates to one that is asked for.
func (b *build) openSocket(want Socket) {
	s := b.sockets[want.Name]
	if s == nil {
		s = &Socket{Name: want.Name, Protocol: want.Protocol, FreeBind: want.FreeBind}
		b.sockets[want.Name] = s
	}
	s.Certificates = append(s.Certificates, want.Certificates...)
	if want.ClientAuth != tls.NoClientCert { // all that end TLS ask for the same
		s.ClientAuth, s.ClientCAs = want.ClientAuth, want.ClientCAs
	}
}

// bindError returns why a socket of the Listener could not be opened, "" if all
// are open, and whether all have been tried, and their addresses announced. Addresses
// that the Gateway cannot use are its own fault, and not the Listener's. A tunnel counts
// where there is nothing else.
func (l *listener) bindError(o Observed) (message string, tried bool) {
	tried = true
	for i, name := range l.sockets {
		a := &l.gateway.listening[i]
		if a.tunnel != nil {
			tried = tried && (i > 0 || a.tunnel.connected(o))
			continue
		}
		if a.fault != nil {
			continue
		}
		m, ok := o.Sockets[name]
		if _, announced := o.Addresses[a.ip]; a.pool && !announced {
			ok = false
		}
		tried = tried && ok
		if m != "" && message == "" {
			message = m
		}
	}
	return message, tried
}

// serving names the sockets of the Listener that have an address.
func (l *listener) serving() []string {
	var names []string
	for i, name := range l.sockets {
		switch a := &l.gateway.listening[i]; {
		case a.tunnel != nil:
			names = append(names, a.tunnel.ref.String())
		case a.fault == nil:
			names = append(names, name)
		}
	}
	return names
}
