package gateway

import (
	"fmt"
	"net/netip"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// AddressPool is a set of addresses that are given to Gateways.
type AddressPool struct {
	Name  string
	CIDRs []netip.Prefix
	// GatewayClasses and Namespaces limit the pool to Gateways with these classes, and in
	// these namespaces; none means all.
	GatewayClasses []string
	Namespaces     []string
}

func (p *AddressPool) serves(g *boundGateway) bool {
	return chosen(p.GatewayClasses, string(g.Spec.GatewayClassName)) && chosen(p.Namespaces, g.Namespace)
}

func (p *AddressPool) contains(a netip.Addr) bool {
	return slices.ContainsFunc(p.CIDRs, func(c netip.Prefix) bool { return c.Contains(a) })
}

// lowestFree returns the first address of the pool that is not taken. Those that are
// the name or the broadcast address of a network of the usual size are left out, as
// hosts may not answer to them.
func (p *AddressPool) lowestFree(taken func(netip.Addr) bool) (netip.Addr, bool) {
	for _, c := range p.CIDRs {
		c = c.Masked()
		for a := c.Addr(); c.Contains(a); a = a.Next() {
			if (c.IsSingleIP() || !isNetworkName(a)) && !taken(a) {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}

func isNetworkName(a netip.Addr) bool {
	if a.Is4() {
		last := a.As4()[3]
		return last == 0 || last == 255
	}
	bytes := a.As16()
	return [8]byte(bytes[8:]) == [8]byte{}
}

// boundAddress is one address of a Gateway, or one that it does not get.
type boundAddress struct {
	ip     netip.Addr   // not valid for every address of the node
	given  bool         // the Gateway's Listeners are to listen on it
	pool   bool         // of an address pool: it moves between nodes
	tunnel *boundTunnel // set for what is no address: the tunnel that the Gateway is reached through
	fault  *Problem     // why it cannot be used; the reason is that of Programmed
	// unroutable says that the fault is its routability: then the others are used all the
	// same (GEP-5093).
	unroutable  bool
	routability gatewayv1.GatewayAddressRoutabilityType
}

// everywhere reports whether it stands for every address of the node.
func (a *boundAddress) everywhere() bool { return a.given && a.tunnel == nil && !a.ip.IsValid() }

// socket is the name of the socket for a port there.
func (a *boundAddress) socket(port int32) string {
	if a.tunnel != nil {
		return a.tunnel.socket(port)
	}
	return socketName(a.ip, port)
}

// addressRequest is what a Gateway wants: an address, or any.
type addressRequest struct {
	field string
	ip    netip.Addr // not valid for any
	got   *boundAddress

	routability gatewayv1.GatewayAddressRoutabilityType
}

// requestAddresses reads spec.addresses. A Gateway that names none wants any.
func (b *build) requestAddresses(g *boundGateway) {
	for i, a := range g.Spec.Addresses {
		field := fmt.Sprintf("spec.addresses[%d]", i)
		if a.Type != nil && *a.Type != gatewayv1.IPAddressType {
			b.refuseGateway(g, field+".type", gatewayv1.GatewayReasonUnsupportedAddress, fmt.Sprintf("%q is not supported; use IPAddress", *a.Type))
			continue
		}
		request := &addressRequest{field: field, routability: a.Routability}
		if a.Value != "" {
			ip, err := netip.ParseAddr(a.Value)
			if err != nil || ip.Zone() != "" {
				b.refuseGateway(g, field+".value", gatewayv1.GatewayReasonUnsupportedAddress, fmt.Sprintf("%q is not an IP address", a.Value))
				continue
			}
			request.ip = ip.Unmap()
		}
		if !isRoutability(a.Routability) {
			request.got = &boundAddress{ip: request.ip, unroutable: true, fault: &Problem{
				Object: g.ref, Field: field + ".routability", Reason: string(gatewayv1.GatewayReasonAddressNotAssigned),
				Message: fmt.Sprintf("%q is not supported, as nothing is known of where addresses can be reached from; remove the field", a.Routability),
			}}
		}
		g.requests = append(g.requests, request)
	}
	if len(g.Spec.Addresses) == 0 {
		g.requests = []*addressRequest{{field: "spec.addresses"}}
	}
}

// assignAddresses gives every Gateway its addresses. What a Gateway has stays its own:
// first what its status says, which all instances see, and then what this instance gave
// it before. Then come addresses that are asked for by value, and then any that are free;
// older Gateways first in each.
func (b *build) assignAddresses() {
	var gateways []*boundGateway
	for _, g := range b.gateways {
		if g.refused == nil {
			gateways = append(gateways, g)
		}
	}
	taken := make(map[netip.Addr]*boundGateway)
	for _, n := range b.Nodes {
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil {
				taken[ip.Unmap()] = nil // never to be given away
			}
		}
	}
	for _, g := range gateways {
		for _, a := range g.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Value); err == nil {
				b.keepAddress(g, ip.Unmap(), taken)
			}
		}
	}
	for _, g := range gateways {
		for _, ip := range b.was.addresses[g.ref] {
			b.keepAddress(g, ip, taken)
		}
	}
	for _, g := range gateways {
		for _, r := range g.requests {
			if r.got == nil && r.ip.IsValid() {
				r.got = b.claimAddress(g, r, taken)
			}
		}
	}
	for _, g := range gateways {
		for _, r := range g.requests {
			if r.got == nil {
				r.got = b.freeAddress(g, r, taken)
			}
		}
		b.useAddresses(g)
	}
}

// poolOf returns the pool that an address belongs to, or nil.
func (b *build) poolOf(ip netip.Addr) *AddressPool {
	for i := range b.Settings.AddressPools {
		if p := &b.Settings.AddressPools[i]; p.contains(ip) {
			return p
		}
	}
	return nil
}

// keepAddress leaves the address of a pool to a Gateway that has it, and still wants it.
func (b *build) keepAddress(g *boundGateway, ip netip.Addr, taken map[netip.Addr]*boundGateway) {
	pool := b.poolOf(ip)
	if _, gone := taken[ip]; gone || pool == nil || !pool.serves(g) {
		return
	}
	fits := func(r *addressRequest) bool { return r.got == nil && r.ip == ip }
	i := slices.IndexFunc(g.requests, fits)
	if i < 0 {
		i = slices.IndexFunc(g.requests, func(r *addressRequest) bool { return r.got == nil && !r.ip.IsValid() })
	}
	if i >= 0 {
		taken[ip] = g
		g.requests[i].got = &boundAddress{ip: ip, given: true, pool: true}
	}
}

// claimAddress gives a Gateway the address that it asks for by value.
func (b *build) claimAddress(g *boundGateway, r *addressRequest, taken map[netip.Addr]*boundGateway) *boundAddress {
	if r.ip.IsUnspecified() {
		return &boundAddress{given: true}
	}
	pool := b.poolOf(r.ip)
	if pool == nil {
		return &boundAddress{ip: r.ip, given: true} // whether the node has it shows when it is bound
	}
	no := func(format string, args ...any) *boundAddress {
		p := Problem{Object: g.ref, Field: r.field, Reason: string(gatewayv1.GatewayReasonAddressNotUsable), Message: fmt.Sprintf(format, args...)}
		return &boundAddress{ip: r.ip, fault: &p}
	}
	other, gone := taken[r.ip]
	switch {
	case !pool.serves(g):
		return no("%s belongs to the address pool %q, which does not serve GatewayClass %q in namespace %q", r.ip, pool.Name, g.Spec.GatewayClassName, g.Namespace)
	case gone && other == nil:
		return no("%s is an address of a node; take it out of the address pool %q", r.ip, pool.Name)
	case gone:
		return no("%s is in use by %s; choose another, or leave the value empty to get a free one", r.ip, other.ref)
	}
	taken[r.ip] = g
	return &boundAddress{ip: r.ip, given: true, pool: true}
}

// freeAddress gives a Gateway an address of the first pool that serves it and has one
// left. Without a pool it shares the addresses of the node.
func (b *build) freeAddress(g *boundGateway, r *addressRequest, taken map[netip.Addr]*boundGateway) *boundAddress {
	var full []string
	for i := range b.Settings.AddressPools {
		pool := &b.Settings.AddressPools[i]
		if !pool.serves(g) {
			continue
		}
		if ip, ok := pool.lowestFree(func(a netip.Addr) bool { _, gone := taken[a]; return gone }); ok {
			taken[ip] = g
			return &boundAddress{ip: ip, given: true, pool: true}
		}
		full = append(full, pool.Name)
	}
	if len(full) == 0 {
		return &boundAddress{given: true}
	}
	return &boundAddress{fault: &Problem{
		Object: g.ref, Field: r.field, Reason: string(gatewayv1.GatewayReasonAddressNotAssigned),
		Message: fmt.Sprintf("no address is free in the address pools %s; add addresses to them", quoted(full)),
	}}
}

// useAddresses takes over what was assigned, and remembers what came from pools.
func (b *build) useAddresses(g *boundGateway) {
	for _, r := range g.requests {
		a := *r.got
		a.routability = r.routability
		if a.pool {
			b.memo.addresses[g.ref] = append(b.memo.addresses[g.ref], a.ip)
			b.plan.Addresses = append(b.plan.Addresses, a.ip)
		}
		if why := b.Observed.Addresses[a.ip]; a.given && why != "" {
			a.fault = &Problem{
				Object: g.ref, Field: r.field, Reason: string(gatewayv1.GatewayReasonAddressNotUsable),
				Message: fmt.Sprintf("%s cannot be used: %s", a.ip, why),
			}
		}
		if a.fault != nil {
			b.report(*a.fault)
		}
		g.addresses = append(g.addresses, a)
	}
	g.listening = listening(g.addresses)
	if g.tunnel != nil { // the last, as not all Listeners are reached through it
		g.listening = append(g.listening, boundAddress{given: true, tunnel: g.tunnel})
	}
}

// listening are the addresses to listen on: one that stands for all is enough.
func listening(addresses []boundAddress) []boundAddress {
	var given []boundAddress
	for _, a := range addresses {
		if a.everywhere() {
			return []boundAddress{a}
		}
		if a.given {
			given = append(given, a)
		}
	}
	return given
}

// addressFault returns why the first address that the Gateway cannot have is not its
// own, or nil. One whose routability is not supported counts if there is no other.
func (g *boundGateway) addressFault() *Problem {
	var unroutable *Problem
	for i := range g.addresses {
		switch a := &g.addresses[i]; {
		case a.fault == nil:
		case !a.unroutable:
			return a.fault
		case unroutable == nil:
			unroutable = a.fault
		}
	}
	if len(g.listening) > 0 {
		return nil
	}
	return unroutable
}
