package main

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/gateway"
)

// annotationsOfDNS is what the annotations that ask for records begin with.
const annotationsOfDNS = "external-dns."

const kindService = "Service"

// observe takes over what records are made of beside what Plans serve.
func (c *dnsCare) observe(s *gateway.Snapshot) {
	if c == nil {
		return
	}
	c.nodes = s.Nodes
	c.readDNSEndpoints(s.DNSEndpoints)
	s.Observed.Records = c.recordsStates()
	c.services = c.services[:0]
	if !c.settings.reads(kindService) {
		return
	}
	for _, service := range s.Services {
		if asksForRecords(service) && c.selects(service.Labels, service.Annotations) {
			c.services = append(c.services, service)
		}
	}
	slices.SortFunc(c.services, func(x, y *corev1.Service) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
}

func asksForRecords(o metav1.Object) bool {
	for key := range o.GetAnnotations() {
		if strings.HasPrefix(key, annotationsOfDNS) {
			return true
		}
	}
	return false
}

// endpointsChanged is told of Services whose EndpointSlices changed, which no Plan follows.
func (c *dnsCare) endpointsChanged(services []types.NamespacedName) {
	if c == nil || c.plan == nil {
		return
	}
	for _, s := range c.services {
		if followsEndpoints(s) && slices.Contains(services, types.NamespacedName{Namespace: s.Namespace, Name: s.Name}) {
			c.apply(c.plan)
			return
		}
	}
}

// followsEndpoints tells whether the records of a Service depend on where its Pods are.
func followsEndpoints(s *corev1.Service) bool {
	return isHeadless(s) || s.Spec.Type == corev1.ServiceTypeNodePort && isLocal(s)
}

func isHeadless(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeClusterIP && s.Spec.ClusterIP == corev1.ClusterIPNone
}

// isLocal tells whether nodes send traffic to their own Pods alone.
func isLocal(s *corev1.Service) bool {
	return s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// dnsServices converts the Services that ask for records.
func (c *dnsCare) dnsServices(objects map[string]gateway.ObjectRef) []externaldns.Service {
	all := make([]externaldns.Service, len(c.services))
	for i, s := range c.services {
		all[i] = c.dnsService(s)
		all[i].Resource = note(objects, gateway.ObjectRef{Kind: kindService, Namespace: s.Namespace, Name: s.Name})
	}
	return all
}

func (c *dnsCare) dnsService(s *corev1.Service) externaldns.Service {
	service := externaldns.Service{
		Annotations: s.Annotations, PublishInternal: c.settings.InternalServices,
		External: s.Spec.ExternalIPs,
	}
	if s.Spec.ClusterIP != corev1.ClusterIPNone {
		service.Internal = s.Spec.ClusterIP
	}
	switch {
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer:
		service.Kind = externaldns.LoadBalancer
		if len(service.External) == 0 {
			service.External = loadBalancerAddresses(s)
		}
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		service.Kind = externaldns.ExternalName
		if len(service.External) == 0 {
			service.External = []string{s.Spec.ExternalName}
		}
	case s.Spec.Type == corev1.ServiceTypeNodePort:
		service.Kind = externaldns.NodePort
		for _, p := range s.Spec.Ports {
			if p.NodePort > 0 {
				service.NodePorts = append(service.NodePorts, externaldns.Port{Protocol: cmp.Or(string(p.Protocol), "TCP"), Number: p.NodePort})
			}
		}
		for _, n := range c.nodesOf(s) {
			service.Nodes = append(service.Nodes, dnsNode(n))
		}
	case isHeadless(s):
		service.Kind = externaldns.Headless
		service.Endpoints = c.dnsEndpoints(s)
	default:
		service.Kind = externaldns.ClusterIP
	}
	return service
}

func loadBalancerAddresses(s *corev1.Service) []string {
	var addresses []string
	for _, i := range s.Status.LoadBalancer.Ingress {
		for _, address := range []string{i.IP, i.Hostname} {
			if address != "" {
				addresses = append(addresses, address)
			}
		}
	}
	return addresses
}

func dnsNode(n *corev1.Node) externaldns.Node {
	var node externaldns.Node
	for _, a := range n.Status.Addresses {
		switch a.Type {
		case corev1.NodeExternalIP:
			node.External = append(node.External, a.Address)
		case corev1.NodeInternalIP:
			node.Internal = append(node.Internal, a.Address)
		}
	}
	return node
}

// nodesOf are the nodes that traffic for a Service may be sent to: those with Pods of it, if
// they keep it to themselves, and of these the ones that are best off.
func (c *dnsCare) nodesOf(s *corev1.Service) []*corev1.Node {
	fitness := make(map[string]int)
	best := 0
	if isLocal(s) {
		for _, slice := range c.slicesOf(s) {
			for i := range slice.Endpoints {
				if e := &slice.Endpoints[i]; e.NodeName != nil {
					fitness[*e.NodeName] = max(fitness[*e.NodeName], fitnessOf(&e.Conditions))
					best = max(best, fitness[*e.NodeName])
				}
			}
		}
	}
	var nodes []*corev1.Node
	for _, n := range c.nodes {
		if !n.Spec.Unschedulable && (!isLocal(s) || fitness[n.Name] > 0 && fitness[n.Name] == best) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// fitnessOf is 3 for an endpoint that is ready, 2 for one that still serves while it ends, and 1
// for one that is just there.
func fitnessOf(c *discoveryv1.EndpointConditions) int {
	switch {
	case c.Ready == nil || *c.Ready:
		return 3
	case c.Serving != nil && *c.Serving:
		return 2
	}
	return 1
}

func (c *dnsCare) slicesOf(s *corev1.Service) []*discoveryv1.EndpointSlice {
	return c.slices(types.NamespacedName{Namespace: s.Namespace, Name: s.Name})
}

// dnsEndpoints are the endpoints of a headless Service, as ready as it asks for.
func (c *dnsCare) dnsEndpoints(s *corev1.Service) []externaldns.Endpoint {
	nodes := make(map[string]externaldns.Node, len(c.nodes))
	for _, n := range c.nodes {
		nodes[n.Name] = dnsNode(n)
	}
	var endpoints []externaldns.Endpoint
	for _, slice := range c.slicesOf(s) {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready || s.Spec.PublishNotReadyAddresses
			if !ready || len(e.Addresses) == 0 || slice.AddressType == discoveryv1.AddressTypeFQDN {
				continue
			}
			endpoint := externaldns.Endpoint{Address: e.Addresses[0]}
			if e.Hostname != nil {
				endpoint.Hostname = *e.Hostname
			}
			if e.NodeName != nil {
				endpoint.Node = nodes[*e.NodeName]
			}
			endpoints = append(endpoints, endpoint)
		}
	}
	return endpoints
}
