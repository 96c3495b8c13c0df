package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"

	"github.com/lintel-dev/lintel/conformance/cluster/controlplane"
	edgetls "github.com/lintel-dev/lintel/tls"
)

// TestCluster runs Lintel against a real API server: objects are applied with a
// real client, statuses awaited, real requests sent, and routes, endpoints and
// certificates changed under load.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane")
	}
	if !inNamespace(t) {
		return
	}
	c := newCluster(t)
	c.createPermissions("../../deploy/rbac.yaml")
	c.createBackends("blue", "green")
	c.createObjects()
	stop := c.startLintel()

	c.awaitProgrammed("web")
	c.awaitRouteAccepted("shop")
	c.awaitAnswer("http://shop.example.com/", "blue")
	c.awaitAnswer("https://shop.example.com/", "blue")
	c.awaitAnswer("http://ingress.example.com/", "green")
	c.awaitIngressAddress("site")
	c.awaitServiceOf("web")
	c.changeUnderLoad()

	stop()
	if conn, err := net.Dial("tcp", "127.0.0.1:80"); err == nil {
		conn.Close()
		t.Error("port 80 is still open after the drain")
	}
}

// cluster is the API server with its clients, and a client for the gateway.
type cluster struct {
	*testing.T
	plane   *controlplane.ControlPlane
	core    kubernetes.Interface
	gateway gatewayclient.Interface
	http    *http.Client
}

func newCluster(t *testing.T) *cluster {
	plane := controlplane.ForTest(t)
	dialer := &net.Dialer{}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(address)
			return dialer.DialContext(ctx, network, "127.0.0.1:"+port)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &cluster{
		T: t, plane: plane,
		core:    kubernetes.NewForConfigOrDie(plane.Config),
		gateway: gatewayclient.NewForConfigOrDie(plane.Config),
		http:    &http.Client{Transport: transport},
	}
}

// createPermissions applies the manifest that people apply before they run Lintel.
func (c *cluster) createPermissions(path string) {
	file, err := os.Open(path)
	c.must(err)
	defer file.Close()
	ctx, create, rbac := c.Context(), metav1.CreateOptions{}, c.core.RbacV1()
	for documents := yaml.NewYAMLReader(bufio.NewReader(file)); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		c.must(err)
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		c.must(err)
		switch o := object.(type) {
		case *corev1.Namespace:
			_, err = c.core.CoreV1().Namespaces().Create(ctx, o, create)
		case *corev1.ServiceAccount:
			_, err = c.core.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, create)
		case *rbacv1.Role:
			_, err = rbac.Roles(o.Namespace).Create(ctx, o, create)
		case *rbacv1.RoleBinding:
			_, err = rbac.RoleBindings(o.Namespace).Create(ctx, o, create)
		case *rbacv1.ClusterRole:
			_, err = rbac.ClusterRoles().Create(ctx, o, create)
		case *rbacv1.ClusterRoleBinding:
			_, err = rbac.ClusterRoleBindings().Create(ctx, o, create)
		default:
			c.Fatalf("%s holds a %T, which this test does not apply", path, o)
		}
		c.must(err)
	}
}

// kubeconfig is that of Lintel's service account: it may do what deploy/rbac.yaml
// grants, and no more.
func (c *cluster) kubeconfig() string {
	config, err := clientcmd.LoadFromFile(c.plane.Kubeconfig)
	c.must(err)
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:lintel:lintel"
	}
	path := filepath.Join(c.TempDir(), "kubeconfig")
	c.must(clientcmd.WriteToFile(*config, path))
	return path
}

// createBackends starts a server for each name, which answers with it, and makes
// it a Service. An API server refuses loopback addresses in EndpointSlices.
func (c *cluster) createBackends(names ...string) {
	for i, name := range names {
		listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", backendAddress, 9001+i))
		c.must(err)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })}
		var served sync.WaitGroup
		served.Go(func() { _ = server.Serve(listener) })
		c.Cleanup(func() { server.Close(); served.Wait() })

		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}}
		service.Spec.Ports = []corev1.ServicePort{{Port: 80}}
		_, err = c.core.CoreV1().Services("default").Create(c.Context(), service, metav1.CreateOptions{})
		c.must(err)
		_, err = c.core.DiscoveryV1().EndpointSlices("default").Create(c.Context(), endpointSlice(name, int32(9001+i)), metav1.CreateOptions{})
		c.must(err)
	}
}

