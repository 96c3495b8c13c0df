package gateway

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

// index holds the Snapshot's look-ups. It is made anew for every Build.
type index struct {
	*Snapshot
	services        map[types.NamespacedName]*corev1.Service
	secrets         map[types.NamespacedName]*corev1.Secret
	namespaceLabels map[string]labels.Set
	grants          map[string][]*gatewayv1.ReferenceGrant // by namespace
	configMaps      map[types.NamespacedName]*corev1.ConfigMap
	trustBundles    map[types.NamespacedName]*certificatesv1.ClusterTrustBundle

	tunnelObjects  map[types.NamespacedName]*v1alpha1.Tunnel
	gatewayClasses map[string]bool // ours, by name
	ingressClasses map[string]bool
	defaultIngress bool // one of our IngressClasses is the default
}

func newIndex(s *Snapshot) *index {
	x := &index{
		Snapshot:        s,
		services:        byName(s.Services),
		secrets:         byName(s.Secrets),
		namespaceLabels: make(map[string]labels.Set, len(s.Namespaces)),
		grants:          make(map[string][]*gatewayv1.ReferenceGrant),
		configMaps:      byName(s.ConfigMaps),
		trustBundles:    byName(s.ClusterTrustBundles),
		tunnelObjects:   byName(s.Tunnels),
		gatewayClasses:  make(map[string]bool),
		ingressClasses:  make(map[string]bool),
	}
	for _, n := range s.Namespaces {
		x.namespaceLabels[n.Name] = n.Labels
	}
	for _, g := range s.ReferenceGrants {
		x.grants[g.Namespace] = append(x.grants[g.Namespace], g)
	}
	return x
}

func byName[T metav1.Object](objects []T) map[types.NamespacedName]T {
	m := make(map[types.NamespacedName]T, len(objects))
	for _, o := range objects {
		m[nameOf(o)] = o
	}
	return m
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// reference is a BackendRef or certificateRef from one object to another.
type reference struct {
	fromGroup, fromKind, fromNamespace string
	toGroup, toKind                    string
	to                                 types.NamespacedName
}

// permits reports whether a reference stays in its namespace, or a ReferenceGrant
// in the target's namespace allows it.
func (x *index) permits(r reference) bool {
	if r.fromNamespace == r.to.Namespace {
		return true
	}
	for _, g := range x.grants[r.to.Namespace] {
		if grantFrom(g, r) && grantTo(g, r) {
			return true
		}
	}
	return false
}

func grantFrom(g *gatewayv1.ReferenceGrant, r reference) bool {
	for _, f := range g.Spec.From {
		if string(f.Group) == r.fromGroup && string(f.Kind) == r.fromKind && string(f.Namespace) == r.fromNamespace {
			return true
		}
	}
	return false
}

func grantTo(g *gatewayv1.ReferenceGrant, r reference) bool {
	for _, t := range g.Spec.To {
		if string(t.Group) == r.toGroup && string(t.Kind) == r.toKind && (t.Name == nil || *t.Name == "" || string(*t.Name) == r.to.Name) {
			return true
		}
	}
	return false
}

// ingressClass returns the class that an Ingress asks for, from its spec or from
// the annotation that came before it; "" asks for the default class.
func ingressClass(i *networkingv1.Ingress) string {
	if i.Spec.IngressClassName != nil {
		return *i.Spec.IngressClassName
	}
	return i.Annotations[annotationIngressClass]
}

const (
	groupGateway = gatewayv1.GroupName
	groupCore    = ""

	kindGateway      = "Gateway"
	kindGatewayClass = "GatewayClass"
	kindHTTPRoute    = "HTTPRoute"
	kindGRPCRoute    = "GRPCRoute"
	kindIngress      = "Ingress"
	kindService      = "Service"
	kindSecret       = "Secret"

	annotationIngressClass = "kubernetes.io/ingress.class"
)
