package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayx "sigs.k8s.io/gateway-api/apisx/v1alpha1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

// testSettings are those of a cluster with nothing configured.
func testSettings() Settings {
	return Settings{
		GatewayServices:       true,
		ControllerName:        "lintel.dev/gateway-controller",
		IngressControllerName: "lintel.dev/ingress-controller",
		HTTPPort:              80,
		HTTPSPort:             443,
	}
}

// readSnapshot decodes YAML documents; a mistake in them fails the test.
func readSnapshot(t testing.TB, input []byte) *Snapshot {
	t.Helper()
	s := &Snapshot{Settings: testSettings()}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(input)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return s
		}
		if err != nil {
			t.Fatal(err)
		}
		addObject(t, s, doc)
	}
}

func addObject(t testing.TB, s *Snapshot, doc []byte) {
	t.Helper()
	var meta metav1.TypeMeta
	if err := sigsyaml.Unmarshal(doc, &meta); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	switch meta.Kind {
	case "":
	case "GatewayClass":
		s.GatewayClasses = append(s.GatewayClasses, decode[gatewayv1.GatewayClass](t, doc))
	case "Gateway":
		s.Gateways = append(s.Gateways, decode[gatewayv1.Gateway](t, doc))
	case "HTTPRoute":
		s.HTTPRoutes = append(s.HTTPRoutes, decode[gatewayv1.HTTPRoute](t, doc))
	case "GRPCRoute":
		s.GRPCRoutes = append(s.GRPCRoutes, decode[gatewayv1.GRPCRoute](t, doc))
	case "TLSRoute":
		s.TLSRoutes = append(s.TLSRoutes, decode[gatewayv1.TLSRoute](t, doc))
	case "TCPRoute":
		s.TCPRoutes = append(s.TCPRoutes, decode[gatewayv1.TCPRoute](t, doc))
	case "UDPRoute":
		s.UDPRoutes = append(s.UDPRoutes, decode[gatewayv1.UDPRoute](t, doc))
	case "ListenerSet":
		s.ListenerSets = append(s.ListenerSets, decode[gatewayv1.ListenerSet](t, doc))
	case "ReferenceGrant":
		s.ReferenceGrants = append(s.ReferenceGrants, decode[gatewayv1.ReferenceGrant](t, doc))
	case "BackendTLSPolicy":
		s.BackendTLSPolicies = append(s.BackendTLSPolicies, decode[gatewayv1.BackendTLSPolicy](t, doc))
	case "XBackendTrafficPolicy":
		s.BackendTrafficPolicies = append(s.BackendTrafficPolicies, decode[gatewayx.XBackendTrafficPolicy](t, doc))
	case "Tunnel":
		s.Tunnels = append(s.Tunnels, decode[v1alpha1.Tunnel](t, doc))
	case "TunnelStates": // by the names of Tunnels in the namespace "default"
		var states struct{ States map[string]TunnelState }
		if err := sigsyaml.Unmarshal(doc, &states); err != nil {
			t.Fatal(err)
		}
		s.Observed.Tunnels = map[types.NamespacedName]TunnelState{}
		for name, state := range states.States {
			s.Observed.Tunnels[types.NamespacedName{Namespace: "default", Name: name}] = state
		}
	case "Ingress":
		s.Ingresses = append(s.Ingresses, decode[networkingv1.Ingress](t, doc))
	case "IngressClass":
		s.IngressClasses = append(s.IngressClasses, decode[networkingv1.IngressClass](t, doc))
	case "Service":
		s.Services = append(s.Services, decode[corev1.Service](t, doc))
	case "Secret":
		s.Secrets = append(s.Secrets, decode[corev1.Secret](t, doc))
	case "ConfigMap":
		s.ConfigMaps = append(s.ConfigMaps, decode[corev1.ConfigMap](t, doc))
	case "ClusterTrustBundle":
		s.ClusterTrustBundles = append(s.ClusterTrustBundles, decode[certificatesv1.ClusterTrustBundle](t, doc))
	case "Namespace":
		s.Namespaces = append(s.Namespaces, decode[corev1.Namespace](t, doc))
	case "Node":
		s.Nodes = append(s.Nodes, decode[corev1.Node](t, doc))
	case "CRD":
		var crd CRD
		if err := sigsyaml.Unmarshal(doc, &crd); err != nil {
			t.Fatal(err)
		}
		s.CRDs = append(s.CRDs, crd)
	case "Observed":
		if err := sigsyaml.Unmarshal(doc, &s.Observed); err != nil {
			t.Fatal(err)
		}
	case "Certificates": // by the names of Secrets in the namespace "default"
		var states struct{ States map[string]CertificateState }
		if err := sigsyaml.Unmarshal(doc, &states); err != nil {
			t.Fatal(err)
		}
		s.Observed.Certificates = map[types.NamespacedName]CertificateState{}
		for name, state := range states.States {
			s.Observed.Certificates[types.NamespacedName{Namespace: "default", Name: name}] = state
		}
	case "Settings":
		if err := sigsyaml.Unmarshal(doc, &s.Settings); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("unknown kind %q", meta.Kind)
	}
}

func decode[T any, P interface {
	*T
	metav1.Object
}](t testing.TB, doc []byte) *T {
	t.Helper()
	object := P(new(T))
	if err := sigsyaml.Unmarshal(doc, object); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	if object.GetNamespace() == "" {
		switch any(object).(type) {
		case *gatewayv1.GatewayClass, *networkingv1.IngressClass, *corev1.Namespace, *corev1.Node, *certificatesv1.ClusterTrustBundle:
		default:
			object.SetNamespace("default")
		}
	}
	return (*T)(object)
}
