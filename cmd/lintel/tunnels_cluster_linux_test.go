package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	fakeedge "github.com/lintel-dev/lintel/conformance/edge"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
	"github.com/lintel-dev/lintel/tunnel/account"
)

const tunnelCRD = "../../deploy/chart/files/tunnels.lintel.dev.yaml"

// TestTunnelOnCluster goes the whole way: Gateway, Tunnel and HTTPRoute are objects on a real
// API server, and requests come through a FAKE of Cloudflare's edge. Its Secret is deleted and
// comes back with another token, and two replicas are replaced one after the other under load.
func TestTunnelOnCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server")
	}
	if !inNamespace(t) {
		return
	}
	w := newTunnelWorld(t)
	w.secret(w.edge.Allow(w.tunnel))
	w.objects()
	stop := w.start()
	w.connections(4)
	w.awaitAnswerThrough()
	w.awaitTunnel("True", "True")
	w.awaitGatewayAddress(w.tunnel.String() + ".cfargotunnel.com")
	w.awaitEvent("Connected")

	load := loadOf(t, w.ask)
	w.must(w.core.CoreV1().Secrets("default").Delete(t.Context(), "home", metav1.DeleteOptions{}))
	w.awaitTunnel("False", "True")
	before := w.edge.Connections(w.tunnel)[0].Connector
	w.secret(w.edge.Allow(w.tunnel))
	w.awaitTunnel("True", "True")
	w.await("a new connector", func(context.Context) string {
		all := w.edge.Connections(w.tunnel)
		for _, c := range all {
			if c.Connector == before || len(all) != 4 {
				return fmt.Sprintf("%d connections, one is by the old connector", len(all))
			}
		}
		return ""
	})

	for range 2 { // a rollout of two replicas
		next := w.start()
		w.connections(8)
		stop()
		w.connections(4)
		stop = next
	}
	load.end(t)
	stop()
	w.connections(0)
}

// TestTunnelIsKeptInASecret: a tunnel that the leader has created is connected by the other
// replica too, which has its token from the Secret; one that is deleted is written anew.
func TestTunnelIsKeptInASecret(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server")
	}
	if !inNamespace(t) {
		return
	}
	w := newTunnelWorld(t)
	w.createPermissions("../../deploy/rbac-tunnels.yaml")
	w.cf = cloudflare.ForTest(t, cloudflare.Options{})
	api := account.Options{Token: func() (string, error) { return cloudflare.Token, nil }, ID: cloudflare.AccountID, Client: w.cf.HTTPClient()}
	c, err := account.New(api).Ensure(t.Context(), "home")
	w.must(err)
	w.tunnel = c.Tunnel
	w.edge.AllowSecret(c.Tunnel, c.Secret)
	secrets := w.core.CoreV1().Secrets("default")
	_, err = secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "cloudflare"}, StringData: map[string]string{"token": cloudflare.Token}}, metav1.CreateOptions{})
	w.must(err)
	w.declare(v1alpha1.TunnelSpec{
		Credentials:  v1alpha1.TunnelCredentials{Create: &v1alpha1.TunnelCreate{AccountID: cloudflare.AccountID, Name: "home", APIToken: v1alpha1.SecretKey{Name: "cloudflare"}}},
		LocalSockets: v1alpha1.LocalSocketsClosed,
	})
	w.gatewayAndRoute()
	w.start()
	w.connections(4)
	w.start()
	w.connections(8)
	w.awaitAnswerThrough()
	w.awaitTunnel("True", "True")

	load := loadOf(t, w.ask)
	w.must(secrets.Delete(t.Context(), "home-tunnel", metav1.DeleteOptions{}))
	w.await("the Secret is back", func(ctx context.Context) string {
		s, err := secrets.Get(ctx, "home-tunnel", metav1.GetOptions{})
		switch {
		case err != nil:
			return err.Error()
		case string(s.Data["token"]) != c.Token():
			return "with another token"
		}
		return ""
	})
	w.connections(8)
	load.end(t)
}

// tunnelWorld is an API server and an edge.
type tunnelWorld struct {
	*cluster
	edge       *fakeedge.Edge
	tunnel     uuid.UUID
	tunnels    dynamic.ResourceInterface
	kubeconfig string
	cf         *cloudflare.Server // nil unless it is needed
}

func newTunnelWorld(t *testing.T) *tunnelWorld {
	t.Helper()
	w := &tunnelWorld{cluster: newCluster(t), edge: fakeedge.ForTest(t, fakeedge.Options{}), tunnel: uuid.New()}
	w.must(w.plane.InstallCRDFiles(t.Context(), tunnelCRD))
	w.createPermissions("../../deploy/rbac.yaml")
	w.createBackends("blue")
	w.tunnels = dynamic.NewForConfigOrDie(w.plane.Config).Resource(v1alpha1.GroupVersion().WithResource("tunnels")).Namespace("default")
	w.kubeconfig = w.cluster.kubeconfig()
	_, err := w.core.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "edge"}, Data: map[string][]byte{"ca.crt": w.edge.RootsPEM},
	}, metav1.CreateOptions{})
	w.must(err)
	return w
}

func (w *tunnelWorld) secret(token string) {
	w.Helper()
	_, err := w.core.CoreV1().Secrets("default").Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "home"}, StringData: map[string]string{"token": token},
	}, metav1.CreateOptions{})
	w.must(err)
}

