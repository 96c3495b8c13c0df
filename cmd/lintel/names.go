package main

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/observe"
)

// namesInterval is how long the names of addresses may be behind the objects while somebody
// follows: making them anew reads all Services and EndpointSlices.
const namesInterval = time.Second

// names tell whose an address is. They are made when they are asked for, and not while nobody
// asks. The methods are safe for concurrent use.
type names struct {
	source  source
	current atomic.Pointer[nameIndex]
	changed atomic.Bool
	mu      sync.Mutex // held by the one who makes them
}

func newNames(source source) *names {
	n := &names{source: source}
	n.current.Store(&nameIndex{})
	n.changed.Store(true)
	return n
}

// change says that objects are not as they were. It never blocks. A nil names has nobody to
// tell.
func (n *names) change() {
	if n != nil {
		n.changed.Store(true)
	}
}

// index returns the names of now, or of a second ago.
func (n *names) index() *nameIndex {
	index := n.current.Load()
	if !n.changed.Load() || time.Since(index.made) < namesInterval || !n.mu.TryLock() {
		return index
	}
	defer n.mu.Unlock()
	n.changed.Store(false)
	index = newNameIndex(n.source.Snapshot(), n.source.EndpointSlices)
	index.made = time.Now()
	n.current.Store(index)
	return index
}

// nameIndex is whose each address was at one moment. It is never changed.
type nameIndex struct {
	made time.Time
	// pods are those that have an address alone; "" for an address that several have.
	pods map[netip.Addr]types.NamespacedName
	// ports are Pods and Services by an address and a port: those of endpoints, and those of
	// Services themselves.
	ports map[netip.AddrPort]portName
}

type portName struct{ pod, service types.NamespacedName }

func newNameIndex(s *gateway.Snapshot, slicesOf func(types.NamespacedName) []*discoveryv1.EndpointSlice) *nameIndex {
	x := &nameIndex{pods: map[netip.Addr]types.NamespacedName{}, ports: map[netip.AddrPort]portName{}}
	services := slices.Clone(s.Services)
	slices.SortFunc(services, func(a, b *corev1.Service) int { // the first one has a port that several name
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, service := range services {
		name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
		x.addService(service, name)
		for _, slice := range slicesOf(name) {
			for i := range slice.Endpoints {
				x.addEndpoint(&slice.Endpoints[i], slice.Ports, name)
			}
		}
	}
	maps.DeleteFunc(x.pods, func(a netip.Addr, _ types.NamespacedName) bool { return a.IsLoopback() })
	for _, node := range s.Nodes { // programs without a Service have its addresses too
		for _, a := range node.Status.Addresses {
			if address, err := netip.ParseAddr(a.Address); err == nil {
				x.pods[address] = types.NamespacedName{}
			}
		}
	}
	return x
}

// addService adds the addresses of a Service itself.
func (x *nameIndex) addService(service *corev1.Service, name types.NamespacedName) {
	addresses := append(slices.Clone(service.Spec.ClusterIPs), service.Spec.ExternalIPs...)
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		addresses = append(addresses, ingress.IP)
	}
	for _, text := range addresses {
		address, err := netip.ParseAddr(text)
		if err != nil {
			continue // "None", or a hostname
		}
		for _, port := range service.Spec.Ports {
			x.add(address, port.Port, portName{service: name})
		}
	}
}

func (x *nameIndex) addEndpoint(endpoint *discoveryv1.Endpoint, ports []discoveryv1.EndpointPort, service types.NamespacedName) {
	var pod types.NamespacedName
	if t := endpoint.TargetRef; t != nil && t.Kind == "Pod" {
		pod = types.NamespacedName{Namespace: cmp.Or(t.Namespace, service.Namespace), Name: t.Name}
	}
	for _, text := range endpoint.Addresses {
		address, err := netip.ParseAddr(text)
		if err != nil {
			continue // a hostname
		}
		if other, known := x.pods[address]; known && other != pod {
			x.pods[address] = types.NamespacedName{}
		} else {
			x.pods[address] = pod
		}
		for i := range ports {
			if ports[i].Port != nil {
				x.add(address, *ports[i].Port, portName{pod: pod, service: service})
			}
		}
	}
}

// add keeps the name that came first.
func (x *nameIndex) add(address netip.Addr, port int32, name portName) {
	at := netip.AddrPortFrom(address, uint16(port)) //nolint:gosec // The API server checks ports.
	if _, known := x.ports[at]; !known {
		x.ports[at] = name
	}
}

// complete fills in the names of a Record.
func (x *nameIndex) complete(r *observe.Record) {
	x.name(&r.Source)
	x.name(&r.Destination)
	if backend, _, ok := strings.Cut(r.Backend, ":"); ok && r.Destination.Address.IsValid() {
		service := namespacedName(backend)
		r.Destination.Service = service.Name
		r.Destination.Namespace = cmp.Or(r.Destination.Namespace, service.Namespace)
	}
}

func (x *nameIndex) name(p *observe.Peer) {
	at := x.ports[netip.AddrPortFrom(p.Address, p.Port)]
	pod := at.pod
	if pod.Name == "" {
		pod = x.pods[p.Address]
	}
	p.Pod, p.Service = pod.Name, at.service.Name
	p.Namespace = cmp.Or(pod.Namespace, at.service.Namespace)
}
