package kube

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
)

func (f *fixture) infrastructureWriter(s *Store) (*InfrastructureWriter, *lines) {
	f.Helper()
	log := &lines{}
	w := must(NewInfrastructureWriter(InfrastructureWriterOptions{Config: f.plane.Config, Store: s, Log: slog.New(slog.NewTextHandler(log, nil))}))(f)
	f.background(w.Run)
	return w, log
}

// infrastructure is what a Gateway wants.
func infrastructure(g *gatewayv1.Gateway, change func(*gateway.Infrastructure)) []gateway.Infrastructure {
	i := gateway.Infrastructure{
		Gateway: refOf("Gateway", g), UID: g.UID, Name: g.Name + "-lintel",
		Labels:      map[string]string{gatewayv1.GatewayNameLabelKey: g.Name, "team": "edge"},
		Annotations: map[string]string{"example.com/note": "a note"},
		Ports:       []gateway.InfrastructurePort{{Name: "tcp-80", Protocol: corev1.ProtocolTCP, Port: 80}},
		Addresses:   []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")},
	}
	if change != nil {
		change(&i)
	}
	return []gateway.Infrastructure{i}
}

func (f *fixture) createGateway(name string) *gatewayv1.Gateway {
	f.Helper()
	return must(f.clients.gateway.Gateways(f.namespace).Create(f.Context(), gatewayObject(name), metav1.CreateOptions{}))(f)
}

func (f *fixture) service(name string) *corev1.Service {
	s, err := f.clients.kubernetes.CoreV1().Services(f.namespace).Get(f.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return s
}

// endpoints are the addresses of a Service, as Pods would find them.
func (f *fixture) endpoints(service string) map[string]int32 {
	f.Helper()
	list := must(f.clients.kubernetes.DiscoveryV1().EndpointSlices(f.namespace).List(f.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service}))(f)
	found := make(map[string]int32)
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			found[e.Addresses[0]] = *s.Ports[0].Port
		}
	}
	return found
}

func TestServiceOfGateway(t *testing.T) {
	f := newFixture(t)
	g := f.createGateway("web")
	store, _ := f.runStore(StoreOptions{})
	f.wait(store)
	w, _ := f.infrastructureWriter(store)

	w.Apply(infrastructure(g, nil))
	f.eventually("both endpoints", func() bool {
		return cmp.Equal(f.endpoints("web-lintel"), map[string]int32{"10.0.0.1": 80, "2001:db8::1": 80})
	})
	s := f.service("web-lintel")
	if s.Spec.ClusterIP != corev1.ClusterIPNone || s.Spec.Selector != nil || len(s.Spec.Ports) != 1 || s.Spec.Ports[0].Port != 80 {
		t.Errorf("spec is %+v", s.Spec)
	}
	if s.Labels["team"] != "edge" || s.Labels[gatewayv1.GatewayNameLabelKey] != "web" || s.Annotations["example.com/note"] != "a note" {
		t.Errorf("labels %v, annotations %v", s.Labels, s.Annotations)
	}
	if owner := metav1.GetControllerOf(s); owner == nil || owner.UID != g.UID || owner.Kind != "Gateway" {
		t.Errorf("owner is %+v", owner)
	}

	f.updateService("web-lintel", func(s *corev1.Service) { s.Labels["theirs"] = "stays" })
	w.Apply(infrastructure(g, func(i *gateway.Infrastructure) {
		delete(i.Labels, "team")
		i.Annotations["example.com/note"] = "another"
		i.Ports[0] = gateway.InfrastructurePort{Name: "udp-53", Protocol: corev1.ProtocolUDP, Port: 53}
		i.Addresses = i.Addresses[1:]
	}))
	f.eventually("the one endpoint that is left", func() bool { return cmp.Equal(f.endpoints("web-lintel"), map[string]int32{"2001:db8::1": 53}) })
	f.eventually("labels, annotations and ports changed, and those of others stay", func() bool {
		s := f.service("web-lintel")
		_, old := s.Labels["team"]
		return !old && s.Labels["theirs"] == "stays" && s.Annotations["example.com/note"] == "another" && s.Spec.Ports[0].Protocol == corev1.ProtocolUDP
	})

	w.Apply(nil)
	f.eventually("nothing is left", func() bool { return f.service("web-lintel") == nil && len(f.endpoints("web-lintel")) == 0 })
}

