package kube

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
)

// writer returns a StatusWriter that does not run, so that a test reconciles.
func (f *fixture) writer(s *Store) *StatusWriter {
	f.Helper()
	return must(NewStatusWriter(StatusWriterOptions{Config: f.plane.Config, Store: s, ControllerName: controllerName}))(f)
}

// write makes one status the only wanted one, and reconciles what that changes.
func (f *fixture) write(w *StatusWriter, want ...*gateway.Status) {
	f.Helper()
	for _, ref := range w.replace(want) {
		if err := w.reconcile(f.Context(), ref); err != nil {
			f.Errorf("%v: %v", ref, err)
		}
	}
}

func refOf(kind string, o metav1.Object) gateway.ObjectRef {
	return gateway.ObjectRef{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// routeStatus is a wanted status with an entry for each parentRef of a Route.
func routeStatus(r *gatewayv1.HTTPRoute, message string) *gateway.Status {
	s := &gateway.Status{Object: refOf("HTTPRoute", r), UID: r.UID, Generation: r.Generation, Route: &gateway.RouteStatus{}}
	for _, p := range r.Spec.ParentRefs {
		s.Route.Parents = append(s.Route.Parents, gatewayv1.RouteParentStatus{
			ParentRef: p, ControllerName: controllerName,
			Conditions: []metav1.Condition{wanted("Accepted", metav1.ConditionTrue, message), wanted("ResolvedRefs", metav1.ConditionTrue, "")},
		})
	}
	return s
}

// wanted is a condition without a time, as a Plan has it.
func wanted(kind string, status metav1.ConditionStatus, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: "Test", Message: message, ObservedGeneration: 1}
}

func (f *fixture) httpRoute(name string) *gatewayv1.HTTPRoute {
	f.Helper()
	return must(f.clients.gateway.HTTPRoutes(f.namespace).Get(f.Context(), name, metav1.GetOptions{}))(f)
}

func (f *fixture) createHTTPRoute(name string, gateways ...gatewayv1.ObjectName) *gatewayv1.HTTPRoute {
	f.Helper()
	r := httpRoute(name)
	r.Spec.CommonRouteSpec = parents(gateways...)
	return must(f.clients.gateway.HTTPRoutes(f.namespace).Create(f.Context(), r, metav1.CreateOptions{}))(f)
}

func TestRouteStatusKeepsEntriesOfOthers(t *testing.T) {
	f := newFixture(t)
	route := f.createHTTPRoute("a", "g", "foreign")
	foreign := gatewayv1.RouteParentStatus{
		ParentRef: route.Spec.ParentRefs[1], ControllerName: "other.example/controller",
		Conditions: []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Theirs", LastTransitionTime: metav1.Unix(1_700_000_000, 0)}},
	}
	route.Status.Parents = []gatewayv1.RouteParentStatus{foreign}
	route = must(f.clients.gateway.HTTPRoutes(f.namespace).UpdateStatus(t.Context(), route, metav1.UpdateOptions{}))(f)
	foreign = route.Status.Parents[0]
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	w := f.writer(s)

	mine := route.DeepCopy()
	mine.Spec.ParentRefs = mine.Spec.ParentRefs[:1]
	f.write(w, routeStatus(mine, "first"))
	first := f.httpRoute("a")
	if len(first.Status.Parents) != 2 || !cmp.Equal(first.Status.Parents[0], foreign) {
		t.Fatalf("status %+v, want the foreign entry as it was, and ours", first.Status.Parents)
	}
	ours := first.Status.Parents[1]
	if ours.ControllerName != controllerName || ours.ParentRef.Name != "g" || ours.Conditions[0].LastTransitionTime.IsZero() {
		t.Errorf("our entry is %+v", ours)
	}

	f.write(w, routeStatus(mine, "first"))
	if again := f.httpRoute("a"); again.ResourceVersion != first.ResourceVersion {
		t.Error("an equal status was written again")
	}

	f.write(w, routeStatus(mine, "second"))
	second := f.httpRoute("a")
	if got := second.Status.Parents[1].Conditions[0]; got.Message != "second" || !got.LastTransitionTime.Equal(&ours.Conditions[0].LastTransitionTime) {
		t.Errorf("condition %+v, want the new message at the old time", got)
	}

	f.write(w) // it refers to us no longer
	if got := f.httpRoute("a").Status.Parents; len(got) != 1 || !cmp.Equal(got[0], foreign) {
		t.Errorf("status %+v, want the foreign entry alone", got)
	}
}

// TestEveryStatusIsWritten writes the status of one object of each kind that has others'
// entries, and releases it.
func TestEveryStatusIsWritten(t *testing.T) {
	f := newFixture(t)
	createAll(f)
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	w := f.writer(s)
	accepted := []metav1.Condition{wanted("Accepted", "True", "")}
	entry := gatewayv1.RouteParentStatus{ParentRef: gatewayv1.ParentReference{Name: "g"}, ControllerName: controllerName, Conditions: accepted}
	ancestor := gatewayv1.PolicyAncestorStatus{AncestorRef: entry.ParentRef, ControllerName: controllerName, Conditions: accepted}
	ref := func(kind string) gateway.ObjectRef {
		return gateway.ObjectRef{Kind: kind, Namespace: f.namespace, Name: "a"}
	}
	want := []*gateway.Status{
		{Object: ref("ListenerSet"), ListenerSet: &gatewayv1.ListenerSetStatus{Conditions: accepted, Listeners: []gatewayv1.ListenerEntryStatus{{Name: "x", Conditions: accepted}}}},
		{Object: ref("XBackendTrafficPolicy"), Policy: &gateway.PolicyStatus{Ancestors: []gatewayv1.PolicyAncestorStatus{ancestor}}},
		{Object: ref("BackendTLSPolicy"), Policy: &gateway.PolicyStatus{Ancestors: []gatewayv1.PolicyAncestorStatus{ancestor}}},
	}
	for _, kind := range []string{"HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"} {
		want = append(want, &gateway.Status{Object: ref(kind), Route: &gateway.RouteStatus{Parents: []gatewayv1.RouteParentStatus{entry}}})
	}
	entries := func() map[string]int {
		gw, ctx, o := f.clients.gateway, t.Context(), metav1.GetOptions{}
		return map[string]int{
			"ListenerSet":           len(must(gw.ListenerSets(f.namespace).Get(ctx, "a", o))(f).Status.Listeners),
			"XBackendTrafficPolicy": len(must(f.clients.experimental.XBackendTrafficPolicies(f.namespace).Get(ctx, "a", o))(f).Status.Ancestors),
			"BackendTLSPolicy":      len(must(gw.BackendTLSPolicies(f.namespace).Get(ctx, "a", o))(f).Status.Ancestors),
			"HTTPRoute":             len(must(gw.HTTPRoutes(f.namespace).Get(ctx, "a", o))(f).Status.Parents),
			"GRPCRoute":             len(must(gw.GRPCRoutes(f.namespace).Get(ctx, "a", o))(f).Status.Parents),
			"TLSRoute":              len(must(gw.TLSRoutes(f.namespace).Get(ctx, "a", o))(f).Status.Parents),
			"TCPRoute":              len(must(gw.TCPRoutes(f.namespace).Get(ctx, "a", o))(f).Status.Parents),
			"UDPRoute":              len(must(gw.UDPRoutes(f.namespace).Get(ctx, "a", o))(f).Status.Parents),
		}
	}
	f.write(w, want...)
	for kind, n := range entries() {
		if n != 1 {
			t.Errorf("%s has %d entries, want 1", kind, n)
		}
	}
	f.write(w)
	for kind, n := range entries() {
		if kind != "ListenerSet" && n != 0 { // which is a sibling's now, or nobody's
			t.Errorf("%s has %d entries when released, want none", kind, n)
		}
	}
}

func TestGatewayStatusKeepsConditionsOfOthers(t *testing.T) {
	f := newFixture(t)
	api := f.clients.gateway.Gateways(f.namespace)
	g := must(api.Create(t.Context(), gatewayObject("a"), metav1.CreateOptions{}))(f)
	g.Status.Conditions = append(g.Status.Conditions, metav1.Condition{Type: "Theirs", Status: "True", Reason: "R", LastTransitionTime: metav1.Unix(1_700_000_000, 0)})
	g = must(api.UpdateStatus(t.Context(), g, metav1.UpdateOptions{}))(f)
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	w := f.writer(s)
	status := func() *gateway.Status {
		return &gateway.Status{Object: refOf("Gateway", g), UID: g.UID, Generation: g.Generation, Gateway: &gatewayv1.GatewayStatus{
			Addresses:  []gatewayv1.GatewayStatusAddress{{Type: new(gatewayv1.IPAddressType), Value: "192.0.2.1"}},
			Conditions: []metav1.Condition{wanted("Accepted", "True", ""), wanted("Programmed", "False", "")},
			Listeners: []gatewayv1.ListenerStatus{{
				Name: "http", AttachedRoutes: 2, SupportedKinds: []gatewayv1.RouteGroupKind{{Group: new(gatewayv1.Group(gatewayv1.GroupName)), Kind: "HTTPRoute"}},
				Conditions: []metav1.Condition{wanted("Accepted", "True", "")},
			}},
		}}
	}
	f.write(w, status())
	first := must(api.Get(t.Context(), "a", metav1.GetOptions{}))(f)
	kinds := map[string]metav1.ConditionStatus{}
	for _, c := range first.Status.Conditions {
		kinds[c.Type] = c.Status
	}
	want := map[string]metav1.ConditionStatus{"Accepted": "True", "Programmed": "False", "Theirs": "True"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	if l := first.Status.Listeners; len(l) != 1 || l[0].AttachedRoutes != 2 || len(first.Status.Addresses) != 1 {
		t.Errorf("status %+v", first.Status)
	}

	f.write(w, status())
	if again := must(api.Get(t.Context(), "a", metav1.GetOptions{}))(f); again.ResourceVersion != first.ResourceVersion {
		t.Error("an equal status was written again")
	}

	less := status()
	less.Gateway.Addresses = nil
	f.write(w, less)
	if got := must(api.Get(t.Context(), "a", metav1.GetOptions{}))(f); len(got.Status.Addresses) != 0 {
		t.Errorf("addresses %v, want none", got.Status.Addresses)
	}
}

func TestGatewayClassStatus(t *testing.T) {
	f := newFixture(t)
	api := f.clients.gateway.GatewayClasses()
	class := &gatewayv1.GatewayClass{ObjectMeta: meta(f.namespace), Spec: gatewayv1.GatewayClassSpec{ControllerName: controllerName}}
	class = must(api.Create(t.Context(), class, metav1.CreateOptions{}))(f)
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	w := f.writer(s)
	status := func() *gateway.Status {
		return &gateway.Status{Object: refOf("GatewayClass", class), UID: class.UID, Generation: class.Generation, GatewayClass: &gatewayv1.GatewayClassStatus{
			Conditions:        []metav1.Condition{wanted("Accepted", "True", "")},
			SupportedFeatures: []gatewayv1.SupportedFeature{{Name: "Gateway"}, {Name: "HTTPRoute"}},
		}}
	}
	f.write(w, status())
	first := must(api.Get(t.Context(), class.Name, metav1.GetOptions{}))(f)
	if c := first.Status.Conditions; len(c) != 1 || c[0].Status != "True" || len(first.Status.SupportedFeatures) != 2 {
		t.Errorf("status %+v", first.Status)
	}
	f.write(w, status())
	if again := must(api.Get(t.Context(), class.Name, metav1.GetOptions{}))(f); again.ResourceVersion != first.ResourceVersion {
		t.Error("an equal status was written again")
	}
}

func TestIngressStatusIsClearedOnRelease(t *testing.T) {
	f := newFixture(t)
	api := f.clients.kubernetes.NetworkingV1().Ingresses(f.namespace)
	i := must(api.Create(t.Context(), ingress("a"), metav1.CreateOptions{}))(f)
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	w := f.writer(s)
	addresses := func() []networkingv1.IngressLoadBalancerIngress {
		return must(api.Get(t.Context(), "a", metav1.GetOptions{}))(f).Status.LoadBalancer.Ingress
	}
	f.write(w, &gateway.Status{Object: refOf("Ingress", i), UID: i.UID, Ingress: &networkingv1.IngressLoadBalancerStatus{
		Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}},
	}})
	if got := addresses(); len(got) != 1 || got[0].IP != "192.0.2.1" {
		t.Errorf("status.loadBalancer %v, want 192.0.2.1", got)
	}
	f.write(w)
	if got := addresses(); len(got) != 0 {
		t.Errorf("status.loadBalancer %v, want none", got)
	}
}

