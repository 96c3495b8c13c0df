package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"iter"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway/dnsapi"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
	"github.com/lintel-dev/lintel/router"
)

// Plan is everything that Build wants. It is immutable.
type Plan struct {
	Table *router.Table
	// Sockets are the listening sockets to hold open, sorted by name.
	Sockets []Socket
	// Backends are those that the Table uses. A Backend keeps its pointer from Plan to
	// Plan as long as it is used in the same way; its endpoints are set by SetEndpoints.
	Backends map[BackendKey]*Backend
	// Addresses are those of the address pools that Gateways use, sorted.
	Addresses []netip.Addr
	// Certificates are those to be issued, sorted by Secret.
	Certificates []WantedCertificate
	// Tunnels are those to be connected, sorted by name.
	Tunnels []Tunnel
	// Secrets are those that objects name for other things than certificates, and that have to
	// be in the next Snapshot.
	Secrets []types.NamespacedName
	// Names are the Routes and Ingresses that are served, and what the DNS records for them
	// are made of, sorted; none without Settings.CollectNames.
	Names []NamedObject
	// Infrastructure is what our Gateways want to stand for them, in their order.
	Infrastructure []Infrastructure
	// Statuses are the wanted statuses of every object that is ours. An object
	// whose status did not change keeps the pointer of its Status.
	Statuses []*Status
	// Attachments are the pairs of Listener and Route that Rules stand for, as their
	// labels say it. A pair may come more than once.
	Attachments []Attachment
	// Problems are all mistakes found, in the order of their objects. Each has made
	// a condition too, where the object has conditions.
	Problems []Problem
}

// Attachment is a Listener and a Route, by the labels of the Rules made from them.
type Attachment struct{ Listener, Route string }

// Backend is a router.Backend and the Service port that its endpoints come from.
type Backend struct {
	*router.Backend
	// PortName is the name of the Service port, by which EndpointSlices are read.
	PortName string
}

// Socket is one listening socket.
type Socket struct {
	// Name is its key: the address to listen on, ":80" or "192.0.2.7:80", and for UDP
	// with "/udp" after it.
	Name     string
	Protocol router.SocketProtocol
	// Certificates are what a TLS socket serves, by server name.
	Certificates []Certificate
	// ClientAuth is what a TLS socket asks of clients' certificates, and ClientCAs the
	// authorities that they are checked against (GEP-91).
	ClientAuth tls.ClientAuthType
	ClientCAs  *x509.CertPool
	// FreeBind opens the socket even while the node does not have its address: one of an
	// address pool, which moves between nodes.
	FreeBind bool
}

// Certificate is served for a server name: "" for any, "example.com" or
// "*.example.com" (one or more labels). Of several with the same name, the first
// that suits the client is served.
type Certificate struct {
	ServerName  string
	Certificate *tls.Certificate
	// Secret is where it comes from.
	Secret types.NamespacedName
}

// ObjectRef names one API object.
type ObjectRef struct {
	Kind      string // "HTTPRoute"
	Namespace string // "" for cluster-scoped kinds
	Name      string
}

// Status is the wanted status of one object: exactly one of the pointers, or
// Parents for a Route, is set. Conditions carry no LastTransitionTime: whoever
// writes them sets it.
type Status struct {
	Object     ObjectRef
	UID        types.UID
	Generation int64

	GatewayClass *gatewayv1.GatewayClassStatus
	Gateway      *gatewayv1.GatewayStatus
	ListenerSet  *gatewayv1.ListenerSetStatus
	Ingress      *networkingv1.IngressLoadBalancerStatus
	DNSEndpoint  *dnsapi.DNSEndpointStatus
	Tunnel       *v1alpha1.TunnelStatus
	// Route holds only our own entries; entries of other controllers stay as they
	// are. An empty list removes ours.
	Route *RouteStatus
	// Policy likewise.
	Policy *PolicyStatus
}

// Conditions returns the conditions of the object as a whole, those of a Route for each
// of its parents, and those of a policy for each of its ancestors.
func (s *Status) Conditions() iter.Seq[metav1.Condition] {
	return func(yield func(metav1.Condition) bool) {
		var all []metav1.Condition
		switch {
		case s.GatewayClass != nil:
			all = s.GatewayClass.Conditions
		case s.Gateway != nil:
			all = s.Gateway.Conditions
		case s.ListenerSet != nil:
			all = s.ListenerSet.Conditions
		case s.Tunnel != nil:
			all = s.Tunnel.Conditions
		case s.Route != nil:
			for _, p := range s.Route.Parents {
				all = append(all, p.Conditions...)
			}
		case s.Policy != nil:
			for _, a := range s.Policy.Ancestors {
				all = append(all, a.Conditions...)
			}
		}
		slices.Values(all)(yield)
	}
}

// RouteStatus is our part of a Route's status.
type RouteStatus struct {
	Parents []gatewayv1.RouteParentStatus
	// KeepsRecords says that a condition ConditionRecords stays as it is: what is to be said is
	// not known yet.
	KeepsRecords bool
}

// ConditionRecords is the type of the condition that says how the DNS records of a Route
// fare, for each of its parents that takes it.
const ConditionRecords = "lintel.dev/DNSRecordsReady"

// PolicyStatus is our part of a policy's status: an entry for each of our Gateways that
// the policy has to do with.
type PolicyStatus struct {
	Ancestors []gatewayv1.PolicyAncestorStatus
}

// Problem is one mistake in one object.
type Problem struct {
	Object ObjectRef
	Field  string // "spec.rules[0].backendRefs[1]"; "" for the object as a whole
	// Reason is that of the condition that the mistake made, or ReasonUnclaimed.
	Reason  string
	Message string
}

// ReasonUnclaimed marks an object that names a class or a parent that is nobody's
// here. On a cluster it may be another controller's; in a folder of manifests it
// is a mistake.
const ReasonUnclaimed = "Unclaimed"