func (f *fixture) updateService(name string, change func(*corev1.Service)) {
	f.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		s := f.service(name)
		change(s)
		_, err := f.clients.kubernetes.CoreV1().Services(f.namespace).Update(f.Context(), s, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
}

// TestServiceOfSomebodyElse has a Service with the name that a Gateway's would have. It
// is neither changed nor deleted, and gets no EndpointSlices; the log says so once, and
// whoever asks is told until it is gone.
func TestServiceOfSomebodyElse(t *testing.T) {
	f := newFixture(t)
	g := f.createGateway("web")
	theirs := must(f.clients.kubernetes.CoreV1().Services(f.namespace).Create(t.Context(), service("web-lintel"), metav1.CreateOptions{}))(f)
	store, _ := f.runStore(StoreOptions{})
	f.wait(store)
	w, log := f.infrastructureWriter(store)
	w.Apply(infrastructure(g, nil))
	f.eventually("the log says whose it is not", func() bool { return log.count("exists and is not the Gateway's") == 1 })
	<-w.Changes()
	if why := w.Conflicts()[refOf("Gateway", g)]; !strings.Contains(why, "delete it, or give the Gateway another name") {
		t.Errorf("the conflict is %q", why)
	}
	if s := f.service("web-lintel"); s == nil || s.ResourceVersion != theirs.ResourceVersion || len(f.endpoints("web-lintel")) > 0 {
		t.Error("the Service was changed")
	}
	if err := f.clients.kubernetes.CoreV1().Services(f.namespace).Delete(t.Context(), "web-lintel", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the Gateway has it", func() bool { return len(f.endpoints("web-lintel")) == 2 && len(w.Conflicts()) == 0 })
}

// TestServiceOfAnEarlierProcess has one that a process before left, for a Gateway that
// wants none now, and one for a Gateway that is not ours.
func TestServiceOfAnEarlierProcess(t *testing.T) {
	f := newFixture(t)
	g, other := f.createGateway("web"), f.createGateway("other")
	store, _ := f.runStore(StoreOptions{})
	f.wait(store)
	before := must(NewInfrastructureWriter(InfrastructureWriterOptions{Config: f.plane.Config, Store: store}))(f) // does not run
	before.replace(append(infrastructure(g, nil), infrastructure(other, nil)...))
	if before.reconcileAll(t.Context()) {
		t.Fatal("a write failed")
	}
	f.eventually("the Store has all", func() bool {
		n := 0
		for o := range store.all("Service", "EndpointSlice") {
			if o := o.(metav1.Object); o.GetNamespace() == f.namespace && ownerOf(o) != "" {
				n++
			}
		}
		return n == 6
	})
	w, _ := f.infrastructureWriter(store)
	w.Apply([]gateway.Infrastructure{{Gateway: refOf("Gateway", g), UID: g.UID}})
	f.eventually("it is gone", func() bool { return f.service("web-lintel") == nil && len(f.endpoints("web-lintel")) == 0 })
	if f.service("other-lintel") == nil {
		t.Error("the Service of a Gateway that is not ours is gone")
	}
}

// TestServiceThatIsChangedBack has somebody undo what we write, as an admission webhook
// does: we do not go on with him.
func TestServiceThatIsChangedBack(t *testing.T) {
	f := newFixture(t)
	g := f.createGateway("web")
	store, _ := f.runStore(StoreOptions{})
	f.wait(store)
	w := must(NewInfrastructureWriter(InfrastructureWriterOptions{Config: f.plane.Config, Store: store}))(f) // does not run
	w.replace(infrastructure(g, nil))
	if w.reconcileAll(t.Context()) {
		t.Fatal("a write failed")
	}
	f.updateService("web-lintel", func(s *corev1.Service) { delete(s.Labels, "team") })
	version := f.service("web-lintel").ResourceVersion
	f.eventually("the Store has the change", func() bool {
		o := store.object(gateway.ObjectRef{Kind: "Service", Namespace: f.namespace, Name: "web-lintel"})
		return o != nil && o.GetResourceVersion() == version
	})
	if w.reconcileAll(t.Context()) || f.service("web-lintel").ResourceVersion != version {
		t.Error("it was written again at once")
	}
}

// remote answers as an API server.
type remote func(*http.Request) *http.Response

// RoundTrip implements http.RoundTripper.
func (r remote) RoundTrip(request *http.Request) (*http.Response, error) { return r(request), nil }

// A write that fails when an API server has been back for a while is tried again as soon as one that
// fails at first, however long the outage before was.
func TestServiceIsTriedAgainSoonAfterASuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(5 * time.Minute)
		var tried, triedSince []time.Time // to write the Service
		ctx, cancel := context.WithCancel(t.Context())
		api := remote(func(r *http.Request) *http.Response {
			answer := &http.Response{StatusCode: http.StatusServiceUnavailable, Body: http.NoBody, Request: r}
			if time.Now().Before(back) {
				tried = append(tried, time.Now())
				return answer
			}
			switch triedSince = append(triedSince, time.Now()); len(triedSince) {
			case 2: // the Store never has the Service, so it is written again
				return answer
			case 3:
				cancel()
			}
			answer.StatusCode, answer.Header, answer.Body = http.StatusCreated, http.Header{"Content-Type": r.Header["Content-Type"]}, r.Body
			return answer
		})
		config := &rest.Config{Host: "http://api.test", Transport: api}
		store, err := NewStore(StoreOptions{Config: config}) // does not run
		if err != nil {
			t.Fatal(err)
		}
		services := store.kinds[slices.IndexFunc(store.kinds, func(k *kind) bool { return k.name == "Service" })]
		watched, err := newFeed(store, services, source{version: services.versions[0]})
		if err != nil {
			t.Fatal(err)
		}
		store.open["Service"] = openKind{feeds: []*feed{watched}}
		w, err := NewInfrastructureWriter(InfrastructureWriterOptions{Config: config, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		w.Apply(infrastructure(&gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "1"}}, nil))
		if err := w.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if first, later := tried[1].Sub(tried[0]), triedSince[2].Sub(triedSince[1]); later != first {
			t.Errorf("the next attempt was %v after the first failure, %v after a later one", first, later)
		}
	})
}