func TestStatusSurvivesConflictAndDeletion(t *testing.T) {
	f := newFixture(t)
	route := f.createHTTPRoute("a", "g")
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	w := f.writer(s)
	stale := s.object(refOf("HTTPRoute", route))

	label := []byte(`{"metadata":{"labels":{"x":"y"}}}`)
	must(f.clients.gateway.HTTPRoutes(f.namespace).Patch(t.Context(), "a", types.MergePatchType, label, metav1.PatchOptions{}))(f)
	status := routeStatus(route, "")
	w.replace([]*gateway.Status{status})
	if err := w.write(t.Context(), w.kinds["HTTPRoute"], status.Object, stale); !apierrors.IsConflict(err) {
		t.Errorf("write to an old version: %v, want a conflict", err)
	}
	if err := w.reconcile(t.Context(), status.Object); err != nil {
		t.Errorf("reconcile after a change by somebody else: %v", err)
	}
	if got := f.httpRoute("a"); len(got.Status.Parents) != 1 {
		t.Errorf("status %+v, want our entry", got.Status)
	}

	if err := f.clients.gateway.HTTPRoutes(f.namespace).Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.write(w, routeStatus(route, "deleted"))
	anew := f.createHTTPRoute("a", "g")
	f.waitUntil(s, "the Route created anew", func(got *gateway.Snapshot) bool {
		o := s.object(status.Object)
		return o != nil && o.GetUID() == anew.UID
	})
	f.write(w, routeStatus(route, "for the one before"))
	if got := f.httpRoute("a"); len(got.Status.Parents) != 0 {
		t.Errorf("status %+v, want none: it was meant for the Route before", got.Status)
	}
}

