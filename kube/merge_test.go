package kube

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
)

func TestConditions(t *testing.T) {
	before, now := metav1.Unix(1_700_000_000, 0), metav1.Unix(1_800_000_000, 0)
	at := func(c metav1.Condition, when metav1.Time) metav1.Condition {
		c.LastTransitionTime = when
		return c
	}
	later := func(c metav1.Condition) metav1.Condition {
		c.ObservedGeneration = 3
		return c
	}
	a, b, theirs := at(wanted("A", "True", "x"), before), at(wanted("B", "True", "x"), before), at(wanted("theirs.example/C", "True", ""), before)
	laterA := later(at(wanted("A", "False", "later"), before))
	type conditions = []metav1.Condition
	for _, test := range []struct {
		name                string
		current, want, then conditions
	}{
		{"equal, in another order", conditions{a, b}, conditions{wanted("B", "True", "x"), wanted("A", "True", "x")}, conditions{a, b}},
		{
			"another message keeps the time",
			conditions{a, b}, conditions{wanted("A", "True", "y"), wanted("B", "True", "x")},
			conditions{at(wanted("A", "True", "y"), before), b},
		},
		{
			"another status has a new time",
			conditions{a, b}, conditions{wanted("A", "False", "x"), wanted("B", "True", "x")},
			conditions{at(wanted("A", "False", "x"), now), b},
		},
		{
			"a new type has a new time, an old one of ours goes",
			conditions{a, b}, conditions{wanted("B", "True", "x"), wanted("D", "True", "x")},
			conditions{b, at(wanted("D", "True", "x"), now)},
		},
		{
			"somebody else's stays in its place",
			conditions{theirs, a}, conditions{wanted("A", "False", "x"), wanted("B", "True", "x")},
			conditions{theirs, at(wanted("A", "False", "x"), now), at(wanted("B", "True", "x"), now)},
		},
		{
			"one of a later generation stays, the rest does not wait",
			conditions{laterA, b}, conditions{wanted("A", "True", "x"), wanted("B", "False", "x")},
			conditions{laterA, at(wanted("B", "False", "x"), now)},
		},
		{"one of ours of a later generation is not removed", conditions{laterA, b}, conditions{wanted("B", "True", "x")}, conditions{laterA, b}},
		{
			"one of an earlier generation is replaced",
			conditions{a}, conditions{later(wanted("A", "True", "x"))}, conditions{at(later(wanted("A", "True", "x")), before)},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := merger{now: now, generation: test.want[0].ObservedGeneration}
			got := m.conditions(test.current, test.want, []string{"A", "B"})
			if diff := cmp.Diff(test.then, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestForeignConditionsStay puts a condition of somebody else next to one of ours
// that is wanted no longer, wherever an object has conditions.
func TestForeignConditionsStay(t *testing.T) {
	const theirs = "theirs.example/Field"
	kept := func(f statusFields, field string, of func(any) []metav1.Condition) []string {
		var types []string
		for _, c := range of(f[field]) {
			types = append(types, c.Type)
		}
		return types
	}
	m := merger{controller: controllerName, now: metav1.Unix(1_800_000_000, 0), generation: 1}
	plain := func(v any) []metav1.Condition { return v.([]metav1.Condition) }
	current := func(types ...string) []metav1.Condition {
		var all []metav1.Condition
		for _, kind := range types {
			all = append(all, wanted(kind, "True", ""))
		}
		return all
	}
	want := current("Accepted")
	class := &gatewayv1.GatewayClass{Status: gatewayv1.GatewayClassStatus{Conditions: current(theirs, "SupportedVersion")}}
	g := &gatewayv1.Gateway{Status: gatewayv1.GatewayStatus{
		Conditions: current(theirs, "Programmed"),
		Listeners:  []gatewayv1.ListenerStatus{{Name: "http", Conditions: current(theirs, "Conflicted", "OverlappingTLSConfig")}},
	}}
	gatewayFields := m.gateway(g, &gatewayv1.GatewayStatus{Conditions: want, Listeners: []gatewayv1.ListenerStatus{{Name: "http", Conditions: want}}})
	route := httpRoute("a")
	entry := gatewayv1.RouteParentStatus{ParentRef: route.Spec.ParentRefs[0], ControllerName: controllerName, Conditions: want}
	was := entry
	was.Conditions = current(theirs, "PartiallyInvalid", "lintel.dev/Shadowed", "ResolvedRefs")
	route.Status.Parents = []gatewayv1.RouteParentStatus{was}
	set := &gatewayv1.ListenerSet{Status: gatewayv1.ListenerSetStatus{
		Conditions: current(theirs, "Programmed"),
		Listeners:  []gatewayv1.ListenerEntryStatus{{Name: "http", Conditions: current(theirs, "Conflicted", "OverlappingTLSConfig")}},
	}}
	setFields := m.listenerSet(set, &gatewayv1.ListenerSetStatus{Conditions: want, Listeners: []gatewayv1.ListenerEntryStatus{{Name: "http", Conditions: want}}})
	for _, test := range []struct {
		name string
		got  []string
		want []string
	}{
		{"ListenerSet", kept(setFields, "conditions", plain), []string{theirs, "Accepted"}},
		{"Listener of a ListenerSet", kept(setFields, "listeners", func(v any) []metav1.Condition { return v.([]gatewayv1.ListenerEntryStatus)[0].Conditions }), []string{theirs, "Accepted"}},
		{"GatewayClass", kept(m.gatewayClass(class, &gatewayv1.GatewayClassStatus{Conditions: want}), "conditions", plain), []string{theirs, "Accepted"}},
		{"Gateway", kept(gatewayFields, "conditions", plain), []string{theirs, "Accepted"}},
		{"Listener", kept(gatewayFields, "listeners", func(v any) []metav1.Condition { return v.([]gatewayv1.ListenerStatus)[0].Conditions }), []string{theirs, "Accepted"}},
		{"HTTPRoute", kept(m.route(routeObject{parents: route.Status.Parents}, &gateway.RouteStatus{Parents: []gatewayv1.RouteParentStatus{entry}}), "parents", func(v any) []metav1.Condition {
			return v.([]gatewayv1.RouteParentStatus)[0].Conditions
		}), []string{theirs, "Accepted"}},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestRouteEntries(t *testing.T) {
	ref := func(name gatewayv1.ObjectName) gatewayv1.ParentReference {
		return withDefaults(gatewayv1.ParentReference{Name: name})
	}
	sectioned := func(name gatewayv1.ObjectName, section gatewayv1.SectionName) gatewayv1.ParentReference {
		r := ref(name)
		r.SectionName = &section
		return r
	}
	entry := func(controller gatewayv1.GatewayController, r gatewayv1.ParentReference) gatewayv1.RouteParentStatus {
		return gatewayv1.RouteParentStatus{ParentRef: r, ControllerName: controller, Conditions: []metav1.Condition{wanted("Accepted", "True", "")}}
	}
	ours := func(name gatewayv1.ObjectName) gatewayv1.RouteParentStatus { return entry(controllerName, ref(name)) }
	others := func(name gatewayv1.ObjectName) gatewayv1.RouteParentStatus {
		return entry("other.example/controller", ref(name))
	}
	listenerSet := ours("sibling")
	listenerSet.ParentRef.Kind = new(gatewayv1.Kind("ListenerSet"))
	type entries = []gatewayv1.RouteParentStatus
	type refs = []gatewayv1.ParentReference
	for _, test := range []struct {
		name                string
		spec                refs
		current, want, then entries
	}{
		{"every entry keeps its place", refs{{Name: "a"}, {Name: "b"}}, entries{ours("b"), others("a"), ours("a")}, entries{ours("a"), ours("b")}, nil},
		{"a new one comes last", refs{{Name: "a"}, {Name: "b"}}, entries{ours("a"), others("a")}, entries{ours("b"), ours("a")}, entries{ours("a"), others("a"), ours("b")}},
		{"of equal ones, one stays", refs{{Name: "a"}}, entries{ours("a"), ours("a")}, entries{ours("a")}, entries{ours("a")}},
		{"our own Gateway's goes", refs{{Name: "a"}, {Name: "b"}}, entries{ours("a"), ours("b")}, entries{ours("b")}, entries{ours("b")}},
		{"the last one goes", refs{{Name: "a"}}, entries{ours("a")}, nil, entries{}},
		{"a sibling's stays", refs{{Name: "a"}, {Name: "sibling"}}, entries{ours("sibling")}, entries{ours("a")}, entries{ours("sibling"), ours("a")}},
		{"a sibling's stays when nothing is wanted", refs{{Name: "sibling"}}, entries{ours("sibling")}, nil, nil},
		{"a sibling's that the Route names no longer goes", refs{{Name: "a"}}, entries{ours("sibling"), ours("a")}, entries{ours("a")}, entries{ours("a")}},
		{
			"a sibling's for a section that the Route names no longer goes", refs{sectioned("sibling", "y")},
			entries{entry(controllerName, sectioned("sibling", "x")), entry(controllerName, sectioned("sibling", "y"))}, nil,
			entries{entry(controllerName, sectioned("sibling", "y"))},
		},
		{"another kind of parent goes", refs{listenerSet.ParentRef}, entries{listenerSet}, nil, entries{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := merger{controller: controllerName, generation: 1, isSiblings: func(r gateway.ObjectRef) bool {
				return r == gateway.ObjectRef{Kind: "Gateway", Namespace: "n", Name: "sibling"}
			}}
			want := statusFields{}
			if test.then != nil {
				want["parents"] = test.then
			}
			got := m.route(routeObject{"n", test.spec, test.current}, &gateway.RouteStatus{Parents: test.want})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPolicyEntries merges what is wanted of a BackendTLSPolicy into what stands there.
func TestPolicyEntries(t *testing.T) {
	type entries = []gatewayv1.PolicyAncestorStatus
	entry := func(controller gatewayv1.GatewayController, name gatewayv1.ObjectName, message string) gatewayv1.PolicyAncestorStatus {
		ref := withDefaults(gatewayv1.ParentReference{Name: name, Namespace: new(gatewayv1.Namespace("n"))})
		return gatewayv1.PolicyAncestorStatus{AncestorRef: ref, ControllerName: controller, Conditions: []metav1.Condition{wanted("Accepted", "True", message)}}
	}
	ours := func(name gatewayv1.ObjectName) gatewayv1.PolicyAncestorStatus { return entry(controllerName, name, "") }
	others := func(name gatewayv1.ObjectName) gatewayv1.PolicyAncestorStatus {
		return entry("other.example/controller", name, "")
	}
	var full entries
	for range maxAncestors - 1 {
		full = append(full, others("x"))
	}
	for _, test := range []struct {
		name                string
		current, want, then entries
	}{
		{"the first", nil, entries{ours("a")}, entries{ours("a")}},
		{"equal ones are not written", entries{others("a"), ours("a")}, entries{ours("a")}, nil},
		{"another controller's for the same Gateway stays", entries{others("a")}, entries{ours("a")}, entries{others("a"), ours("a")}},
		{"ours changes in its place", entries{ours("a"), others("a")}, entries{entry(controllerName, "a", "new")}, entries{entry(controllerName, "a", "new"), others("a")}},
		{"one that is not wanted goes", entries{ours("a"), others("a"), ours("b")}, entries{ours("b")}, entries{others("a"), ours("b")}},
		{"the last one goes", entries{ours("a")}, nil, entries{}},
		{"a sibling's stays", entries{ours("sibling")}, entries{ours("a")}, entries{ours("sibling"), ours("a")}},
		{"there is room for 16", full, entries{ours("a"), ours("b")}, append(full[:len(full):len(full)], ours("a"))},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := merger{controller: controllerName, generation: 1, isSiblings: func(r gateway.ObjectRef) bool {
				return r == gateway.ObjectRef{Kind: "Gateway", Namespace: "n", Name: "sibling"}
			}}
			want := statusFields{}
			if test.then != nil {
				want["ancestors"] = test.then
			}
			got := m.policy(policyObject{"n", test.current}, &gateway.PolicyStatus{Ancestors: test.want})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatMatters(t *testing.T) {
	named := map[string]*kind{}
	for _, k := range kinds() {
		named[k.name] = k
	}
	node := func(address, label string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: meta("n")}
		n.Labels = map[string]string{"x": label}
		n.Status.Addresses = []corev1.NodeAddress{{Address: address}}
		return n
	}
	beat := node("192.0.2.1", "")
	beat.Annotations = map[string]string{"network": "changed"}
	beat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
	applied := service("s")
	applied.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}"}
	exposed := service("s")
	exposed.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	deleted := service("s")
	deleted.DeletionTimestamp = new(metav1.NewTime(time.Unix(1, 0)))
	ports := service("s")
	ports.Spec.Ports[0].Port = 81
	status := httpRoute("r")
	status.Status.Parents = make([]gatewayv1.RouteParentStatus, 1)
	spec := httpRoute("r")
	spec.Generation = 2
	annotated := httpRoute("r")
	annotated.Annotations = map[string]string{"x": "y"}
	renewed := tlsSecret("s")
	renewed.Data[corev1.TLSPrivateKeyKey] = []byte("another")
	for _, test := range []struct {
		name, kind string
		was, is    object
		want       bool
	}{
		{"heartbeat", "Node", node("192.0.2.1", ""), beat, false},
		{"address", "Node", node("192.0.2.1", ""), node("192.0.2.2", ""), true},
		{"label", "Node", node("192.0.2.1", ""), node("192.0.2.1", "y"), true},
		{"load balancer status", "Service", service("s"), exposed, true},
		{"kubectl apply's annotation", "Service", service("s"), applied, false},
		{"port", "Service", service("s"), ports, true},
		{"deletion", "Service", service("s"), deleted, true},
		{"status", "HTTPRoute", httpRoute("r"), status, false},
		{"spec", "HTTPRoute", httpRoute("r"), spec, true},
		{"conditions", "Gateway", &gatewayv1.Gateway{}, &gatewayv1.Gateway{Status: gatewayv1.GatewayStatus{Conditions: make([]metav1.Condition, 1)}}, false},
		{"address", "Gateway", &gatewayv1.Gateway{}, &gatewayv1.Gateway{Status: gatewayv1.GatewayStatus{Addresses: []gatewayv1.GatewayStatusAddress{{Value: "192.0.2.1"}}}}, true},
		{"annotation", "HTTPRoute", httpRoute("r"), annotated, true},
		{"key", "Secret", tlsSecret("s"), renewed, true},
		{"nothing", "Secret", tlsSecret("s"), tlsSecret("s"), false},
		{"ready", "EndpointSlice", endpointSlice("s", "10.0.0.1"), endpointSlice("s", "10.0.0.1"), false},
		{"address", "EndpointSlice", endpointSlice("s", "10.0.0.1"), endpointSlice("s", "10.0.0.2"), true},
	} {
		t.Run(test.kind+" "+test.name, func(t *testing.T) {
			k := named[test.kind]
			was, err := k.transform(test.was)
			if err != nil {
				t.Fatal(err)
			}
			is, err := k.transform(test.is)
			if err != nil {
				t.Fatal(err)
			}
			if got := k.matters(was.(object), is.(object)); got != test.want {
				t.Errorf("matters = %v, want %v", got, test.want)
			}
		})
	}
}
