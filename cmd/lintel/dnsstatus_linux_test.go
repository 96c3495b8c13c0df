package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	programs "github.com/lintel-dev/lintel/conformance/process"
	"github.com/lintel-dev/lintel/gateway"
)

// toldWorld is an API server with Routes, of which one can't have its record.
type toldWorld struct {
	*cluster
	cloudflare *cloudflare.Server
	log        *lockedBuffer
}

const toldRoutes = 100

func newToldWorld(t *testing.T) *toldWorld {
	w := &toldWorld{cloudflare: cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}}), cluster: newCluster(t), log: &lockedBuffer{}}
	_, err := w.cloudflare.Put("example.test", cloudflare.Record{Type: "A", Name: "r000.example.test", Content: "198.51.100.9"})
	w.must(err)
	w.createPermissions("../../deploy/rbac.yaml")
	ctx, create := t.Context(), metav1.CreateOptions{}
	_, err = w.core.CoreV1().Secrets("lintel").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "dns"}, StringData: map[string]string{"token": cloudflare.Token},
	}, create)
	w.must(err)
	w.createClass("lintel", "lintel.dev/gateway-controller")
	ports, err := programs.FreePorts(ctx, 1)
	w.must(err)
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"external-dns.kubernetes.io/ttl": "soon"}}}
	g.Spec.GatewayClassName = "lintel"
	g.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: gatewayv1.PortNumber(ports[0]), Protocol: gatewayv1.HTTPProtocolType}}
	_, err = w.gateway.GatewayV1().Gateways("default").Create(ctx, g, create)
	w.must(err)
	_, err = w.core.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "db", Annotations: map[string]string{"external-dns.kubernetes.io/internal-hostname": "db.example.test"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}, create)
	w.must(err)
	for i := range toldRoutes {
		r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: routeName(i)}}
		r.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "web"}}
		r.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(routeName(i) + ".example.test")}
		_, err := w.gateway.GatewayV1().HTTPRoutes("default").Create(ctx, r, create)
		w.must(err)
	}
	return w
}

func (w *toldWorld) run() (stop func()) {
	_, stop = testRun{log: w.log, dns: w.cloudflare.HTTPClient()}.start(w.T, "--kubeconfig="+w.kubeconfig(), "--lease-namespace=lintel", "--admin-address=",
		"--gateway-services=off", "--dns-provider=cloudflare", "--dns-credential=secret:dns/token", "--dns-interval=1s", "--publish-address=192.0.2.7")
	return stop
}

// writes returns how often objects of a kind were written, by the API server's own metrics.
func (w *toldWorld) writes(resource string) int {
	w.Helper()
	text, err := w.core.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(w.Context())
	w.must(err)
	total := 0
	for line := range strings.Lines(string(text)) {
		write := regexp.MustCompile(`^apiserver_request_total\{.*resource="` + resource + `".*verb="(?:PATCH|PUT|POST)".*\} (\S+)`).FindStringSubmatch(line)
		if write == nil {
			continue
		}
		n, err := strconv.ParseFloat(write[1], 64)
		w.must(err)
		total += int(n)
	}
	return total
}

// awaitConditions waits until every Route says how its record fares.
func (w *toldWorld) awaitConditions(what string) {
	w.Helper()
	w.await(what, func(ctx context.Context) string {
		all, err := w.gateway.GatewayV1().HTTPRoutes("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		for i := range all.Items {
			r := &all.Items[i]
			want := metav1.Condition{Status: metav1.ConditionTrue, Reason: "Ready", Message: r.Name + ".example.test A", ObservedGeneration: r.Generation}
			if r.Name == "r000" {
				want.Status, want.Reason = metav1.ConditionFalse, "Foreign"
				want.Message += ": the record that is there (r000.example.test A 198.51.100.9) has no mark of an owner: delete it, or mark it as ours"
			}
			if len(r.Status.Parents) != 1 {
				return r.Name + " has no status"
			}
			got := meta.FindStatusCondition(r.Status.Parents[0].Conditions, gateway.ConditionRecords)
			if got == nil || got.Status != want.Status || got.Reason != want.Reason || got.Message != want.Message || got.ObservedGeneration != want.ObservedGeneration {
				rest(ctx, 100*time.Millisecond) // all are read again, and there are others that need the processor
				return fmt.Sprintf("%s: %+v", r.Name, got)
			}
		}
		return ""
	})
}

