package kube

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayx "sigs.k8s.io/gateway-api/apisx/v1alpha1"
	"sigs.k8s.io/gateway-api/pkg/consts"

	"github.com/lintel-dev/lintel/conformance/process"
	"github.com/lintel-dev/lintel/gateway"
)

// names returns those of the objects in one namespace ("" is cluster-wide).
func names[T metav1.Object](namespace string, objects []T) []string {
	var found []string
	for _, o := range objects {
		if o.GetNamespace() == namespace {
			found = append(found, o.GetName())
		}
	}
	slices.Sort(found)
	return found
}

func TestStoreReadsEveryKind(t *testing.T) {
	f := newFixture(t)
	createAll(f)
	s, log := f.runStore(StoreOptions{})
	if change := f.wait(s); !change.Objects {
		t.Errorf("first change = %+v, want Objects", change)
	}
	got := s.Snapshot()
	ns := f.namespace
	for _, kind := range []struct {
		name  string
		names []string
	}{
		{"GatewayClass", names("", got.GatewayClasses)}, {"Gateway", names(ns, got.Gateways)}, {"ListenerSet", names(ns, got.ListenerSets)},
		{"HTTPRoute", names(ns, got.HTTPRoutes)}, {"GRPCRoute", names(ns, got.GRPCRoutes)}, {"TLSRoute", names(ns, got.TLSRoutes)},
		{"TCPRoute", names(ns, got.TCPRoutes)}, {"UDPRoute", names(ns, got.UDPRoutes)}, {"ReferenceGrant", names(ns, got.ReferenceGrants)},
		{"BackendTLSPolicy", names(ns, got.BackendTLSPolicies)}, {"XBackendTrafficPolicy", names(ns, got.BackendTrafficPolicies)}, {"Ingress", names(ns, got.Ingresses)}, {"IngressClass", names("", got.IngressClasses)},
		{"Service", names(ns, got.Services)}, {"Secret", names(ns, got.Secrets)}, {"Node", names("", got.Nodes)},
		{"ClusterTrustBundle", names("", got.ClusterTrustBundles)},
		{"EndpointSlice", names(ns, s.EndpointSlices(types.NamespacedName{Namespace: ns, Name: "a"}))},
	} {
		want := "a"
		if kind.name == "EndpointSlice" {
			want = "a-1"
		}
		if !slices.Contains(kind.names, want) {
			t.Errorf("%s: got %q, want %q among them", kind.name, kind.names, want)
		}
	}
	if got := names("", got.Namespaces); !slices.Contains(got, ns) {
		t.Errorf("Namespaces %q lack %q", got, ns)
	}
	if secrets := names(ns, got.Secrets); slices.Contains(secrets, "opaque") {
		t.Error("an Opaque Secret was read")
	}
	for _, n := range got.Nodes {
		if len(n.Status.Addresses) != 1 || len(n.Status.Images) != 0 {
			t.Errorf("Node status %+v, want the address alone", n.Status)
		}
	}
	for _, c := range got.ConfigMaps {
		if c.Namespace == ns && c.Name == "a" && (c.Data["ca.crt"] != "bundle" || len(c.Data) != 1) {
			t.Errorf("ConfigMap data %v, want the CA bundle alone", c.Data)
		}
	}
	for _, b := range got.ClusterTrustBundles {
		if b.Name == "a" && !strings.Contains(b.Spec.TrustBundle, "CERTIFICATE") {
			t.Errorf("ClusterTrustBundle holds %q, want a certificate", b.Spec.TrustBundle)
		}
	}
	for _, r := range got.HTTPRoutes {
		if len(r.ManagedFields) != 0 {
			t.Error("managedFields were kept")
		}
	}
	if log.String() != "" {
		t.Errorf("logged:\n%s", log)
	}
}

