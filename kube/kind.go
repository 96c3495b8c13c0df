package kube

import (
	"cmp"
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

// object is what every API type is.
type object interface {
	runtime.Object
	metav1.Object
}

// lister is the part of a typed client that an informer needs.
type lister[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// scope says where objects of a kind live.
type scope int

const (
	namespaced scope = iota
	clusterWide
)

// kind is one kind of object that is watched.
type kind struct {
	name string // "HTTPRoute"
	// resource is set for a kind that an API server may lack: of a CRD, or of a feature
	// that is not enabled everywhere.
	resource schema.GroupResource
	// versions are those that can be read, the first preferred.
	versions []string
	scope    scope

	example   runtime.Object
	listWatch func(c clients, namespace, version string) *cache.ListWatch
	// trim drops what Lintel never reads from a fresh object; nil drops nothing.
	trim func(any)
	// matters reports whether a change from one version to the next does.
	matters func(was, is metav1.Object) bool
	// fill puts objects into a Snapshot; nil for EndpointSlices, which are no part of it.
	fill     func(s *gateway.Snapshot, objects []any)
	indexers cache.Indexers
}

// typed is a kind whose Go type is known.
type typed[T object, L runtime.Object] struct {
	name    string
	crd     string // plural name of its CRD of the Gateway API
	feature schema.GroupResource
	version string // "" is v1
	scope   scope
	example T
	// client returns the API of a namespace; "" is all.
	client func(c clients, namespace string) lister[L]
	// beta is the API of version v1beta1, for a kind that may be served in that alone.
	beta func(c clients, namespace string) lister[L]
	// fields and labels select on the server what is sent at all.
	fields, labels string
	trim           func(T)
	matters        func(was, is T) bool
	// list is where a Snapshot keeps these objects.
	list     func(*gateway.Snapshot) *[]T
	indexers cache.Indexers
}

func (t typed[T, L]) kind() *kind {
	k := &kind{
		name: t.name, resource: t.feature, versions: []string{cmp.Or(t.version, v1)}, scope: t.scope,
		example: t.example, listWatch: t.listWatch, indexers: t.indexers,
	}
	if t.crd != "" {
		k.resource = gatewayv1.Resource(t.crd)
	}
	if t.beta != nil {
		k.versions = append(k.versions, v1beta1)
	}
	if t.trim != nil {
		k.trim = func(o any) { t.trim(o.(T)) }
	}
	k.matters = func(was, is metav1.Object) bool {
		return metadataDiffers(was, is) || t.matters(was.(T), is.(T))
	}
	if t.list != nil {
		k.fill = func(s *gateway.Snapshot, objects []any) {
			list := t.list(s)
			for _, o := range objects {
				*list = append(*list, o.(T))
			}
		}
	}
	return k
}

const (
	v1      = "v1"
	v1beta1 = "v1beta1"
)

func (t typed[T, L]) listWatch(c clients, namespace, version string) *cache.ListWatch {
	client := t.client
	if version == v1beta1 {
		client = t.beta
	}
	api := client(c, namespace)
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector, o.LabelSelector = t.fields, t.labels
			return api.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector, o.LabelSelector = t.fields, t.labels
			return api.Watch(ctx, o)
		},
	}
}

// kinds returns all that is watched. Pods never are: their addresses come from
// EndpointSlices.
func kinds() []*kind { return append(gatewayKinds(), kubernetesKinds()...) }