// awaitReads waits until the zone was asked for often.
func (w *toldWorld) awaitReads(n int) {
	w.Helper()
	w.cloudflare.ResetCalls()
	w.await("reads", func(context.Context) string {
		if got := w.cloudflare.Calls()["GET /zones/{zone}/dns_records"]; got < n {
			return fmt.Sprint(got)
		}
		return ""
	})
}

func (w *toldWorld) awaitEvent(kind, name, reason, message string) {
	w.Helper()
	w.await(reason+" of "+name, func(ctx context.Context) string {
		all, err := w.core.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name})
		if err != nil {
			return err.Error()
		}
		var found []string
		for _, e := range all.Items {
			if e.Reason == reason && strings.Contains(e.Message, message) && e.InvolvedObject.UID != "" {
				return ""
			}
			found = append(found, e.Reason+" "+e.Message)
		}
		return fmt.Sprintf("%q", found)
	})
}

// awaitEventsOfRoutes awaits as many Events with a reason: they are written one after the other.
func (w *toldWorld) awaitEventsOfRoutes(reason string, count int) {
	w.Helper()
	w.await(reason, func(ctx context.Context) string {
		all, err := w.core.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=HTTPRoute,reason=" + reason})
		if err != nil {
			return err.Error()
		}
		if n := len(all.Items); n < count {
			rest(ctx, 100*time.Millisecond) // there are others that need the processor
			return fmt.Sprintf("%d of %d", n, count)
		}
		return ""
	})
}

// TestHowRecordsFareIsToldInStatusAndEvents counts what that costs the API server: one write
// for each Route, and none while nothing changes for it, not even when the provider is out of
// order, or Lintel starts again.
func TestHowRecordsFareIsToldInStatusAndEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server")
	}
	t.Parallel()
	w := newToldWorld(t)
	before := w.writes("httproutes")
	stop := w.run()
	w.awaitConditions("conditions")
	if n := w.writes("httproutes") - before; n > 2*toldRoutes+20 { // one that they are accepted, and one that they have records
		t.Errorf("%d writes for %d Routes", n, toldRoutes)
	}
	w.awaitEvent("HTTPRoute", "r000", "DNSRecordRefused", "r000.example.test A: foreign: the record that is there")
	w.awaitEvent("HTTPRoute", "r001", "DNSRecordCreated", "r001.example.test A 192.0.2.7")
	w.awaitEvent("Service", "db", "DNSRecordCreated", "db.example.test A 10.")
	w.awaitEvent("Gateway", "web", "DNSAnnotationIgnored", "external-dns.kubernetes.io/ttl")
	w.awaitEventsOfRoutes("DNSRecordCreated", toldRoutes-1)
	events := w.writes("events")
	t.Logf("%d writes of Routes, %d of Events", w.writes("httproutes")-before, events)

	before = w.writes("httproutes")
	w.awaitReads(3)
	began := time.Now()
	w.cloudflare.Intercept("", cloudflare.Break)
	w.awaitReads(2)
	w.cloudflare.Intercept("", nil)
	w.awaitReads(3)
	stop()
	w.run()
	w.awaitReads(2)
	w.awaitConditions("conditions after all")
	if n := w.writes("httproutes") - before; n > 0 {
		t.Errorf("%d writes of Routes for which nothing changed, in %v", n, time.Since(began))
	}
	if n := w.writes("events") - events; n > 20 {
		t.Errorf("%d writes of Events about nothing", n)
	}
	if text := w.log.String(); !strings.Contains(text, "DNS records are not all as wanted") {
		t.Error("nothing about the provider in the log")
	}
}