// createAll creates an object "a" of every kind.
func createAll(f *fixture) {
	f.Helper()
	ctx, o := f.Context(), metav1.CreateOptions{}
	gw, core := f.clients.gateway, f.clients.kubernetes.CoreV1()
	created := func(_ any, err error) {
		f.Helper()
		if err != nil && !apierrors.IsAlreadyExists(err) { // as cluster-wide ones do with -count
			f.Error(err)
		}
	}
	created(gw.GatewayClasses().Create(ctx, &gatewayv1.GatewayClass{ObjectMeta: meta("a"), Spec: gatewayv1.GatewayClassSpec{ControllerName: controllerName}}, o))
	created(gw.Gateways(f.namespace).Create(ctx, gatewayObject("a"), o))
	created(gw.ListenerSets(f.namespace).Create(ctx, &gatewayv1.ListenerSet{ObjectMeta: meta("a"), Spec: gatewayv1.ListenerSetSpec{
		ParentRef: gatewayv1.ParentGatewayReference{Name: "a"},
		Listeners: []gatewayv1.ListenerEntry{{Name: "x", Port: 81, Protocol: gatewayv1.HTTPProtocolType}},
	}}, o))
	created(gw.HTTPRoutes(f.namespace).Create(ctx, httpRoute("a"), o))
	created(gw.GRPCRoutes(f.namespace).Create(ctx, &gatewayv1.GRPCRoute{ObjectMeta: meta("a"), Spec: gatewayv1.GRPCRouteSpec{CommonRouteSpec: parents("g")}}, o))
	created(gw.TLSRoutes(f.namespace).Create(ctx, &gatewayv1.TLSRoute{ObjectMeta: meta("a"), Spec: gatewayv1.TLSRouteSpec{
		CommonRouteSpec: parents("g"), Hostnames: []gatewayv1.Hostname{"a.example"}, Rules: []gatewayv1.TLSRouteRule{{BackendRefs: backendRefs()}},
	}}, o))
	created(gw.TCPRoutes(f.namespace).Create(ctx, &gatewayv1.TCPRoute{ObjectMeta: meta("a"), Spec: gatewayv1.TCPRouteSpec{
		CommonRouteSpec: parents("g"), Rules: []gatewayv1.TCPRouteRule{{BackendRefs: backendRefs()}},
	}}, o))
	created(gw.UDPRoutes(f.namespace).Create(ctx, udpRoute("a"), o))
	created(gw.ReferenceGrants(f.namespace).Create(ctx, &gatewayv1.ReferenceGrant{ObjectMeta: meta("a"), Spec: gatewayv1.ReferenceGrantSpec{
		From: []gatewayv1.ReferenceGrantFrom{{Group: gatewayv1.GroupName, Kind: "HTTPRoute", Namespace: "default"}},
		To:   []gatewayv1.ReferenceGrantTo{{Kind: "Service"}},
	}}, o))
	created(f.clients.experimental.XBackendTrafficPolicies(f.namespace).Create(ctx, &gatewayx.XBackendTrafficPolicy{ObjectMeta: meta("a"), Spec: gatewayx.BackendTrafficPolicySpec{
		TargetRefs: []gatewayx.LocalPolicyTargetReference{{Kind: "Service", Name: "a"}},
	}}, o))
	created(gw.BackendTLSPolicies(f.namespace).Create(ctx, &gatewayv1.BackendTLSPolicy{ObjectMeta: meta("a"), Spec: gatewayv1.BackendTLSPolicySpec{
		TargetRefs: []gatewayv1.LocalPolicyTargetReferenceWithSectionName{{LocalPolicyTargetReference: gatewayv1.LocalPolicyTargetReference{Kind: "Service", Name: "a"}}},
		Validation: gatewayv1.BackendTLSPolicyValidation{Hostname: "a.example", WellKnownCACertificates: new(gatewayv1.WellKnownCACertificatesSystem)},
	}}, o))
	created(f.clients.kubernetes.NetworkingV1().Ingresses(f.namespace).Create(ctx, ingress("a"), o))
	created(f.clients.kubernetes.NetworkingV1().IngressClasses().Create(ctx, &networkingv1.IngressClass{ObjectMeta: meta("a"), Spec: networkingv1.IngressClassSpec{Controller: "lintel.dev/ingress-controller"}}, o))
	created(core.Services(f.namespace).Create(ctx, service("a"), o))
	created(f.clients.kubernetes.DiscoveryV1().EndpointSlices(f.namespace).Create(ctx, endpointSlice("a", "10.0.0.1"), o))
	created(core.Secrets(f.namespace).Create(ctx, tlsSecret("a"), o))
	created(core.Secrets(f.namespace).Create(ctx, &corev1.Secret{ObjectMeta: meta("opaque"), Data: map[string][]byte{"password": []byte("x")}}, o))
	created(core.ConfigMaps(f.namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: meta("a"), Data: map[string]string{"ca.crt": "bundle", "other": "long"}}, o))
	created(f.clients.kubernetes.CertificatesV1beta1().ClusterTrustBundles().Create(ctx, trustBundle(f, "a"), o))
	created(core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: meta("a"), Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
		Images:    []corev1.ContainerImage{{Names: []string{"image"}}},
	}}, o))
}

