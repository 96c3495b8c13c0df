package gateway

import (
	"net/netip"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/lintel-dev/lintel/gateway/dnsapi"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
	"github.com/lintel-dev/lintel/router"
)

// Snapshot is everything that Build reads: the objects as their source holds
// them at one moment, the settings, and what the world answered. Objects are
// read-only and in any order. A kind whose CRD is not installed is just empty.
type Snapshot struct {
	GatewayClasses     []*gatewayv1.GatewayClass
	Gateways           []*gatewayv1.Gateway
	ListenerSets       []*gatewayv1.ListenerSet
	HTTPRoutes         []*gatewayv1.HTTPRoute
	GRPCRoutes         []*gatewayv1.GRPCRoute
	TLSRoutes          []*gatewayv1.TLSRoute
	TCPRoutes          []*gatewayv1.TCPRoute
	UDPRoutes          []*gatewayv1.UDPRoute
	ReferenceGrants    []*gatewayv1.ReferenceGrant
	BackendTLSPolicies []*gatewayv1.BackendTLSPolicy

	// Of the experimental channel.
	BackendTrafficPolicies []*gatewayx.XBackendTrafficPolicy

	// DNSEndpoints get DNS records; nothing else is made of them.
	DNSEndpoints []*dnsapi.DNSEndpoint

	Tunnels []*v1alpha1.Tunnel

	Ingresses      []*networkingv1.Ingress
	IngressClasses []*networkingv1.IngressClass

	Services            []*corev1.Service
	Secrets             []*corev1.Secret
	ConfigMaps          []*corev1.ConfigMap
	ClusterTrustBundles []*certificatesv1.ClusterTrustBundle

	Namespaces []*corev1.Namespace
	Nodes      []*corev1.Node

	// SecretsRead are those of Plan.Secrets that were looked for, whether they are there or
	// not; nil says that Secrets has all that there are.
	SecretsRead map[types.NamespacedName]bool

	// CRDs are those of the Gateway API that the API server has; none where that is not
	// known, or where there is no API server.
	CRDs []CRD

	Settings Settings
	Observed Observed
}

// CRD is one CustomResourceDefinition of the Gateway API, by its annotations: "" for one
// that it does not have.
type CRD struct {
	Name    string // "gateways.gateway.networking.k8s.io"
	Version string // of the release: "v1.7.0"
	Channel string // "standard" or "experimental"
}

// Settings are the choices of the person who runs Lintel that change what is
// built. Zero values are not defaults: cmd/lintel fills every field.
type Settings struct {
	// ControllerName is the spec.controllerName of our GatewayClasses.
	ControllerName string
	// IngressControllerName is the spec.controller of our IngressClasses.
	IngressControllerName string
	// GatewayClasses and IngressClasses limit our classes to those with these
	// names; none means every class with our controller's name.
	GatewayClasses []string
	IngressClasses []string
	// HTTPPort and HTTPSPort are where Ingress is served; 0 turns it off there.
	HTTPPort  int
	HTTPSPort int
	// Addresses are published in status instead of the nodes' when not empty: IP
	// addresses or hostnames.
	Addresses []string
	// PublishService is a Service whose load balancer's addresses are published instead; zero
	// for none. Addresses come first.
	PublishService types.NamespacedName
	// NodeName limits the published node addresses to one node; "" takes all.
	NodeName string
	// GatewayServices wants a Service for each Gateway.
	GatewayServices bool
	// AddressPools are given to Gateways in this order. A Gateway that none of them serves
	// shares the addresses of the node.
	AddressPools []AddressPool
	// Issuers are those that certificates come from, beside IssuerSelfSigned, and
	// DefaultIssuer is the one of objects that say nothing, "" for none.
	Issuers       []Issuer
	DefaultIssuer string
	// CertManagerAnnotations reads the annotations that cert-manager reads.
	CertManagerAnnotations bool
	// CollectNames fills Plan.Names.
	CollectNames bool
	// Backends say how every Backend is used; the Protocol there is each Service's own.
	Backends router.BackendSettings
}

// Observed is what the world answered to earlier Plans.
type Observed struct {
	// Sockets holds, by socket name, "" for one that is open, or else the reason
	// why it could not be opened. A socket that is missing was not tried yet.
	Sockets map[string]string
	// Addresses holds, by address of an address pool, "" for one that is announced, or is
	// another instance's to announce, or else the reason why it cannot be used. An address
	// that is missing was not tried yet. Of addresses outside of pools it holds those that
	// the node turned out not to have.
	Addresses map[netip.Addr]string
	// Certificates is what became of those that were wanted, by Secret.
	Certificates map[types.NamespacedName]CertificateState
	// Challenges are those that CAs ask for now.
	Challenges []HTTPChallenge
	// Tunnels is what became of those that were wanted.
	Tunnels map[types.NamespacedName]TunnelState
	// Records is how the DNS records of Routes fare; nil when none are kept. A Route that is
	// missing shows what its status says already.
	Records map[ObjectRef]RecordsState
	// Infrastructure holds the Gateways that do not get the Service which they want, and
	// why: its name is somebody else's.
	Infrastructure map[ObjectRef]string
}

// RecordsState is how the DNS records of one object fare. The zero value is for an object that
// wants none.
type RecordsState struct {
	Ready  metav1.ConditionStatus
	Reason string // one word, as in conditions
	// Message is for people.
	Message string
	// Generation and Hostnames are those of the object when this was found out. It is true of
	// other generations as long as the hostnames stay the same.
	Generation int64
	Hostnames  []string
}

// ServicePort names one port of a Service.
type ServicePort struct {
	Service types.NamespacedName
	Port    int32
}

// BackendKey names a Backend: a port of a Service, and how it is used.
type BackendKey struct {
	ServicePort
	// Use tells Backends of one port apart that are used in different ways at once, as by a
	// GRPCRoute and an HTTPRoute, or by Gateways with client certificates of their own. ""
	// is what HTTPRoutes and Ingresses use.
	Use string
}