// declare creates the Tunnel.
func (w *tunnelWorld) declare(spec v1alpha1.TunnelSpec) {
	w.Helper()
	spec.Edge = &v1alpha1.TunnelEdge{CA: &v1alpha1.SecretKey{Name: "edge"}}
	for _, a := range w.edge.Addresses() {
		spec.Edge.Addresses = append(spec.Edge.Addresses, a.String())
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&v1alpha1.Tunnel{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.KindTunnel},
		ObjectMeta: metav1.ObjectMeta{Name: "home"}, Spec: spec,
	})
	w.must(err)
	delete(object, "status")
	_, err = w.tunnels.Create(w.Context(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	w.must(err)
}

// objects creates the Tunnel, and a Gateway with a Route that names it. Replicas share the
// machine, so there are no local sockets.
func (w *tunnelWorld) objects() {
	w.Helper()
	w.declare(v1alpha1.TunnelSpec{
		Credentials:  v1alpha1.TunnelCredentials{Token: &v1alpha1.SecretKey{Name: "home"}},
		LocalSockets: v1alpha1.LocalSocketsClosed,
	})
	w.gatewayAndRoute()
}

func (w *tunnelWorld) gatewayAndRoute() {
	w.Helper()
	ctx, create, api := w.Context(), metav1.CreateOptions{}, w.gateway.GatewayV1()
	class := &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "lintel"}}
	class.Spec.ControllerName = "lintel.dev/gateway-controller"
	_, err := api.GatewayClasses().Create(ctx, class, create)
	w.must(err)
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	g.Spec.GatewayClassName = "lintel"
	g.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{ParametersRef: &gatewayv1.LocalParametersReference{Group: v1alpha1.Group, Kind: v1alpha1.KindTunnel, Name: "home"}}
	g.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType}}
	_, err = api.Gateways("default").Create(ctx, g, create)
	w.must(err)
	_, err = api.HTTPRoutes("default").Create(ctx, route("shop", "blue"), create)
	w.must(err)
}

// start runs a replica.
func (w *tunnelWorld) start(args ...string) (stop func()) {
	run := testRun{log: w.Output()}
	if w.cf != nil {
		run.dns = w.cf.HTTPClient()
	}
	_, stop = run.start(w.T, append(args, "--kubeconfig="+w.kubeconfig, "--admin-address=", "--lease-namespace=lintel", "--drain-timeout=10s")...)
	return stop
}

func (w *tunnelWorld) connections(n int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	if err := w.edge.Wait(ctx, w.tunnel, n); err != nil {
		w.Fatalf("%d connections in place of %d: %v", len(w.edge.Connections(w.tunnel)), n, err)
	}
}

// ask sends a request of an end user.
func (w *tunnelWorld) ask() error {
	client := &http.Client{Transport: w.edge.RoundTripper(w.tunnel), Timeout: 10 * time.Second}
	text, err := answerText(client, "https://shop.example.com/")
	if err == nil && text != "blue" {
		err = errors.New("the answer is " + text)
	}
	return err
}

func (w *tunnelWorld) awaitAnswerThrough() {
	w.Helper()
	w.await("an answer through the tunnel", func(context.Context) string {
		if err := w.ask(); err != nil {
			return err.Error()
		}
		return ""
	})
}

// object returns the Tunnel as the API server has it.
func (w *tunnelWorld) object(ctx context.Context) (*v1alpha1.Tunnel, error) {
	object, err := w.tunnels.Get(ctx, "home", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	t := &v1alpha1.Tunnel{}
	return t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, t)
}

// awaitTunnel awaits conditions of the Tunnel.
func (w *tunnelWorld) awaitTunnel(accepted, connected metav1.ConditionStatus) {
	w.Helper()
	w.await("the Tunnel's conditions", func(ctx context.Context) string {
		t, err := w.object(ctx)
		if err != nil {
			return err.Error()
		}
		if meta.IsStatusConditionPresentAndEqual(t.Status.Conditions, "Accepted", accepted) && meta.IsStatusConditionPresentAndEqual(t.Status.Conditions, "Connected", connected) &&
			(connected != "True" || len(t.Status.Connections) > 0 && *t.Status.Connected > 0 && t.Status.ID == w.tunnel.String()) {
			return ""
		}
		return fmt.Sprintf("%+v", t.Status)
	})
}

func (w *tunnelWorld) awaitGatewayAddress(want string) {
	w.Helper()
	w.await("the Gateway is programmed, with an address", func(ctx context.Context) string {
		g, err := w.gateway.GatewayV1().Gateways("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if a := g.Status.Addresses; len(a) == 1 && a[0].Value == want && *a[0].Type == gatewayv1.HostnameAddressType &&
			meta.IsStatusConditionTrue(g.Status.Conditions, "Programmed") && meta.IsStatusConditionTrue(g.Status.Conditions, "lintel.dev/TunnelConnected") {
			return ""
		}
		return fmt.Sprintf("%+v", g.Status)
	})
}

func (w *tunnelWorld) awaitEvent(reason string) {
	w.Helper()
	w.await("an Event "+reason, func(ctx context.Context) string {
		events, err := w.core.CoreV1().Events("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		for i := range events.Items {
			if e := &events.Items[i]; e.InvolvedObject.Kind == v1alpha1.KindTunnel && e.Reason == reason {
				return ""
			}
		}
		return fmt.Sprintf("not among %d", len(events.Items))
	})
}
