package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/bpf/socketlb"
	"github.com/lintel-dev/lintel/gateway"
)

// TestPortsOfServices says what of a Service sockets are balanced for: each line is
// protocol, addresses, endpoints, affinity.
func TestPortsOfServices(t *testing.T) {
	local, proxied := corev1.ServiceInternalTrafficPolicyLocal, corev1.LoadBalancerIPModeProxy
	http := []corev1.ServicePort{{Port: 80, NodePort: 30080}}
	tests := []struct {
		name   string
		spec   corev1.ServiceSpec
		status []corev1.LoadBalancerIngress
		want   []string
	}{
		{
			name: "families, protocols and named ports",
			spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.1", "fd00::1"}, Ports: []corev1.ServicePort{
				{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Port: 80}, {Name: "s", Port: 5, Protocol: corev1.ProtocolSCTP},
			}},
			want: []string{
				"17 [10.96.0.1:53 [fd00::1]:53] [10.0.0.1:5353 10.0.0.2:5353 [fd01::1]:5353] 0s",
				"6 [10.96.0.1:80 [fd00::1]:80] [10.0.0.1:8080 10.0.0.2:8080 [fd01::1]:8080] 0s",
			},
		},
		{
			name:   "addresses for clients outside",
			spec:   corev1.ServiceSpec{ClusterIP: "10.96.0.1", ExternalIPs: []string{"192.0.2.1"}, Ports: http},
			status: []corev1.LoadBalancerIngress{{IP: "192.0.2.2"}, {IP: "192.0.2.3", IPMode: &proxied}, {Hostname: "lb.example.com"}},
			want:   []string{"6 [192.0.2.1:80 192.0.2.2:80 172.16.0.1:30080 172.16.0.2:30080 10.96.0.1:80] [10.0.0.1:8080 10.0.0.2:8080 [fd01::1]:8080] 0s"},
		},
		{
			name: "internalTrafficPolicy Local",
			spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", ExternalIPs: []string{"192.0.2.1"}, Ports: []corev1.ServicePort{{Port: 80}}, InternalTrafficPolicy: &local},
			want: []string{
				"6 [10.96.0.1:80] [10.0.0.2:8080 [fd01::1]:8080] 0s",
				"6 [192.0.2.1:80] [10.0.0.1:8080 10.0.0.2:8080 [fd01::1]:8080] 0s",
			},
		},
		{
			name: "affinity",
			spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 80}}, SessionAffinity: corev1.ServiceAffinityClientIP},
			want: []string{"6 [10.96.0.1:80] [10.0.0.1:8080 10.0.0.2:8080 [fd01::1]:8080] 3h0m0s"},
		},
		{
			name: "affinity with a timeout",
			spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 80}}, SessionAffinity: corev1.ServiceAffinityClientIP,
				SessionAffinityConfig: &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(60))}}},
			want: []string{"6 [10.96.0.1:80] [10.0.0.1:8080 10.0.0.2:8080 [fd01::1]:8080] 1m0s"},
		},
	}
	here, there := "here", "there"
	ports := []discoveryv1.EndpointPort{{Port: new(int32(8080))}, {Name: new("dns"), Port: new(int32(5353))}}
	endpointSlices := []*discoveryv1.EndpointSlice{
		{AddressType: discoveryv1.AddressTypeIPv4, Ports: ports, Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.1"}, NodeName: &there}, {Addresses: []string{"10.0.0.2"}, NodeName: &here},
			{Addresses: []string{"10.0.0.3"}, NodeName: &here, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
		}},
		{AddressType: discoveryv1.AddressTypeIPv6, Ports: ports, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"fd01::1"}, NodeName: &here}}},
	}
	s := &serviceSockets{node: here, nodes: []netip.Addr{netip.MustParseAddr("172.16.0.1"), netip.MustParseAddr("172.16.0.2")}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := &corev1.Service{Spec: test.spec, Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: test.status}}}
			var got []string
			for _, p := range s.ports(o, endpointSlices) {
				if len(p.Addresses) > 0 {
					got = append(got, fmt.Sprint(p.Protocol, p.Addresses, p.Endpoints, p.Affinity))
				}
			}
			slices.Sort(got)
			slices.Sort(test.want)
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%q, want\n%q", got, test.want)
			}
		})
	}
}

func TestServicesThatAreNotBalanced(t *testing.T) {
	tests := map[string]corev1.Service{
		"headless":        {Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}},
		"ExternalName":    {Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ClusterIP: "10.96.0.1"}},
		"without address": {},
		"another's": {
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"service.kubernetes.io/service-proxy-name": "mesh"}},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1"},
		},
	}
	for name, o := range tests {
		if isBalanced(&o) {
			t.Errorf("%s: is balanced", name)
		}
	}
}

// slicesOf is a source that has EndpointSlices alone.
type slicesOf map[types.NamespacedName][]*discoveryv1.EndpointSlice

func (slicesOf) Wait(context.Context) (gateway.Change, error) { return gateway.Change{}, nil }
func (slicesOf) Snapshot() *gateway.Snapshot                  { return &gateway.Snapshot{} }
func (s slicesOf) EndpointSlices(service types.NamespacedName) []*discoveryv1.EndpointSlice {
	return s[service]
}

// What did not change stays the very same, by which the balancer knows that it need not
// look at it.
func TestOnlyServicesThatChangedAreConverted(t *testing.T) {
	named := func(name, ip string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name},
			Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}}},
		}
	}
	a, b := named("a", "10.96.0.1"), named("b", "10.96.0.2")
	node := &corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.16.0.1"}}}}
	s := &serviceSockets{balancer: socketlb.New(socketlb.Options{}), dirty: make(map[types.NamespacedName]bool)}
	step := func(services []*corev1.Service, nodes []*corev1.Node, changed ...types.NamespacedName) socketlb.Services {
		s.observe(&gateway.Snapshot{Services: services, Nodes: nodes})
		s.apply(slicesOf{}, changed)
		return s.want
	}
	same := func(was, is socketlb.Services, name string) bool { return &was[name][0] == &is[name][0] }

	first := step([]*corev1.Service{a, b}, nil)
	if len(first) != 2 {
		t.Fatalf("Services: %v", first)
	}
	second := step([]*corev1.Service{a, b}, nil, types.NamespacedName{Namespace: "n", Name: "b"})
	if !same(first, second, "n/a") || same(first, second, "n/b") {
		t.Error("endpoints of b changed: that is not what was converted anew")
	}
	third := step([]*corev1.Service{named("a", "10.96.0.9"), b}, nil)
	if same(second, third, "n/a") || !same(second, third, "n/b") {
		t.Error("a changed: that is not what was converted anew")
	}
	fourth := step([]*corev1.Service{b}, []*corev1.Node{node})
	if len(fourth) != 1 || len(fourth["n/b"][0].Addresses) != 2 {
		t.Errorf("a went and a node came: %v", fourth)
	}
	if len(third) != 2 || len(first) != 2 {
		t.Error("what had been applied was changed")
	}
}