func TestStoreFollowsCRDs(t *testing.T) {
	f := newFixture(t)
	deleteCRD := func() {
		t.Helper()
		client := must(apiextensions.NewForConfig(f.plane.Config))(f)
		if err := client.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), "udproutes.gateway.networking.k8s.io", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		f.eventually("the CRD is gone", func() bool {
			_, err := f.clients.gateway.UDPRoutes("").List(t.Context(), metav1.ListOptions{})
			return err != nil
		})
	}
	install := func() {
		t.Helper()
		if err := f.plane.InstallCRDs(t.Context(), "udproutes"); err != nil {
			t.Fatal(err)
		}
	}
	deleteCRD()
	t.Cleanup(func() { _ = f.plane.InstallCRDs(context.Background(), "udproutes") })
	s, log := f.runStore(StoreOptions{})
	f.wait(s)
	disabled := func() int { return log.count("kind disabled: CRD not installed", "UDPRoute") }
	if disabled() != 1 || log.count("") != 1 {
		t.Fatalf("want one line that UDPRoute is disabled, got:\n%s", log)
	}

	install()
	must(f.clients.gateway.UDPRoutes(f.namespace).Create(t.Context(), udpRoute("a"), metav1.CreateOptions{}))(f)
	f.waitUntil(s, "the UDPRoute", func(got *gateway.Snapshot) bool { return len(names(f.namespace, got.UDPRoutes)) == 1 })
	if log.count("kind enabled", "UDPRoute") != 1 {
		t.Errorf("want one line that UDPRoute is enabled, got:\n%s", log)
	}

	deleteCRD()
	f.waitUntil(s, "no UDPRoute", func(got *gateway.Snapshot) bool { return len(got.UDPRoutes) == 0 })
	f.eventually("the second line that UDPRoute is disabled", func() bool { return disabled() == 2 })
	if log.count("") != 3 {
		t.Errorf("want three lines, got:\n%s", log)
	}
}

// TestStoreOfOldCRD has a CRD as an older release of the Gateway API would bring it.
func TestStoreOfOldCRD(t *testing.T) {
	f := newFixture(t)
	crds := must(apiextensions.NewForConfig(f.plane.Config))(f).ApiextensionsV1().CustomResourceDefinitions()
	const name = "tcproutes.gateway.networking.k8s.io"
	serve := func(v1 bool) {
		t.Helper()
		crd := must(crds.Get(t.Context(), name, metav1.GetOptions{}))(f)
		for i := range crd.Spec.Versions {
			crd.Spec.Versions[i].Served = v1 || crd.Spec.Versions[i].Name != "v1"
		}
		must(crds.Update(t.Context(), crd, metav1.UpdateOptions{}))(f)
		f.eventually("discovery knows", func() bool {
			list, err := f.clients.kubernetes.Discovery().ServerResourcesForGroupVersion(gatewayv1.GroupVersion.String())
			return err == nil && v1 == slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Kind == "TCPRoute" })
		})
	}
	serve(false)
	s, log := f.runStore(StoreOptions{})
	f.wait(s)
	if log.count("kind disabled: CRD does not serve version v1", "TCPRoute", "served=v1alpha2") != 1 {
		t.Errorf("want one line that names v1alpha2, got:\n%s", log)
	}
	serve(true)
	must(f.clients.gateway.TCPRoutes(f.namespace).Create(t.Context(), &gatewayv1.TCPRoute{ObjectMeta: meta("a"), Spec: gatewayv1.TCPRouteSpec{
		CommonRouteSpec: parents("g"), Rules: []gatewayv1.TCPRouteRule{{BackendRefs: backendRefs()}},
	}}, metav1.CreateOptions{}))(f)
	f.waitUntil(s, "the TCPRoute", func(got *gateway.Snapshot) bool { return len(names(f.namespace, got.TCPRoutes)) == 1 })
}