// TestOwnStatusIsNotAChange runs the two halves together, as the binary does.
func TestOwnStatusIsNotAChange(t *testing.T) {
	f := newFixture(t)
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	a := f.createHTTPRoute("a", "g")
	f.wait(s)
	b := f.createHTTPRoute("b", "g")
	f.wait(s)
	w := f.writer(s)
	f.background(w.Run)
	w.Apply([]*gateway.Status{routeStatus(a, ""), routeStatus(b, "")})
	f.eventually("both statuses in the Store", func() bool {
		n := 0
		for _, r := range s.Snapshot().HTTPRoutes {
			if r.Namespace == f.namespace {
				n += len(r.Status.Parents)
			}
		}
		return n == 2
	})
	if len(s.changes.some) > 0 {
		t.Errorf("a status of ours made a change: %+v", f.wait(s))
	}
	// The next event of the same kind comes after those of the statuses.
	label := []byte(`{"metadata":{"labels":{"x":"y"}}}`)
	must(f.clients.gateway.HTTPRoutes(f.namespace).Patch(t.Context(), "b", types.MergePatchType, label, metav1.PatchOptions{}))(f)
	if change := f.wait(s); !change.Objects || s.object(refOf("HTTPRoute", b)).GetLabels()["x"] != "y" {
		t.Errorf("change %+v before the label was there", change)
	}
}