// gatewayKinds are those of the Gateway API and our own, each of a CRD of its own.
func gatewayKinds() []*kind {
	type (
		snapshot = gateway.Snapshot
		in       = clients
	)
	return []*kind{
		typed[*gatewayv1.GatewayClass, *gatewayv1.GatewayClassList]{
			name: "GatewayClass", crd: "gatewayclasses", scope: clusterWide, example: &gatewayv1.GatewayClass{}, matters: generationDiffers,
			client: func(c in, _ string) lister[*gatewayv1.GatewayClassList] { return c.gateway.GatewayClasses() },
			list:   func(s *snapshot) *[]*gatewayv1.GatewayClass { return &s.GatewayClasses },
		}.kind(),
		typed[*gatewayv1.Gateway, *gatewayv1.GatewayList]{
			name: "Gateway", crd: "gateways", example: &gatewayv1.Gateway{}, matters: gatewayDiffers,
			client: func(c in, ns string) lister[*gatewayv1.GatewayList] { return c.gateway.Gateways(ns) },
			list:   func(s *snapshot) *[]*gatewayv1.Gateway { return &s.Gateways },
		}.kind(),
		typed[*gatewayv1.ListenerSet, *gatewayv1.ListenerSetList]{
			name: "ListenerSet", crd: "listenersets", example: &gatewayv1.ListenerSet{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*gatewayv1.ListenerSetList] { return c.gateway.ListenerSets(ns) },
			list:   func(s *snapshot) *[]*gatewayv1.ListenerSet { return &s.ListenerSets },
		}.kind(),
		typed[*gatewayv1.HTTPRoute, *gatewayv1.HTTPRouteList]{
			name: "HTTPRoute", crd: "httproutes", example: &gatewayv1.HTTPRoute{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*gatewayv1.HTTPRouteList] { return c.gateway.HTTPRoutes(ns) },
			list:   func(s *snapshot) *[]*gatewayv1.HTTPRoute { return &s.HTTPRoutes },
		}.kind(),
		typed[*gatewayv1.GRPCRoute, *gatewayv1.GRPCRouteList]{
			name: "GRPCRoute", crd: "grpcroutes", example: &gatewayv1.GRPCRoute{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*gatewayv1.GRPCRouteList] { return c.gateway.GRPCRoutes(ns) },
			list:   func(s *snapshot) *[]*gatewayv1.GRPCRoute { return &s.GRPCRoutes },
		}.kind(),
		typed[*gatewayv1.TLSRoute, *gatewayv1.TLSRouteList]{
			name: "TLSRoute", crd: "tlsroutes", example: &gatewayv1.TLSRoute{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*gatewayv1.TLSRouteList] { return c.gateway.TLSRoutes(ns) },
			list:   func(s *snapshot) *[]*gatewayv1.TLSRoute { return &s.TLSRoutes },
		}.kind(),
		typed[*gatewayv1.TCPRoute, *gatewayv1.TCPRouteList]{
			name: "TCPRoute", crd: "tcproutes", example: &gatewayv1.TCPRoute{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*gatewayv1.TCPRouteList] { return c.gateway.TCPRoutes(ns) },
			list:   func(s *snapshot) *[]*gatewayv1.TCPRoute { return &s.TCPRoutes },
		}.kind(),
		typed[*gatewayv1.UDPRoute, *gatewayv1.UDPRouteList]{
			name: "UDPRoute", crd: "udproutes", example: &gatewayv1.UDPRoute{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*gatewayv1.UDPRouteList] { return c.gateway.UDPRoutes(ns) },
			list:   func(s *snapshot) *[]*gatewayv1.UDPRoute { return &s.UDPRoutes },
		}.kind(),
		typed[*gatewayv1.ReferenceGrant, *gatewayv1.ReferenceGrantList]{
			name: "ReferenceGrant", crd: "referencegrants", example: &gatewayv1.ReferenceGrant{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*gatewayv1.ReferenceGrantList] { return c.gateway.ReferenceGrants(ns) },
			list:   func(s *snapshot) *[]*gatewayv1.ReferenceGrant { return &s.ReferenceGrants },
		}.kind(),
		typed[*gatewayv1.BackendTLSPolicy, *gatewayv1.BackendTLSPolicyList]{
			name: "BackendTLSPolicy", crd: "backendtlspolicies", example: &gatewayv1.BackendTLSPolicy{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*gatewayv1.BackendTLSPolicyList] { return c.gateway.BackendTLSPolicies(ns) },
			list:   func(s *snapshot) *[]*gatewayv1.BackendTLSPolicy { return &s.BackendTLSPolicies },
		}.kind(),
		typed[*gatewayx.XBackendTrafficPolicy, *gatewayx.XBackendTrafficPolicyList]{
			name: "XBackendTrafficPolicy", feature: gatewayx.Resource("xbackendtrafficpolicies"), version: "v1alpha1",
			example: &gatewayx.XBackendTrafficPolicy{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*gatewayx.XBackendTrafficPolicyList] {
				return c.experimental.XBackendTrafficPolicies(ns)
			},
			list: func(s *snapshot) *[]*gatewayx.XBackendTrafficPolicy { return &s.BackendTrafficPolicies },
		}.kind(),
		typed[*v1alpha1.Tunnel, *v1alpha1.TunnelList]{
			name: v1alpha1.KindTunnel, feature: tunnelResource(), version: v1alpha1.Version,
			example: &v1alpha1.Tunnel{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*v1alpha1.TunnelList] { return c.tunnels(ns) },
			list:   func(s *snapshot) *[]*v1alpha1.Tunnel { return &s.Tunnels },
		}.kind(),
	}
}

