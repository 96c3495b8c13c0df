package manifest

import (
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

const (
	gatewayGroup      = "gateway.networking.k8s.io"
	networkingGroup   = "networking.k8s.io"
	discoveryGroup    = "discovery.k8s.io"
	certificatesGroup = "certificates.k8s.io"
	lintelGroup       = v1alpha1.Group
	coreGroup         = ""
)

// object is what every kind's Go type is.
type object interface {
	metav1.Object
	runtime.Object
}

// kind is one kind of object that Lintel reads.
type kind struct {
	group string
	name  string
	// versions are those that are read; all become the one Go type. They are nil
	// for a kind with a CRD, which lists its own.
	versions []string
	// cluster is set for kinds without a namespace.
	cluster bool
	new     func() object
	// add puts an object into a Snapshot; nil for kinds that no Snapshot holds.
	add func(*gateway.Snapshot, object)
	// complete sets defaults as an API server does, and check returns what it would
	// refuse. They are nil for a kind with a CRD, whose schema has both.
	complete func(object)
	check    func(object) field.ErrorList
}

// hasSchema tells whether a CRD describes the kind.
func (k *kind) hasSchema() bool { return k.group == gatewayGroup || k.group == lintelGroup }

// kinds is the set of kinds that are read.
type kinds []*kind

func newKinds() kinds {
	return append(gatewayKinds(), builtinKinds()...)
}

func gatewayKinds() kinds {
	return kinds{
		crd("GatewayClass", func(s *gateway.Snapshot) *[]*gatewayv1.GatewayClass { return &s.GatewayClasses }).clusterScoped(),
		crd("Gateway", func(s *gateway.Snapshot) *[]*gatewayv1.Gateway { return &s.Gateways }),
		crd("ListenerSet", func(s *gateway.Snapshot) *[]*gatewayv1.ListenerSet { return &s.ListenerSets }),
		crd("HTTPRoute", func(s *gateway.Snapshot) *[]*gatewayv1.HTTPRoute { return &s.HTTPRoutes }),
		crd("GRPCRoute", func(s *gateway.Snapshot) *[]*gatewayv1.GRPCRoute { return &s.GRPCRoutes }),
		crd("TLSRoute", func(s *gateway.Snapshot) *[]*gatewayv1.TLSRoute { return &s.TLSRoutes }),
		crd("TCPRoute", func(s *gateway.Snapshot) *[]*gatewayv1.TCPRoute { return &s.TCPRoutes }),
		crd("UDPRoute", func(s *gateway.Snapshot) *[]*gatewayv1.UDPRoute { return &s.UDPRoutes }),
		crd("ReferenceGrant", func(s *gateway.Snapshot) *[]*gatewayv1.ReferenceGrant { return &s.ReferenceGrants }),
		crd(v1alpha1.KindTunnel, func(s *gateway.Snapshot) *[]*v1alpha1.Tunnel { return &s.Tunnels }).in(lintelGroup),
		crd("BackendTLSPolicy", func(s *gateway.Snapshot) *[]*gatewayv1.BackendTLSPolicy { return &s.BackendTLSPolicies }),
	}
}

func builtinKinds() kinds {
	return kinds{
		builtin(networkingGroup, "Ingress", func(s *gateway.Snapshot) *[]*networkingv1.Ingress { return &s.Ingresses }).
			with(nil, checkIngress),
		builtin(networkingGroup, "IngressClass", func(s *gateway.Snapshot) *[]*networkingv1.IngressClass { return &s.IngressClasses }).
			with(nil, checkIngressClass).clusterScoped(),
		builtin(coreGroup, "Service", func(s *gateway.Snapshot) *[]*corev1.Service { return &s.Services }).
			with(completeService, checkService),
		builtin[discoveryv1.EndpointSlice](discoveryGroup, "EndpointSlice", nil).
			with(completeEndpointSlice, checkEndpointSlice),
		builtin(coreGroup, "Secret", func(s *gateway.Snapshot) *[]*corev1.Secret { return &s.Secrets }).
			with(completeSecret, checkSecret),
		builtin(coreGroup, "ConfigMap", func(s *gateway.Snapshot) *[]*corev1.ConfigMap { return &s.ConfigMaps }).
			with(nil, checkConfigMap),
		builtin(certificatesGroup, "ClusterTrustBundle", func(s *gateway.Snapshot) *[]*certificatesv1.ClusterTrustBundle { return &s.ClusterTrustBundles }).
			with(nil, checkClusterTrustBundle).clusterScoped().alsoIn("v1beta1"),
		builtin(coreGroup, "Namespace", func(s *gateway.Snapshot) *[]*corev1.Namespace { return &s.Namespaces }).
			with(completeNamespace, nil).clusterScoped(),
		builtin(dnsapi.Group, dnsapi.KindDNSEndpoint, func(s *gateway.Snapshot) *[]*dnsapi.DNSEndpoint { return &s.DNSEndpoints }).
			servedIn(dnsapi.Version),
		builtin(coreGroup, "Node", func(s *gateway.Snapshot) *[]*corev1.Node { return &s.Nodes }).clusterScoped(),
	}
}

// pointer constrains P to be *T and an object.
type pointer[T any] interface {
	*T
	object
}

func crd[T any, P pointer[T]](name string, list func(*gateway.Snapshot) *[]P) *kind {
	return &kind{group: gatewayGroup, name: name, new: func() object { return P(new(T)) }, add: adder(list)}
}

func builtin[T any, P pointer[T]](group, name string, list func(*gateway.Snapshot) *[]P) *kind {
	return &kind{
		group: group, name: name, versions: []string{"v1"},
		new: func() object { return P(new(T)) }, add: adder(list),
	}
}

func adder[P object](list func(*gateway.Snapshot) *[]P) func(*gateway.Snapshot, object) {
	if list == nil {
		return nil
	}
	return func(s *gateway.Snapshot, o object) {
		l := list(s)
		*l = append(*l, o.(P))
	}
}

func (k *kind) clusterScoped() *kind {
	k.cluster = true
	return k
}

// servedIn replaces the version v1.
func (k *kind) servedIn(version string) *kind {
	k.versions = []string{version}
	return k
}

func (k *kind) in(group string) *kind {
	k.group = group
	return k
}

// alsoIn adds versions that differ from v1 in nothing but their names.
func (k *kind) alsoIn(versions ...string) *kind {
	k.versions = append(k.versions, versions...)
	return k
}

func (k *kind) with(complete func(object), check func(object) field.ErrorList) *kind {
	k.complete, k.check = complete, check
	return k
}

// names returns the names of the kinds of a group.
func (all kinds) names(group string) []string {
	var names []string
	for _, k := range all {
		if k.group == group {
			names = append(names, k.name)
		}
	}
	return names
}

// find returns the kind for an apiVersion's group and a kind's name, or nil and
// the message that refuses it. Both are empty for an object of somebody else,
// which is passed over: a folder of manifests holds Deployments too.
func (all kinds) find(group, name string) (*kind, string) {
	for _, k := range all {
		if k.group == group && k.name == name {
			return k, ""
		}
	}
	if names := all.names(group); len(names) > 0 {
		if like := nearest(name, names); like != "" {
			return nil, didYouMean(like)
		}
		if group == gatewayGroup || group == lintelGroup {
			return nil, "is not a kind of this group (" + strings.Join(names, ", ") + ")"
		}
		return nil, ""
	}
	return nil, all.strayGroup(group, name)
}

// strayGroup tells whether a kind of ours stands in a group that is a mistake: a
// misspelt one of ours, or a group of Kubernetes itself, such as the "extensions"
// where Ingress once was. Other projects may well have a kind of the same name.
func (all kinds) strayGroup(group, name string) string {
	i := slices.IndexFunc(all, func(k *kind) bool { return k.name == name })
	if i < 0 {
		return ""
	}
	native := !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io")
	if !native && distance(group, all[i].group) > maxDistance(all[i].group) {
		return ""
	}
	return didYouMean(strings.TrimPrefix(all[i].group+"/v1", "/"))
}