// TestDeniedStatusIsTriedAgain applies permissions after the writer has started, for
// a write and then for a clean-up.
func TestDeniedStatusIsTriedAgain(t *testing.T) {
	f := newFixture(t)
	a, b := f.createHTTPRoute("a", "g"), f.createHTTPRoute("b", "g")
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	log := &lines{}
	user := "writer-" + f.namespace
	w := must(NewStatusWriter(StatusWriterOptions{
		Config: f.as(user), Store: s, ControllerName: controllerName, Log: slog.New(slog.NewTextHandler(log, nil)),
	}))(f)
	f.background(w.Run)
	entries := func() int {
		return len(f.httpRoute("a").Status.Parents) + len(f.httpRoute("b").Status.Parents)
	}
	rbac := f.clients.kubernetes.RbacV1()
	role := &rbacv1.Role{ObjectMeta: meta(user), Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{gatewayv1.GroupName}, Resources: []string{"httproutes", "httproutes/status"}, Verbs: []string{"get", "patch"}},
	}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: meta(user), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}
	must(rbac.Roles(f.namespace).Create(t.Context(), role, metav1.CreateOptions{}))(f)
	allow := func() { must(rbac.RoleBindings(f.namespace).Create(t.Context(), binding, metav1.CreateOptions{}))(f) }
	for i, step := range []struct {
		want    []*gateway.Status
		entries int
	}{
		{[]*gateway.Status{routeStatus(a, ""), routeStatus(b, "")}, 2},
		{nil, 0},
	} {
		w.Apply(step.want)
		f.eventually("both Routes denied", func() bool {
			w.denials.mu.Lock()
			defer w.denials.mu.Unlock()
			return len(w.denials.objects["HTTPRoute"]) == 2
		})
		allow()
		f.eventually("both statuses written", func() bool { return entries() == step.entries })
		f.eventually("one line a change of permissions", func() bool { return log.count("status writable again") == i+1 })
		if got := log.count("status not writable", "kind=HTTPRoute", "is forbidden"); got != i+1 {
			t.Errorf("%d lines on %d times without permission:\n%s", got, i+1, log)
		}
		if err := rbac.RoleBindings(f.namespace).Delete(t.Context(), user, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		f.eventually("no permission", func() bool {
			c := must(newClients(f.as(user)))(f)
			_, err := c.gateway.HTTPRoutes(f.namespace).Get(t.Context(), "a", metav1.GetOptions{})
			return apierrors.IsForbidden(err)
		})
	}
}

