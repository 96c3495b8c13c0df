package gateway

import (
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// SetEndpoints loads the ready endpoints of the EndpointSlices of b's Service into b.
func (b *Backend) SetEndpoints(endpointSlices []*discoveryv1.EndpointSlice) {
	b.Backend.SetEndpoints(ReadyEndpoints(endpointSlices, b.PortName, nil))
}

// ReadyEndpoints returns the ready endpoints of a Service's port, sorted, each once. Those
// that are terminating but still serving are used only while no other is ready, as
// kube-proxy has it (KEP-1669). Endpoints that skip tells of are left out; nil skips none.
func ReadyEndpoints(endpointSlices []*discoveryv1.EndpointSlice, portName string, skip func(*discoveryv1.Endpoint) bool) []netip.AddrPort {
	var ready, serving []netip.AddrPort
	for _, slice := range endpointSlices {
		if slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		port, ok := endpointPort(slice, portName)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			switch {
			case skip != nil && skip(e):
			case isTrue(e.Conditions.Ready):
				ready = appendAddresses(ready, e.Addresses, port)
			case e.Conditions.Serving != nil && isTrue(e.Conditions.Serving):
				serving = appendAddresses(serving, e.Addresses, port)
			}
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	slices.SortFunc(ready, netip.AddrPort.Compare)
	return slices.Compact(ready)
}

// endpointPort finds the port of a slice that carries a Service port's name.
func endpointPort(slice *discoveryv1.EndpointSlice, portName string) (uint16, bool) {
	for _, p := range slice.Ports {
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		if name == portName && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// isTrue reads an endpoint condition, where nil stands for true.
func isTrue(condition *bool) bool { return condition == nil || *condition }

func appendAddresses(to []netip.AddrPort, addresses []string, port uint16) []netip.AddrPort {
	for _, a := range addresses {
		if ip, err := netip.ParseAddr(a); err == nil {
			to = append(to, netip.AddrPortFrom(ip, port))
		}
	}
	return to
}
