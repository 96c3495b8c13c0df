package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/bpf"
	"github.com/lintel-dev/lintel/bpf/socketlb"
	"github.com/lintel-dev/lintel/gateway"
)

// Whose sockets connect to Services' endpoints by themselves.
const (
	socketLBOff  = "off"
	socketLBSelf = "self"
	socketLBNode = "node"
)

// serviceSockets tells the socket balancer of all Services. A nil one does nothing. It
// belongs to the loop's goroutine.
type serviceSockets struct {
	balancer *socketlb.Balancer
	node     string // that we run on

	objects map[types.NamespacedName]*corev1.Service // of the last Snapshot
	nodes   []netip.Addr                             // addresses of all nodes, sorted
	want    socketlb.Services                        // read-only once it was applied
	dirty   map[types.NamespacedName]bool            // changed since then
}

// balanceSockets adds the balancer to the parts, as far as the machine allows it: without
// it everything is reached as before.
func (p *process) balanceSockets() {
	if p.settings.SocketLB != socketLBNode && abandonedSocketLB() {
		p.log.Warn("connections of this node still go where Services' endpoints were when Lintel last ran with socket-lb=node: run lintel bpf detach " + socketlb.Feature)
	}
	options, err := socketLBOptions(p.settings.SocketLB, p.log)
	switch {
	case p.settings.SocketLB == socketLBOff:
		return
	case err != nil && p.settings.SocketLB == socketLBNode:
		p.log.Error("socket-lb is off", "why", err)
		return
	case err != nil:
		p.log.Info("socket-lb is off", "why", err)
		return
	}
	host, _ := os.Hostname() // the node's own name, where the chart doesn't say it
	s := &serviceSockets{
		balancer: socketlb.New(options), node: cmp.Or(os.Getenv("NODE_NAME"), host),
		dirty: make(map[types.NamespacedName]bool),
	}
	p.loop.sockets = s
	p.early = append(p.early, func(ctx context.Context) error {
		if err := s.balancer.Run(ctx); !errors.Is(err, bpf.ErrUnavailable) {
			return err
		} else if p.settings.SocketLB == socketLBNode {
			p.log.Error("socket-lb is off", "why", err)
		} else {
			p.log.Info("socket-lb is off", "why", err)
		}
		return nil
	})
}

// abandonedSocketLB tells whether programs are attached that no process keeps up.
func abandonedSocketLB() bool {
	pins, found, err := bpf.ExistingPins(socketlb.Feature)
	if err != nil || !found {
		return false // or out of our sight
	}
	owned, err := pins.Own()
	if err != nil || owned == nil {
		return false
	}
	_ = owned.Close() // whoever attaches may have it
	attached, err := socketlb.Active(pins)
	return err == nil && attached != ""
}

// socketLBOptions finds what the balancer needs. Errors wrap bpf.ErrUnavailable.
func socketLBOptions(mode string, log *slog.Logger) (socketlb.Options, error) {
	o := socketlb.Options{Log: log}
	if mode == socketLBOff {
		return o, nil
	}
	err := socketlb.Needs().Probe()
	if err != nil {
		return o, err
	}
	if mode == socketLBSelf {
		o.Cgroup, err = bpf.OwnCgroup()
		return o, err
	}
	if o.Cgroup, err = bpf.NodeCgroup(); err != nil {
		return o, err
	}
	o.Sizes = socketlb.NodeSizes()
	o.Pins, err = bpf.PinsOf(socketlb.Feature)
	return o, err
}

// socketLBActive says in a few words what is attached without pins.
func socketLBActive() (string, error) {
	own, err := bpf.OwnCgroup()
	if err != nil {
		return "", nil // so that nothing is
	}
	attached, err := socketlb.Attached(own)
	if err != nil || !attached {
		return "", err
	}
	return "programs on our own cgroup " + own, nil
}

// observe notes which Services and nodes there are.
func (s *serviceSockets) observe(snapshot *gateway.Snapshot) {
	if s == nil {
		return
	}
	nodes := nodeAddresses(snapshot.Nodes)
	anew := !slices.Equal(nodes, s.nodes) // what NodePorts are reached at
	objects := make(map[types.NamespacedName]*corev1.Service, len(snapshot.Services))
	for _, o := range snapshot.Services {
		name := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
		objects[name] = o
		if anew || s.objects[name] != o {
			s.dirty[name] = true
		}
	}
	for name := range s.objects {
		if objects[name] == nil {
			s.dirty[name] = true
		}
	}
	s.objects, s.nodes = objects, nodes
}