func TestStoreServesWithoutForbiddenKinds(t *testing.T) {
	f := newFixture(t)
	user := "limited-" + f.namespace
	rbac := f.clients.kubernetes.RbacV1()
	role := &rbacv1.ClusterRole{ObjectMeta: meta(f.namespace), Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{gatewayv1.GroupName, "networking.k8s.io", "discovery.k8s.io"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"services", "configmaps", "namespaces", "nodes"}, Verbs: []string{"get", "list", "watch"}},
		{NonResourceURLs: []string{"/apis/*"}, Verbs: []string{"get"}},
	}}
	role = must(rbac.ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}))(f)
	must(rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta(f.namespace), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}, metav1.CreateOptions{}))(f)
	f.eventually("the permission", func() bool {
		c := must(newClients(f.as(user)))(f)
		_, err := c.gateway.HTTPRoutes("").List(t.Context(), metav1.ListOptions{})
		return err == nil
	})
	must(f.clients.gateway.HTTPRoutes(f.namespace).Create(t.Context(), httpRoute("a"), metav1.CreateOptions{}))(f)
	must(f.clients.kubernetes.CoreV1().Secrets(f.namespace).Create(t.Context(), tlsSecret("a"), metav1.CreateOptions{}))(f)

	s, log := f.runStore(StoreOptions{Config: f.as(user)})
	f.wait(s)
	if got := names(f.namespace, s.Snapshot().HTTPRoutes); len(got) != 1 {
		t.Errorf("HTTPRoutes = %q, want one", got)
	}
	if log.count("kind not readable", "Secret") != 1 {
		t.Errorf("want one line on Secrets, got:\n%s", log)
	}

	role.Rules[1].Resources = append(role.Rules[1].Resources, "secrets")
	must(rbac.ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{}))(f)
	f.waitUntil(s, "the Secret", func(got *gateway.Snapshot) bool { return len(names(f.namespace, got.Secrets)) == 1 })
	if log.count("kind not readable", "Secret") != 1 || log.count("readable again", "Secret") != 1 {
		t.Errorf("want one line when Secrets were refused and one when not any more, got:\n%s", log)
	}
}

// refusing refuses the first requests for HTTPRoutes, as an API server does that just started.
type refusing struct {
	http.RoundTripper
	left *atomic.Int32 // to be refused
}