func endpointSlice(service string, port int32) *discoveryv1.EndpointSlice {
	none := ""
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{backendAddress}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &none, Port: &port}},
	}
}

// createClass creates a GatewayClass.
func (c *cluster) createClass(name, controller string) {
	c.Helper()
	class := &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
	class.Spec.ControllerName = gatewayv1.GatewayController(controller)
	_, err := c.gateway.GatewayV1().GatewayClasses().Create(c.Context(), class, metav1.CreateOptions{})
	c.must(err)
}

func (c *cluster) createObjects() {
	ctx, create := c.Context(), metav1.CreateOptions{}
	api := c.gateway.GatewayV1()
	c.createClass("lintel", "lintel.dev/gateway-controller")
	_, err := c.core.CoreV1().Secrets("default").Create(ctx, c.certificate(), create)
	c.must(err)
	gateway := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	gateway.Spec.GatewayClassName = "lintel"
	gateway.Spec.Listeners = []gatewayv1.Listener{
		{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType},
		{Name: "https", Port: 443, Protocol: gatewayv1.HTTPSProtocolType, TLS: &gatewayv1.ListenerTLSConfig{
			CertificateRefs: []gatewayv1.SecretObjectReference{{Name: "cert"}},
		}},
	}
	_, err = api.Gateways("default").Create(ctx, gateway, create)
	c.must(err)
	_, err = api.HTTPRoutes("default").Create(ctx, route("shop", "blue"), create)
	c.must(err)

	ingressClass := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "lintel"}}
	ingressClass.Spec.Controller = "lintel.dev/ingress-controller"
	_, err = c.core.NetworkingV1().IngressClasses().Create(ctx, ingressClass, create)
	c.must(err)
	_, err = c.core.NetworkingV1().Ingresses("default").Create(ctx, ingress("site", "green"), create)
	c.must(err)
}

func route(name, backend string) *gatewayv1.HTTPRoute {
	port := gatewayv1.PortNumber(80)
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: name}}
	r.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "web"}}
	r.Spec.Hostnames = []gatewayv1.Hostname{"shop.example.com"}
	ref := gatewayv1.HTTPBackendRef{}
	ref.Name, ref.Port = gatewayv1.ObjectName(backend), &port
	r.Spec.Rules = []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{ref}}}
	return r
}

func ingress(name, backend string) *networkingv1.Ingress {
	class, prefix := "lintel", networkingv1.PathTypePrefix
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: name}}
	i.Spec.IngressClassName = &class
	i.Spec.Rules = []networkingv1.IngressRule{{Host: "ingress.example.com"}}
	i.Spec.Rules[0].HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
		Path: "/", PathType: &prefix,
		Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: backend, Port: networkingv1.ServiceBackendPort{Number: 80}}},
	}}}
	return i
}

// certificate makes a new certificate for all hosts of the test.
func (c *cluster) certificate() *corev1.Secret {
	certificate, key, err := edgetls.SelfSigned([]string{"*.example.com"}, time.Hour)
	c.must(err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "cert"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
	}
}

// startLintel runs the program against the API server. The function that it
// returns ends it as SIGTERM does, and waits until it has drained.
func (c *cluster) startLintel() (stop func()) {
	c.Helper()
	return startRun(c.T, "--kubeconfig="+c.kubeconfig(), "--admin-address=", "--access-log=off", "--publish-address=192.0.2.7", "--drain-timeout=5s", "--lease-namespace=lintel")
}

func (c *cluster) awaitProgrammed(name string) {
	c.await("Gateway is programmed", func(ctx context.Context) string {
		g, err := c.gateway.GatewayV1().Gateways("default").Get(ctx, name, metav1.GetOptions{})
		c.must(err)
		for _, l := range g.Status.Listeners {
			if !meta.IsStatusConditionTrue(l.Conditions, "Programmed") || l.AttachedRoutes != 1 {
				return fmt.Sprintf("%+v", l)
			}
		}
		if !meta.IsStatusConditionTrue(g.Status.Conditions, "Programmed") || len(g.Status.Listeners) != 2 || len(g.Status.Addresses) != 1 || g.Status.Addresses[0].Value != "192.0.2.7" {
			return fmt.Sprintf("%+v", g.Status)
		}
		return ""
	})
}

