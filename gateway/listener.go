package gateway

import (
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

	// The first mistake of each kind; nil where there is none.
	refused    *Problem // Accepted is False
	conflict   *Problem // Conflicted is True
	unresolved *Problem // ResolvedRefs is False

	attached int32 // Routes
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
	if spec.Hostname != nil {
		l.hostname = strings.ToLower(string(*spec.Hostname))
	}
	for _, a := range g.addresses {
		l.sockets = append(l.sockets, socketName(a, spec.Port))
	}
	b.acceptListener(l)
	b.allowKinds(l)
	b.allowNamespaces(l)
	if l.refused == nil && l.isTLS() {
		b.resolveCertificates(l)
	}
	return l
}

func (l *listener) isTLS() bool { return l.Protocol == gatewayv1.HTTPSProtocolType }

func (l *listener) socketProtocol() router.SocketProtocol {
	if l.isTLS() {
		return router.SocketTLS
	}
	return router.SocketHTTP
}

// usable reports whether traffic may reach the Listener at all.
func (l *listener) usable() bool {
	return l.gateway.refused == nil && l.owner.refused == nil && l.refused == nil && l.conflict == nil && (!l.isTLS() || len(l.certificates) > 0)
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
	switch l.Protocol {
	case gatewayv1.HTTPProtocolType, gatewayv1.HTTPSProtocolType:
	default:
		b.refuse(l, l.problem(".protocol", string(gatewayv1.ListenerReasonUnsupportedProtocol),
			fmt.Sprintf("%q is not supported; this version serves HTTP and HTTPS", l.Protocol)))
	}
	if l.TLS != nil && l.TLS.Mode != nil && *l.TLS.Mode != gatewayv1.TLSModeTerminate {
		b.refuse(l, l.problem(".tls.mode", string(gatewayv1.ListenerReasonUnsupportedValue),
			fmt.Sprintf("%q is not supported; this version serves Terminate", *l.TLS.Mode)))
	}
	if tls := l.gateway.Spec.TLS; l.isTLS() && tls != nil && tls.Frontend != nil {
		// To serve it without asking for client certificates would open what the user closed.
		b.refuse(l, &Problem{
			Object: l.gateway.ref, Field: "spec.tls.frontend", Reason: string(gatewayv1.ListenerReasonUnsupportedValue),
			Message: "validation of client certificates is not supported by this version",
		})
	}
	if l.Filters != nil {
		b.refuse(l, l.problem(".filters", string(gatewayv1.ListenerReasonUnsupportedValue), "filters of a Listener are not supported by this version"))
	}
}

// allowKinds fills the kinds of Routes that may attach.
func (b *build) allowKinds(l *listener) {
	group := gatewayv1.Group(groupGateway)
	var supported []gatewayv1.RouteGroupKind
	if l.Protocol == gatewayv1.HTTPProtocolType || l.Protocol == gatewayv1.HTTPSProtocolType {
		supported = []gatewayv1.RouteGroupKind{{Group: &group, Kind: kindHTTPRoute}}
	}
	if l.AllowedRoutes == nil || len(l.AllowedRoutes.Kinds) == 0 {
		l.kinds = supported
		return
	}
	l.kinds = []gatewayv1.RouteGroupKind{}
	for i, k := range l.AllowedRoutes.Kinds {
		known := slices.ContainsFunc(supported, func(s gatewayv1.RouteGroupKind) bool {
			return s.Kind == k.Kind && (k.Group == nil || *k.Group == *s.Group)
		})
		if known {
			l.kinds = append(l.kinds, gatewayv1.RouteGroupKind{Group: &group, Kind: k.Kind})
			continue
		}
		b.unresolve(l, l.problem(fmt.Sprintf(".allowedRoutes.kinds[%d]", i), string(gatewayv1.ListenerReasonInvalidRouteKinds),
			fmt.Sprintf("Routes of kind %q cannot attach to a Listener with protocol %s; this version serves HTTPRoute", k.Kind, l.Protocol)))
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
		return
	}
	for _, name := range l.sockets {
		b.openSocket(Socket{Name: name, Protocol: l.socketProtocol(), Certificates: l.certificates})
		// Without any Route the Listener still takes the requests of its hostname (GEP-1713).
		b.addRules(hostKey{socket: name, listenerHost: l.hostname, host: l.hostname}, nil)
	}
}

// openSocket asks for a socket, or adds the certificates to one that is asked for.
func (b *build) openSocket(want Socket) {
	s := b.sockets[want.Name]
	if s == nil {
		s = &Socket{Name: want.Name, Protocol: want.Protocol}
		b.sockets[want.Name] = s
	}
	s.Certificates = append(s.Certificates, want.Certificates...)
}

// bindError returns why a socket of the Listener could not be opened, "" if all
// are open, and whether all have been tried.
func (l *listener) bindError(o Observed) (message string, tried bool) {
	tried = true
	for _, name := range l.sockets {
		m, ok := o.Sockets[name]
		tried = tried && ok
		if m != "" && message == "" {
			message = m
		}
	}
	return message, tried
}
