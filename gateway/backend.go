package gateway

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// refFault is why a BackendRef does not resolve; the zero refFault means it does.
type refFault struct {
	reason  gatewayv1.RouteConditionReason
	message string
}

// What Backends of one Service port are used for that cannot share one: BackendKey.Use.
const (
	useHTTP        = ""
	useGRPC        = "grpc"        // HTTP/2, whatever HTTPRoutes speak to the port
	useStream      = "stream"      // what a TCPRoute, or a TLSRoute after its Listener ended TLS, forwards
	usePassthrough = "passthrough" // TLS that does not end here
	useUDP         = "udp"
)

// resolveRef finds the Backend of a reference in a Route whose traffic is requests.
func (b *build) resolveRef(r *parsedRef, route ObjectRef) (*router.Backend, refFault) {
	use := r.use
	if route.Kind == kindGRPCRoute {
		use = useGRPC
	}
	return b.resolveRefFor(use, r, route)
}

// resolveRefFor finds the Backend of a reference in a Route, or in a Gateway or a
// ListenerSet, for one use.
func (b *build) resolveRefFor(use string, r *parsedRef, route ObjectRef) (*router.Backend, refFault) {
	if r.group != groupCore || r.kind != kindService {
		return nil, refFault{gatewayv1.RouteReasonInvalidKind, fmt.Sprintf("kind %q of group %q is not supported; refer to a Service", r.kind, r.group)}
	}
	if !b.permits(reference{groupGateway, route.Kind, route.Namespace, groupCore, kindService, r.name}) {
		return nil, refFault{
			gatewayv1.RouteReasonRefNotPermitted,
			fmt.Sprintf("no ReferenceGrant in namespace %q lets %s of namespace %q refer to Service %q", r.name.Namespace, article(route.Kind), route.Namespace, r.name.Name),
		}
	}
	match := func(p *corev1.ServicePort) bool { return p.Port == r.port }
	return b.resolveService(r.name, portRef{use, match, strconv.Itoa(int(r.port))})
}

// portRef is which port of a Service is meant, and what it is used for.
type portRef struct {
	use    string
	match  func(*corev1.ServicePort) bool
	wanted string // the port, as messages call it
}

// transport is the protocol that the port of a Service must have.
func (r *portRef) transport() corev1.Protocol {
	if r.use == useUDP {
		return corev1.ProtocolUDP
	}
	return corev1.ProtocolTCP
}

// needs says in a message what the port must have.
func (r *portRef) needs() string {
	switch r.use {
	case useUDP:
		return "a UDPRoute needs UDP"
	case useStream, usePassthrough:
		return "TCPRoutes and TLSRoutes need TCP"
	default:
		return "HTTP needs TCP"
	}
}

// resolveService finds the Backend of one port of a Service.
func (b *build) resolveService(name types.NamespacedName, r portRef) (*router.Backend, refFault) {
	service := b.services[name]
	if service == nil {
		return nil, refFault{gatewayv1.RouteReasonBackendNotFound, fmt.Sprintf("Service %s not found", name)}
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, refFault{gatewayv1.RouteReasonUnsupportedProtocol, fmt.Sprintf("Service %s has type ExternalName, which is not supported; give it EndpointSlices instead", name)}
	}
	var other *corev1.ServicePort // of this number or name, for another transport
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		switch {
		case !r.match(p):
		case cmp.Or(p.Protocol, corev1.ProtocolTCP) != r.transport():
			other = p
		default:
			return b.resolvePort(service, p, r.use)
		}
	}
	if other != nil {
		return nil, unsupported("port %d of Service %s has protocol %s; %s", other.Port, name, cmp.Or(other.Protocol, corev1.ProtocolTCP), r.needs())
	}
	return nil, refFault{gatewayv1.RouteReasonBackendNotFound, fmt.Sprintf("Service %s has no port %s; it has %s", name, r.wanted, portList(service))}
}

func (b *build) resolvePort(service *corev1.Service, p *corev1.ServicePort, use string) (*router.Backend, refFault) {
	name := nameOf(service)
	protocol, why := router.HTTP1, ""
	switch use {
	case useHTTP:
		protocol, why = appProtocol(p)
	case useGRPC:
		protocol, why = grpcProtocol(p)
	}
	var policy *tlsPolicy
	if use != usePassthrough && use != useUDP {
		var fault refFault
		if policy, fault = b.tlsPolicyFor(service, p.Name); fault != (refFault{}) {
			return nil, fault
		}
	}
	if policy != nil && speaksTLS(p) {
		protocol, why = insideTLS(use), ""
	}
	if why != "" {
		return nil, unsupported("port %d of Service %s has appProtocol %q, %s", p.Port, name, *p.AppProtocol, why)
	}
	settings := b.Settings.Backends
	settings.Protocol = protocol
	if settings.ProxyProtocol, why = proxyProtocol(service, protocol); why != "" {
		return nil, unsupported("Service %s has the annotation %s: %q, %s", name, annotationProxyProtocol, service.Annotations[annotationProxyProtocol], why)
	}
	if policy != nil {
		policy.secure(&settings, use)
	}
	b.applyTrafficPolicy(name, use, &settings)
	return b.backend(BackendKey{ServicePort: ServicePort{Service: name, Port: p.Port}, Use: use}, p.Name, &settings).Backend, refFault{}
}