func nodeAddresses(nodes []*corev1.Node) []netip.Addr {
	var all []netip.Addr
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil && (a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP) {
				all = append(all, ip)
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// apply tells the balancer of Services that changed, and of these, whose EndpointSlices
// did.
func (s *serviceSockets) apply(from source, changed []types.NamespacedName) {
	if s == nil {
		return
	}
	for _, name := range changed {
		s.dirty[name] = true
	}
	if len(s.dirty) == 0 && s.want != nil {
		return
	}
	want := maps.Clone(s.want)
	if want == nil {
		want = make(socketlb.Services)
	}
	for name := range s.dirty {
		delete(want, name.String())
		if o := s.objects[name]; o != nil && isBalanced(o) {
			want[name.String()] = s.ports(o, from.EndpointSlices(name))
		}
	}
	s.want, s.dirty = want, make(map[types.NamespacedName]bool)
	s.balancer.Apply(want)
}

// isBalanced tells Services that have addresses of their own from others, and from those
// that ask for somebody else.
func isBalanced(o *corev1.Service) bool {
	_, elsewhere := o.Labels["service.kubernetes.io/service-proxy-name"]
	return !elsewhere && o.Spec.Type != corev1.ServiceTypeExternalName && o.Spec.ClusterIP != corev1.ClusterIPNone && o.Spec.ClusterIP != ""
}

// ports converts a Service.
func (s *serviceSockets) ports(o *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) []socketlb.Port {
	var ports []socketlb.Port
	affinity := time.Duration(0)
	if o.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		affinity = time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
		if c := o.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	for i := range o.Spec.Ports {
		p := &o.Spec.Ports[i]
		protocol := socketlb.TCP
		switch p.Protocol {
		case corev1.ProtocolTCP, "":
		case corev1.ProtocolUDP:
			protocol = socketlb.UDP
		default:
			continue
		}
		port := socketlb.Port{Protocol: protocol, Affinity: affinity, Endpoints: gateway.ReadyEndpoints(endpointSlices, p.Name, nil)}
		port.Addresses = s.addresses(o, p)
		inside := withPort(nil, clusterIPs(o), p.Port)
		if local := o.Spec.InternalTrafficPolicy; local != nil && *local == corev1.ServiceInternalTrafficPolicyLocal {
			ports = append(ports, socketlb.Port{
				Protocol: protocol, Affinity: affinity, Addresses: inside,
				Endpoints: gateway.ReadyEndpoints(endpointSlices, p.Name, s.elsewhere),
			})
		} else {
			port.Addresses = append(port.Addresses, inside...)
		}
		ports = append(ports, port)
	}
	return ports
}

// elsewhere tells of endpoints that are not on this node.
func (s *serviceSockets) elsewhere(e *discoveryv1.Endpoint) bool {
	return e.NodeName == nil || *e.NodeName != s.node
}

// addresses returns those of a Service's port that are for clients outside, and for those
// inside all the same. Clients in the cluster are not subject to externalTrafficPolicy
// there (KEP-1669).
func (s *serviceSockets) addresses(o *corev1.Service, p *corev1.ServicePort) []netip.AddrPort {
	all := withPort(nil, o.Spec.ExternalIPs, p.Port)
	for _, balancer := range o.Status.LoadBalancer.Ingress {
		if balancer.IPMode == nil || *balancer.IPMode == corev1.LoadBalancerIPModeVIP {
			all = withPort(all, []string{balancer.IP}, p.Port)
		}
	}
	if p.NodePort != 0 {
		for _, a := range s.nodes {
			all = append(all, netip.AddrPortFrom(a, uint16(p.NodePort)))
		}
	}
	return all
}

func clusterIPs(o *corev1.Service) []string {
	if len(o.Spec.ClusterIPs) > 0 {
		return o.Spec.ClusterIPs
	}
	return []string{o.Spec.ClusterIP}
}

func withPort(to []netip.AddrPort, ips []string, port int32) []netip.AddrPort {
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip); err == nil {
			to = append(to, netip.AddrPortFrom(a, uint16(port)))
		}
	}
	return to
}
