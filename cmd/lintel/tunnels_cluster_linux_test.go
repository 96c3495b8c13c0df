package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"syscall"
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
	"github.com/lintel-dev/lintel/tunnel"
)

const tunnelCRD = "../../deploy/chart/files/tunnels.lintel.dev.yaml"

// TestTunnelOnCluster goes the whole way: Gateway, Tunnel and HTTPRoute are objects on a real
// API server, and requests come through a FAKE of Cloudflare's edge. Its Secret is deleted and
// comes back with another token, and two replicas, each a process of its own, are replaced one
// after the other under load.
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
	replicas := []func(){w.launch()}
	w.connections(4)
	replicas = append(replicas, w.launch())
	w.connections(8)
	w.awaitAnswerThrough()
	w.awaitTunnel("True", "True")
	w.awaitGatewayAddress(w.tunnel.String() + ".cfargotunnel.com")
	w.awaitEvent("Connected")

	load := loadOf(t, w.ask)
	w.must(w.core.CoreV1().Secrets("default").Delete(t.Context(), "home", metav1.DeleteOptions{}))
	w.awaitTunnel("False", "True")
	before := w.connectors()
	w.secret(w.edge.Allow(w.tunnel))
	w.awaitTunnel("True", "True")
	w.await("new connectors", func(context.Context) string {
		all := w.edge.Connections(w.tunnel)
		for _, c := range all {
			if before[c.Connector] || len(all) != 8 {
				return fmt.Sprintf("%d connections, one is by the old connector", len(all))
			}
		}
		return ""
	})

	for i, stop := range replicas { // a rollout
		replicas[i] = w.launch()
		w.connections(12)
		stop()
		w.connections(8)
	}
	w.awaitTunnel("True", "True")
	load.end(t)
	for _, stop := range replicas {
		stop()
	}
	w.connections(0)
}

// connectors are those that have connections.
func (w *tunnelWorld) connectors() map[uuid.UUID]bool {
	all := make(map[uuid.UUID]bool)
	for _, c := range w.edge.Connections(w.tunnel) {
		all[c.Connector] = true
	}
	return all
}

// launch runs a replica that is a process of its own. stop ends it as Kubernetes does, and
// returns when it has ended.
func (w *tunnelWorld) launch() (stop func()) {
	w.Helper()
	log := &lockedBuffer{}
	process := exec.Command("/proc/self/exe")
	process.Args = append([]string{"lintel", "run"}, w.settings()...)
	process.Args = append(process.Args, "--http-port=0", "--https-port=0", "--access-log=off")
	process.Stderr = log
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.must(process.Start())
	stop = sync.OnceFunc(func() {
		w.must(process.Process.Signal(syscall.SIGTERM))
		if err := process.Wait(); err != nil {
			w.Errorf("replica %d: %v", process.Process.Pid, err)
		}
		if w.Failed() {
			w.Logf("replica %d said:\n%s", process.Process.Pid, log)
		}
	})
	w.Cleanup(stop)
	return stop
}

// settings are those of every replica.
func (w *tunnelWorld) settings() []string {
	return []string{"--kubeconfig=" + w.kubeconfig, "--admin-address=", "--lease-namespace=lintel", "--drain-timeout=10s"}
}