func (r refusing) RoundTrip(request *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(request.URL.Path, "/httproutes") || r.left.Add(-1) < 0 {
		return r.RoundTripper.RoundTrip(request)
	}
	return &http.Response{
		StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/json"}}, Request: request,
		Body: io.NopCloser(strings.NewReader(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"RBAC: not yet"}`)),
	}, nil
}

// What is refused for a moment is waited for: without it everything would be as if nobody had it.
func TestStoreWaitsForAKindThatIsRefusedAtFirst(t *testing.T) {
	f := newFixture(t)
	must(f.clients.gateway.HTTPRoutes(f.namespace).Create(t.Context(), httpRoute("a"), metav1.CreateOptions{}))(f)
	config := rest.CopyConfig(f.plane.Config)
	var left atomic.Int32
	left.Store(2) // a list by a watch, and another one
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return refusing{next, &left} })
	s, log := f.runStore(StoreOptions{Config: config})
	f.wait(s)
	if got := names(f.namespace, s.Snapshot().HTTPRoutes); len(got) != 1 {
		t.Errorf("HTTPRoutes = %q, want one", got)
	}
	if log.count("kind not readable", "HTTPRoute") != 1 {
		t.Errorf("nothing was refused:\n%s", log)
	}
}

func TestStoreOfSomeNamespaces(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	for _, x := range []*fixture{f, other} {
		must(x.clients.gateway.HTTPRoutes(x.namespace).Create(t.Context(), httpRoute("a"), metav1.CreateOptions{}))(x)
		must(x.clients.kubernetes.DiscoveryV1().EndpointSlices(x.namespace).Create(t.Context(), endpointSlice("a", "10.0.0.1"), metav1.CreateOptions{}))(x)
	}
	s, _ := f.runStore(StoreOptions{Namespaces: []string{f.namespace, "absent", f.namespace}})
	f.wait(s)
	got := s.Snapshot()
	if len(got.HTTPRoutes) != 1 || got.HTTPRoutes[0].Namespace != f.namespace {
		t.Errorf("got %d HTTPRoutes, want the one of %s", len(got.HTTPRoutes), f.namespace)
	}
	for namespace, want := range map[string]int{f.namespace: 1, other.namespace: 0} {
		if got := s.EndpointSlices(types.NamespacedName{Namespace: namespace, Name: "a"}); len(got) != want {
			t.Errorf("got %d EndpointSlices of %s, want %d", len(got), namespace, want)
		}
	}
}

func TestEndpointsChangeTheirServiceAlone(t *testing.T) {
	f := newFixture(t)
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	api := f.clients.kubernetes.DiscoveryV1().EndpointSlices(f.namespace)
	want := []types.NamespacedName{{Namespace: f.namespace, Name: "a"}}
	address := func() string {
		for _, slice := range s.EndpointSlices(want[0]) {
			return slice.Endpoints[0].Addresses[0]
		}
		return ""
	}
	expect := func(what, wantAddress string) {
		t.Helper()
		if got := f.wait(s); got.Objects || !slices.Equal(got.Services, want) {
			t.Errorf("%s: change %+v, want %v alone", what, got, want)
		}
		if got := address(); got != wantAddress {
			t.Errorf("%s: address %q, want %q", what, got, wantAddress)
		}
	}
	slice := must(api.Create(t.Context(), endpointSlice("a", "10.0.0.1"), metav1.CreateOptions{}))(f)
	expect("new", "10.0.0.1")
	slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.2"}}}
	must(api.Update(t.Context(), slice, metav1.UpdateOptions{}))(f)
	expect("another address", "10.0.0.2")
	if err := api.Delete(t.Context(), slice.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("deleted", "")
}

// TestStoreOutlivesOutage cuts the way to the API server and mends it.
func TestStoreOutlivesOutage(t *testing.T) {
	f := newFixture(t)
	must(f.clients.gateway.HTTPRoutes(f.namespace).Create(t.Context(), httpRoute("a"), metav1.CreateOptions{}))(f)
	way := newCuttable(f, strings.TrimPrefix(f.plane.Config.Host, "https://"))
	config := rest.CopyConfig(f.plane.Config)
	config.Host = "https://" + way.address
	s, log := f.runStore(StoreOptions{Config: config})
	f.wait(s)

	way.cut()
	f.eventually("a line on the outage", func() bool { return log.count("does not answer") == 1 })
	if got := names(f.namespace, s.Snapshot().HTTPRoutes); len(got) != 1 {
		t.Errorf("during the outage HTTPRoutes = %q, want the one before", got)
	}
	must(f.clients.gateway.HTTPRoutes(f.namespace).Create(t.Context(), httpRoute("b"), metav1.CreateOptions{}))(f)
	way.mend()
	f.waitUntil(s, "the HTTPRoute of meanwhile", func(got *gateway.Snapshot) bool { return len(names(f.namespace, got.HTTPRoutes)) == 2 })
	if log.count("does not answer") != 1 || log.count("disabled") != 0 {
		t.Errorf("want one line on the outage and none on kinds, got:\n%s", log)
	}
}

// cuttable forwards TCP connections as long as it is not cut.
type cuttable struct {
	*fixture
	address, to string

	mu       sync.Mutex // guards the following
	listener net.Listener
	open     []net.Conn
}

func newCuttable(f *fixture, to string) *cuttable {
	port := must(process.FreePorts(f.Context(), 1))(f)[0] // which no client gets while it is cut
	c := &cuttable{fixture: f, to: to, address: fmt.Sprintf("127.0.0.1:%d", port)}
	c.mend()
	f.Cleanup(c.cut)
	return c
}

func (c *cuttable) mend() {
	c.Helper()
	l := must(net.Listen("tcp4", c.address))(c.fixture)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listener = l
	go func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp4", c.to)
			if err != nil {
				down.Close()
				continue
			}
			c.mu.Lock()
			c.open = append(c.open, down, up)
			c.mu.Unlock()
			go func() { _, _ = io.Copy(up, down); up.Close() }()
			go func() { _, _ = io.Copy(down, up); down.Close() }()
		}
	}()
}

func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listener.Close()
	for _, conn := range c.open {
		conn.Close()
	}
	c.open = nil
}

// TestReleaseOfCRDs: the Snapshot says which release of the Gateway API is installed.
func TestReleaseOfCRDs(t *testing.T) {
	f := newFixture(t)
	store, _ := f.runStore(StoreOptions{})
	f.wait(store)
	f.eventually("the CRD of Gateways, with its release and channel", func() bool {
		return slices.Contains(store.Snapshot().CRDs, gateway.CRD{
			Name: "gateways.gateway.networking.k8s.io", Version: consts.BundleVersion, Channel: "experimental",
		})
	})
}
