package kube

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func TestConditionTimes(t *testing.T) {
	before, now := metav1.Unix(1_700_000_000, 0), metav1.Unix(1_800_000_000, 0)
	at := func(c metav1.Condition, when metav1.Time) metav1.Condition {
		c.LastTransitionTime = when
		return c
	}
	current := []metav1.Condition{at(wanted("A", "True", "x"), before), at(wanted("B", "True", "x"), before)}
	for _, test := range []struct {
		name       string
		want, then []metav1.Condition
	}{
		{"equal, in another order", []metav1.Condition{wanted("B", "True", "x"), wanted("A", "True", "x")}, current},
		{
			"another message keeps the time",
			[]metav1.Condition{wanted("A", "True", "y"), wanted("B", "True", "x")},
			[]metav1.Condition{at(wanted("A", "True", "y"), before), at(wanted("B", "True", "x"), before)},
		},
		{
			"another status has a new time",
			[]metav1.Condition{wanted("A", "False", "x"), wanted("B", "True", "x")},
			[]metav1.Condition{at(wanted("A", "False", "x"), now), at(wanted("B", "True", "x"), before)},
		},
		{
			"a new type has a new time, an old one goes",
			[]metav1.Condition{wanted("C", "True", "x")},
			[]metav1.Condition{at(wanted("C", "True", "x"), now)},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := merger{now: now}.conditions(current, test.want)
			if diff := cmp.Diff(test.then, got); diff != "" {
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
		{"load balancer status", "Service", service("s"), exposed, false},
		{"kubectl apply's annotation", "Service", service("s"), applied, false},
		{"port", "Service", service("s"), ports, true},
		{"deletion", "Service", service("s"), deleted, true},
		{"status", "HTTPRoute", httpRoute("r"), status, false},
		{"spec", "HTTPRoute", httpRoute("r"), spec, true},
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
