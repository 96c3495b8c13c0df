package kube

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
)

// TestSiblingsShareARoute has two instances with one controller name, each for a
// GatewayClass of its own, write the status of a Route that both serve.
func TestSiblingsShareARoute(t *testing.T) {
	f := newFixture(t)
	for class, controller := range map[string]gatewayv1.GatewayController{"a": controllerName, "b": controllerName, "foreign": "other.example/controller"} {
		name := f.namespace + "-" + class
		must(f.clients.gateway.GatewayClasses().Create(t.Context(), &gatewayv1.GatewayClass{
			ObjectMeta: meta(name), Spec: gatewayv1.GatewayClassSpec{ControllerName: controller},
		}, metav1.CreateOptions{}))(f)
		g := gatewayObject(class)
		g.Spec.GatewayClassName = gatewayv1.ObjectName(name)
		must(f.clients.gateway.Gateways(f.namespace).Create(t.Context(), g, metav1.CreateOptions{}))(f)
	}
	route := f.createHTTPRoute("r", "a", "b", "foreign", "absent")
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	// status wants entries for some of the parentRefs, and says which class is served.
	status := func(class string, gateways ...gatewayv1.ObjectName) []*gateway.Status {
		r := route.DeepCopy()
		r.Spec.CommonRouteSpec = parents(gateways...)
		return []*gateway.Status{
			{Object: gateway.ObjectRef{Kind: "GatewayClass", Name: f.namespace + "-" + class}, GatewayClass: &gatewayv1.GatewayClassStatus{
				Conditions: []metav1.Condition{wanted("Accepted", "True", "")},
			}},
			routeStatus(r, ""),
		}
	}
	entries := func(want ...gatewayv1.ObjectName) {
		t.Helper()
		var got []gatewayv1.ObjectName
		for _, p := range f.httpRoute("r").Status.Parents {
			got = append(got, p.ParentRef.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("entries for %q, want %q", got, want)
		}
	}
	a, b := f.writer(s), f.writer(s)
	f.write(a, status("a", "a", "foreign", "absent")...)
	entries("a", "foreign", "absent")
	f.write(b, status("b", "b")...)
	entries("a", "b") // nobody of ours serves the other two
	f.write(a, status("a")...)
	entries("b")
	f.write(a, status("a", "a")...)
	entries("b", "a")
	f.write(b, status("b")[:1]...) // which releases the Route
	entries("a")
}

// TestGatewayInUnwatchedNamespace keeps an entry for a Gateway that this instance
// cannot see: another may serve it.
func TestGatewayInUnwatchedNamespace(t *testing.T) {
	f := newFixture(t)
	s, _ := f.runStore(StoreOptions{Namespaces: []string{f.namespace}})
	f.wait(s)
	w := f.writer(s)
	for namespace, want := range map[string]bool{f.namespace: false, "elsewhere": true} {
		if got := w.isSiblingsGateway(gateway.ObjectRef{Kind: "Gateway", Namespace: namespace, Name: "absent"}); got != want {
			t.Errorf("absent Gateway in %s: sibling's = %v, want %v", namespace, got, want)
		}
	}
}