func unsupported(format string, args ...any) refFault {
	return refFault{gatewayv1.RouteReasonUnsupportedProtocol, fmt.Sprintf(format, args...)}
}

// speaksTLS reports whether a Service port says that TLS is spoken to it.
func speaksTLS(p *corev1.ServicePort) bool {
	if p.AppProtocol == nil {
		return false
	}
	switch strings.ToLower(*p.AppProtocol) {
	case "https", "wss", "kubernetes.io/wss":
		return true
	default:
		return false
	}
}

// insideTLS is what is spoken inside of TLS, as far as ALPN does not say.
func insideTLS(use string) router.Protocol {
	if use == useGRPC {
		return router.H2C
	}
	return router.HTTP1
}

// appProtocol reads what a Service port says it speaks (GEP-1911), or why that cannot
// be spoken: anything else would be sent to it in the wrong protocol. Names of IANA
// have no case (RFC 6335 §5.1). TLS without a BackendTLSPolicy would be with nobody
// in particular, so GEP-1911 allows kubernetes.io/wss to HTTPRoutes only beside one.
func appProtocol(p *corev1.ServicePort) (protocol router.Protocol, why string) {
	if p.AppProtocol == nil {
		return router.HTTP1, ""
	}
	switch strings.ToLower(*p.AppProtocol) {
	case "", "http", "tcp", "ws", "kubernetes.io/ws":
		return router.HTTP1, ""
	case "kubernetes.io/h2c", "h2c", "grpc": // gRPC in the clear is HTTP/2 by prior knowledge
		return router.H2C, ""
	case "https", "wss", "kubernetes.io/wss":
		return 0, "which needs a BackendTLSPolicy that says how to recognise the endpoints"
	default:
		return 0, "which is not supported; use http, kubernetes.io/ws or kubernetes.io/h2c"
	}
}

// grpcProtocol is appProtocol for GRPCRoutes, which speak HTTP/2 where nothing is said.
func grpcProtocol(p *corev1.ServicePort) (protocol router.Protocol, why string) {
	if p.AppProtocol == nil {
		return router.H2C, ""
	}
	switch strings.ToLower(*p.AppProtocol) {
	case "", "tcp":
		return router.H2C, ""
	case "http", "ws", "kubernetes.io/ws", "wss", "kubernetes.io/wss":
		return 0, "over which there is no gRPC; use kubernetes.io/h2c, or leave it out"
	default:
		return appProtocol(p)
	}
}

// proxyProtocol reads how a Service is told whose connection is forwarded, or why it
// cannot be: it would take a header for a request, or a request for a header.
func proxyProtocol(service *corev1.Service, protocol router.Protocol) (version router.ProxyProtocol, why string) {
	value, set := service.Annotations[annotationProxyProtocol]
	switch {
	case !set:
		return router.NoProxyProtocol, ""
	case value != "v1" && value != "v2":
		return 0, "which is not supported; use v1 or v2"
	case protocol == router.H2C:
		return 0, "which cannot be told over the connections that clients share with HTTP/2; remove it, or use appProtocol http"
	case value == "v1":
		return router.ProxyProtocolV1, ""
	default:
		return router.ProxyProtocolV2, ""
	}
}

// backend returns the Backend of a Service port: the same one as in earlier Builds,
// unless it must be used in another way now.
func (b *build) backend(port BackendKey, portName string, settings *router.BackendSettings) *Backend {
	if known := b.memo.backends[port]; known != nil {
		return known
	}
	backend := b.was.backends[port]
	switch {
	case backend == nil || !backend.Settings().Equal(settings):
		backend = &Backend{Backend: router.NewBackendWith(port.String(), *settings), PortName: portName}
	case backend.PortName != portName:
		backend = &Backend{Backend: backend.Backend, PortName: portName}
	}
	b.memo.backends[port] = backend
	b.backendKeys[backend.Backend] = port
	return backend
}

// String returns "namespace/name:port".
func (p ServicePort) String() string { return p.Service.String() + ":" + strconv.Itoa(int(p.Port)) }

func portList(s *corev1.Service) string {
	if len(s.Spec.Ports) == 0 {
		return "none"
	}
	var ports []string
	for _, p := range s.Spec.Ports {
		ports = append(ports, strings.TrimSuffix(fmt.Sprintf("%d (%s)", p.Port, p.Name), " ()"))
	}
	return strings.Join(ports, ", ")
}
