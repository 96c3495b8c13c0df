package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const controllerName = "lintel.dev/gateway-controller"

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func service(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: meta(name), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
}

func endpointSlice(service, address string) *discoveryv1.EndpointSlice {
	m := meta(service + "-1")
	m.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: m, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
		Ports:     []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
	}
}

func tlsSecret(name string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: meta(name), Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: []byte("certificate"), corev1.TLSPrivateKeyKey: []byte("key")},
	}
}

func ingress(name string) *networkingv1.Ingress {
	return &networkingv1.Ingress{ObjectMeta: meta(name), Spec: networkingv1.IngressSpec{
		DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}},
	}}
}

func gatewayObject(name string) *gatewayv1.Gateway {
	return &gatewayv1.Gateway{ObjectMeta: meta(name), Spec: gatewayv1.GatewaySpec{
		GatewayClassName: "lintel", Listeners: []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType}},
	}}
}

func parents(gateways ...gatewayv1.ObjectName) gatewayv1.CommonRouteSpec {
	var c gatewayv1.CommonRouteSpec
	for _, g := range gateways {
		c.ParentRefs = append(c.ParentRefs, gatewayv1.ParentReference{Name: g})
	}
	return c
}

func httpRoute(name string) *gatewayv1.HTTPRoute {
	return &gatewayv1.HTTPRoute{ObjectMeta: meta(name), Spec: gatewayv1.HTTPRouteSpec{CommonRouteSpec: parents("g")}}
}

func backendRefs() []gatewayv1.BackendRef {
	return []gatewayv1.BackendRef{{BackendObjectReference: gatewayv1.BackendObjectReference{Name: "s", Port: new(gatewayv1.PortNumber(80))}}}
}

func udpRoute(name string) *gatewayv1.UDPRoute {
	return &gatewayv1.UDPRoute{ObjectMeta: meta(name), Spec: gatewayv1.UDPRouteSpec{
		CommonRouteSpec: parents("g"), Rules: []gatewayv1.UDPRouteRule{{BackendRefs: backendRefs()}},
	}}
}

// trustBundle holds an authority of its own, as the API server wants one.
func trustBundle(f *fixture, name string) *certificatesv1beta1.ClusterTrustBundle {
	f.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(f)
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der := must(x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key))(f)
	return &certificatesv1beta1.ClusterTrustBundle{ObjectMeta: meta(name), Spec: certificatesv1beta1.ClusterTrustBundleSpec{
		TrustBundle: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	}}
}