func (c *cluster) awaitRouteAccepted(name string) {
	c.await("HTTPRoute is accepted", func(ctx context.Context) string {
		r, err := c.gateway.GatewayV1().HTTPRoutes("default").Get(ctx, name, metav1.GetOptions{})
		c.must(err)
		if len(r.Status.Parents) != 1 || !meta.IsStatusConditionTrue(r.Status.Parents[0].Conditions, "Accepted") ||
			!meta.IsStatusConditionTrue(r.Status.Parents[0].Conditions, "ResolvedRefs") {
			return fmt.Sprintf("%+v", r.Status)
		}
		return ""
	})
}

func (c *cluster) awaitIngressAddress(name string) {
	c.await("Ingress has its address", func(ctx context.Context) string {
		i, err := c.core.NetworkingV1().Ingresses("default").Get(ctx, name, metav1.GetOptions{})
		c.must(err)
		if len(i.Status.LoadBalancer.Ingress) != 1 || i.Status.LoadBalancer.Ingress[0].IP != "192.0.2.7" {
			return fmt.Sprintf("%+v", i.Status)
		}
		return ""
	})
}

// awaitServiceOf awaits the Service by which Pods reach a Gateway.
func (c *cluster) awaitServiceOf(gateway string) {
	c.await("Service of the Gateway has its address", func(ctx context.Context) string {
		slices, err := c.core.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: gatewayv1.GatewayNameLabelKey + "=" + gateway})
		c.must(err)
		if len(slices.Items) != 1 || slices.Items[0].Endpoints[0].Addresses[0] != "192.0.2.7" {
			return fmt.Sprintf("%+v", slices.Items)
		}
		service, err := c.core.CoreV1().Services("default").Get(ctx, slices.Items[0].Labels[discoveryv1.LabelServiceName], metav1.GetOptions{})
		if err != nil || len(service.Spec.Ports) != 2 {
			return fmt.Sprint(err, service)
		}
		return ""
	})
}

func (c *cluster) awaitAnswer(url, want string) {
	c.await("answer of "+url, func(ctx context.Context) string {
		got, err := c.get(ctx, url)
		if err != nil {
			return err.Error()
		}
		if got != want {
			return fmt.Sprintf("got %q, want %q", got, want)
		}
		return ""
	})
}

// get returns the body of a 200 answer.
func (c *cluster) get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s: %s", response.Status, body)
	}
	return string(body), err
}

// changeUnderLoad changes the route, the endpoints and the certificate while
// clients keep asking: not one request may fail, and each change takes effect.
func (c *cluster) changeUnderLoad() {
	var asked, failed atomic.Int64
	ctx, cancel := context.WithTimeout(c.Context(), testTimeout)
	var clients sync.WaitGroup
	for _, url := range []string{"http://shop.example.com/", "https://shop.example.com/", "http://ingress.example.com/"} {
		clients.Go(func() {
			for ctx.Err() == nil {
				_, err := c.get(context.WithoutCancel(ctx), url)
				asked.Add(1)
				if err != nil && failed.Add(1) < 10 {
					c.Errorf("request %d under load: %s: %v", asked.Load(), url, err)
				}
			}
		})
	}
	routes := c.gateway.GatewayV1().HTTPRoutes("default")
	for i := range 20 {
		backend := []string{"green", "blue"}[i%2]
		// Lintel writes the Route's status at the same time.
		c.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			r, err := routes.Get(ctx, "shop", metav1.GetOptions{})
			if err != nil {
				return err
			}
			r.Spec = route("shop", backend).Spec
			_, err = routes.Update(ctx, r, metav1.UpdateOptions{})
			return err
		}))
		// Two Services trade places behind the Ingress.
		_, err := c.core.DiscoveryV1().EndpointSlices("default").Update(ctx, endpointSlice("green", int32(9001+i%2)), metav1.UpdateOptions{})
		c.must(err)
		_, err = c.core.CoreV1().Secrets("default").Update(ctx, c.certificate(), metav1.UpdateOptions{})
		c.must(err)
		c.awaitAnswer("http://ingress.example.com/", []string{"blue", "green"}[i%2])
		c.awaitAnswer("https://shop.example.com/", "blue")
	}
	cancel()
	clients.Wait()
	c.Logf("%d requests under load, %d failed", asked.Load(), failed.Load())
}

// await calls what until it returns "", which it must within the test's timeout.
func (c *cluster) await(name string, what func(context.Context) string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), testTimeout)
	defer cancel()
	until(c.T, name, func() string { return what(ctx) })
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}