// TestDriftPassHasReleased wants what was released and could not be cleaned up among
// the objects that are compared at times.
func TestDriftPassHasReleased(t *testing.T) {
	w := must(NewStatusWriter(StatusWriterOptions{Config: &rest.Config{Host: "http://127.0.0.1"}}))(&fixture{T: t})
	a, b := routeStatus(httpRoute("a"), ""), routeStatus(httpRoute("b"), "")
	w.replace([]*gateway.Status{a, b})
	w.replace([]*gateway.Status{b})
	if got := w.all(); len(got) != 2 || !slices.Contains(got, a.Object) || !slices.Contains(got, b.Object) {
		t.Errorf("compared at times: %v, want the wanted and the released Route", got)
	}
}

// TestReleaseDuringAWrite releases a Route while its status is being written: the
// end of that write must not forget the release.
func TestReleaseDuringAWrite(t *testing.T) {
	f := newFixture(t)
	route := f.createHTTPRoute("a", "g")
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	w := f.writer(s)
	status := routeStatus(route, "")
	w.replace([]*gateway.Status{status})
	kind := w.kinds["HTTPRoute"]
	slow := kind
	slow.patch = func(ctx context.Context, ref gateway.ObjectRef, patch []byte) (metav1.Object, error) {
		w.replace(nil)
		return kind.patch(ctx, ref, patch)
	}
	w.kinds["HTTPRoute"] = slow
	for range 2 {
		if err := w.reconcile(t.Context(), status.Object); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.httpRoute("a").Status.Parents; len(got) != 0 {
		t.Errorf("status %+v, want none", got)
	}
}