// TestTunnelIsKeptInASecret: a tunnel that the leader has created, once Cloudflare's API lets
// it, is connected by the other replica too, which has its token from the Secret; one that is
// deleted is written anew.
func TestTunnelIsKeptInASecret(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server")
	}
	if !inNamespace(t) {
		return
	}
	w := newTunnelWorld(t)
	w.createPermissions("../../deploy/rbac-tunnels.yaml")
	w.cf = cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.com"}})
	wait := cloudflare.Refuse(cloudflare.Failure{Code: 971, Message: "Please wait"}, http.StatusTooManyRequests, 2*time.Second)
	broken := cloudflare.Refuse(cloudflare.Failure{Code: 10001, Message: "Internal server error"}, http.StatusInternalServerError, 0)
	seen := make(chan struct{}) // what the first attempt met
	w.cf.Intercept(listTunnels, func(out http.ResponseWriter, r *http.Request, next http.Handler) {
		w.cf.Intercept(listTunnels, func(out http.ResponseWriter, r *http.Request, next http.Handler) {
			select {
			case <-seen:
			case <-r.Context().Done():
			}
			broken(out, r, next)
		})
		wait(out, r, next)
	})
	w.cf.Intercept(createTunnel, w.allowCreated)
	secrets := w.core.CoreV1().Secrets("default")
	_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "cloudflare"}, StringData: map[string]string{"token": cloudflare.Token}}, metav1.CreateOptions{})
	w.must(err)
	w.declare(v1alpha1.TunnelSpec{
		Credentials:  v1alpha1.TunnelCredentials{Create: &v1alpha1.TunnelCreate{AccountID: cloudflare.AccountID, Name: "home", APIToken: v1alpha1.SecretKey{Name: "cloudflare"}}},
		LocalSockets: v1alpha1.LocalSocketsClosed, DNS: &v1alpha1.TunnelDNS{Mode: v1alpha1.TunnelDNSPerHostname},
	})
	w.gatewayAndRoute()
	began := time.Now()
	w.start()
	w.awaitNotCreated("Please wait (971)")
	close(seen)
	w.awaitNotCreated("Internal server error (10001)")
	if waited := time.Since(began); waited < 2*time.Second {
		t.Errorf("the API was asked again after %v", waited)
	}
	w.await("a few attempts", func(context.Context) string { return map[bool]string{false: "none"}[w.cf.Calls()[listTunnels] >= 4] })
	// The pause doubles each time.
	if calls, most := w.cf.Calls()[listTunnels], 2+bits.Len64(uint64(time.Since(began)/(250*time.Millisecond))); calls > most {
		t.Errorf("%d calls within %v", calls, time.Since(began))
	}
	w.cf.Intercept(listTunnels, nil)
	w.await("the tunnel is created", func(ctx context.Context) string {
		object, err := w.object(ctx)
		if err != nil || object.Status.ID == "" {
			return fmt.Sprint(err)
		}
		w.tunnel = uuid.MustParse(object.Status.ID)
		return ""
	})
	w.connections(4)
	kept, err := secrets.Get(t.Context(), "home-tunnel", metav1.GetOptions{})
	w.must(err)
	w.start()
	w.connections(8)
	if n := w.cf.Calls()[createTunnel]; n != 1 {
		t.Errorf("%d tunnels were created", n)
	}
	w.awaitAnswerThrough()
	w.awaitTunnel("True", "True")

	load := loadOf(t, w.ask)
	w.must(secrets.Delete(t.Context(), "home-tunnel", metav1.DeleteOptions{}))
	w.await("the Secret is back", func(ctx context.Context) string {
		s, err := secrets.Get(ctx, "home-tunnel", metav1.GetOptions{})
		switch {
		case err != nil:
			return err.Error()
		case !bytes.Equal(s.Data["token"], kept.Data["token"]):
			return "with another token"
		}
		return ""
	})
	w.connections(8)
	load.end(t)
	w.await("lintel dns plan has nothing to do", func(context.Context) string {
		out, err := recordsPlan(w.T, w.cf.HTTPClient(), "--kubeconfig="+w.kubeconfig, "--lease-namespace=lintel")
		if err != nil || !strings.Contains(out, "Tunnel default/home:\nnothing to do; 1 records are ours") {
			return fmt.Sprint(err, out)
		}
		return ""
	})
}

// Calls of Cloudflare's API.
const (
	listTunnels  = "GET /accounts/{account}/cfd_tunnel"
	createTunnel = "POST /accounts/{account}/cfd_tunnel"
)

// allowCreated lets the edge know of a tunnel that is created.
func (w *tunnelWorld) allowCreated(out http.ResponseWriter, r *http.Request, next http.Handler) {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	var created struct {
		Result struct {
			Token string `json:"token"`
		} `json:"result"`
	}
	w.must(json.Unmarshal(answer.Body.Bytes(), &created))
	credentials, err := tunnel.ParseToken(created.Result.Token)
	w.must(err)
	w.edge.AllowSecret(credentials.Tunnel, credentials.Secret)
	out.WriteHeader(answer.Code)
	_, _ = out.Write(answer.Body.Bytes()) // who does not listen needs no answer
}

// awaitNotCreated awaits that the Tunnel says why it is not created, and when that is tried
// again.
func (w *tunnelWorld) awaitNotCreated(why string) {
	w.Helper()
	w.await("why there is no tunnel", func(ctx context.Context) string {
		t, err := w.object(ctx)
		if err != nil {
			return err.Error()
		}
		c := meta.FindStatusCondition(t.Status.Conditions, "Connected")
		if c == nil || c.Reason != "NotCreated" || !strings.Contains(c.Message, why) {
			return fmt.Sprintf("%+v", t.Status)
		}
		_, next, _ := strings.Cut(c.Message, "next try at ")
		if at, err := time.Parse(time.RFC3339, next); err != nil || time.Until(at).Abs() > time.Minute {
			return c.Message
		}
		return ""
	})
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
	w.createClass("lintel", "lintel.dev/gateway-controller")
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	g.Spec.GatewayClassName = "lintel"
	g.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{ParametersRef: &gatewayv1.LocalParametersReference{Group: v1alpha1.Group, Kind: v1alpha1.KindTunnel, Name: "home"}}
	g.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType}}
	_, err := api.Gateways("default").Create(ctx, g, create)
	w.must(err)
	_, err = api.HTTPRoutes("default").Create(ctx, route("shop", "blue"), create)
	w.must(err)
}

// start runs a replica.
func (w *tunnelWorld) start(args ...string) (stop func()) {
	run := testRun{log: w.Output(), creationRetry: 250 * time.Millisecond}
	if w.cf != nil {
		run.dns = w.cf.HTTPClient()
	}
	_, stop = run.start(w.T, append(args, w.settings()...)...)
	return stop
}

func (w *tunnelWorld) connections(n int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), testTimeout)
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