// kubernetesKinds are those of Kubernetes itself.
func kubernetesKinds() []*kind {
	type (
		snapshot = gateway.Snapshot
		in       = clients
	)
	return []*kind{
		typed[*networkingv1.Ingress, *networkingv1.IngressList]{
			name: "Ingress", example: &networkingv1.Ingress{}, matters: generationDiffers,
			client: func(c in, ns string) lister[*networkingv1.IngressList] {
				return c.kubernetes.NetworkingV1().Ingresses(ns)
			},
			list: func(s *snapshot) *[]*networkingv1.Ingress { return &s.Ingresses },
		}.kind(),
		typed[*networkingv1.IngressClass, *networkingv1.IngressClassList]{
			name: "IngressClass", scope: clusterWide, example: &networkingv1.IngressClass{}, matters: generationDiffers,
			client: func(c in, _ string) lister[*networkingv1.IngressClassList] {
				return c.kubernetes.NetworkingV1().IngressClasses()
			},
			list: func(s *snapshot) *[]*networkingv1.IngressClass { return &s.IngressClasses },
		}.kind(),
		typed[*corev1.Service, *corev1.ServiceList]{
			name: "Service", example: &corev1.Service{}, matters: serviceDiffers,
			client: func(c in, ns string) lister[*corev1.ServiceList] { return c.kubernetes.CoreV1().Services(ns) },
			list:   func(s *snapshot) *[]*corev1.Service { return &s.Services },
		}.kind(),
		typed[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList]{
			name: "EndpointSlice", example: &discoveryv1.EndpointSlice{}, matters: endpointSliceDiffers,
			client: func(c in, ns string) lister[*discoveryv1.EndpointSliceList] {
				return c.kubernetes.DiscoveryV1().EndpointSlices(ns)
			},
			labels:   discoveryv1.LabelServiceName, // it has one
			indexers: cache.Indexers{byService: indexByService},
		}.kind(),
		typed[*corev1.Secret, *corev1.SecretList]{
			name: "Secret", example: &corev1.Secret{}, matters: secretDiffers,
			client: func(c in, ns string) lister[*corev1.SecretList] { return c.kubernetes.CoreV1().Secrets(ns) },
			fields: fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS)).String(),
			list:   func(s *snapshot) *[]*corev1.Secret { return &s.Secrets },
		}.kind(),
		typed[*corev1.ConfigMap, *corev1.ConfigMapList]{
			name: "ConfigMap", example: &corev1.ConfigMap{}, trim: trimConfigMap, matters: configMapDiffers,
			client: func(c in, ns string) lister[*corev1.ConfigMapList] { return c.kubernetes.CoreV1().ConfigMaps(ns) },
			list:   func(s *snapshot) *[]*corev1.ConfigMap { return &s.ConfigMaps },
		}.kind(),
		typed[*certificatesv1.ClusterTrustBundle, *certificatesv1.ClusterTrustBundleList]{
			name: "ClusterTrustBundle", feature: certificatesv1.Resource("clustertrustbundles"), scope: clusterWide,
			example: &certificatesv1.ClusterTrustBundle{}, matters: clusterTrustBundleDiffers,
			client: func(c in, _ string) lister[*certificatesv1.ClusterTrustBundleList] {
				return c.kubernetes.CertificatesV1().ClusterTrustBundles()
			},
			beta: func(c in, _ string) lister[*certificatesv1.ClusterTrustBundleList] {
				return betaTrustBundles{c.kubernetes.CertificatesV1beta1().ClusterTrustBundles()}
			},
			list: func(s *snapshot) *[]*certificatesv1.ClusterTrustBundle { return &s.ClusterTrustBundles },
		}.kind(),
		typed[*corev1.Namespace, *corev1.NamespaceList]{
			name: "Namespace", scope: clusterWide, example: &corev1.Namespace{},
			matters: func(_, _ *corev1.Namespace) bool { return false }, // only its metadata does
			client:  func(c in, _ string) lister[*corev1.NamespaceList] { return c.kubernetes.CoreV1().Namespaces() },
			list:    func(s *snapshot) *[]*corev1.Namespace { return &s.Namespaces },
		}.kind(),
		typed[*corev1.Node, *corev1.NodeList]{
			name: "Node", scope: clusterWide, example: &corev1.Node{}, trim: trimNode, matters: nodeDiffers,
			client: func(c in, _ string) lister[*corev1.NodeList] { return c.kubernetes.CoreV1().Nodes() },
			list:   func(s *snapshot) *[]*corev1.Node { return &s.Nodes },
		}.kind(),
	}
}

// transform prepares a fresh object for the cache. It is a cache.TransformFunc.
func (k *kind) transform(o any) (any, error) {
	m, ok := o.(object)
	if !ok {
		return o, nil // the tombstone of an object that was transformed before
	}
	m.SetManagedFields(nil)
	if a := m.GetAnnotations(); a != nil {
		delete(a, corev1.LastAppliedConfigAnnotation)
		m.SetAnnotations(a)
	}
	if k.trim != nil {
		k.trim(o)
	}
	return o, nil
}
