package gateway

import (
	"net/netip"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routabilitySentinel is what the conformance suite asks for, to see whether the routability
// of an address is reported (GEP-5093). It promises nothing.
const routabilitySentinel gatewayv1.GatewayAddressRoutabilityType = "testing.x-k8s.io/sentinel"

// isRoutability reports whether an address can be asked to be reachable like that. Of the
// addresses that Gateways get, those of nodes and of pools, nothing is known of where they
// are reachable from: so there is no other than the default, which promises nothing.
func isRoutability(r gatewayv1.GatewayAddressRoutabilityType) bool {
	return r == gatewayv1.GatewayAddressRoutabilityDefault || r == routabilitySentinel
}

// reportsRoutability reports whether the API server keeps what status says of routability.
func (b *build) reportsRoutability() bool { return b.experimentalChannel("gateways") }

// shownAddress is an address in the status of a Gateway.
type shownAddress struct {
	value       string
	routability gatewayv1.GatewayAddressRoutabilityType
}

// shownAddresses are the addresses that status shows: one for each of spec.addresses, or
// those of all nodes where there are none (GEP-5093). missing are the fields of those that
// the Gateway does not have, with the reasons.
func (g *boundGateway) shownAddresses(nodes []string) (shown []shownAddress, missing []string) {
	if len(g.Spec.Addresses) == 0 && len(g.listening) > 0 && g.listening[0].everywhere() {
		for _, n := range nodes {
			shown = append(shown, shownAddress{value: n})
		}
		return shown, nil
	}
	free := slices.Clone(nodes)
	slices.SortStableFunc(free, func(x, y string) int { return isIP(y) - isIP(x) }) // such as spec.addresses asks for
	for i := range g.addresses {
		a := &g.addresses[i]
		value := a.ip.String()
		switch {
		case a.fault != nil:
			missing = append(missing, a.fault.text())
			continue
		case a.everywhere() && len(free) == 0:
			missing = append(missing, g.requests[i].field+": the nodes have no other address")
			continue
		case a.everywhere():
			value, free = free[0], free[1:]
		}
		shown = append(shown, shownAddress{value, a.routability})
	}
	return shown, missing
}

// isIP is 1 for an IP address, and 0 for a hostname.
func isIP(address string) int {
	if _, err := netip.ParseAddr(address); err != nil {
		return 0
	}
	return 1
}

// addressStatus is what status says of the Gateway's addresses.
func (b *build) addressStatus(g *boundGateway, nodes []string) []gatewayv1.GatewayStatusAddress {
	var all []gatewayv1.GatewayStatusAddress
	shown, _ := g.shownAddresses(nodes)
	if g.tunnel != nil && g.refused == nil {
		shown = nil
		for _, name := range g.tunnel.hostnames(b.Observed) {
			shown = append(shown, shownAddress{value: name})
		}
	}
	for i := range shown {
		a := gatewayv1.GatewayStatusAddress{Type: addressType(shown[i].value), Value: shown[i].value}
		if b.reportsRoutability() {
			a.Routability = &shown[i].routability
		}
		all = append(all, a)
	}
	return all
}

// addressesAssigned is the condition that says whether the Gateway has all addresses that it
// asks for. There is none where status cannot say which they are.
func (b *build) addressesAssigned(g *boundGateway, nodes []string) (condition, bool) {
	const kind = gatewayv1.GatewayConditionAddressesAssigned
	if g.refused != nil || !b.reportsRoutability() {
		return condition{}, false
	}
	switch shown, missing := g.shownAddresses(nodes); {
	case len(missing) == 0:
		return truth(kind, gatewayv1.GatewayReasonAddressesAssigned, "every address is assigned"), true
	case len(shown) > 0:
		return falsity(kind, gatewayv1.GatewayReasonAddressesPartiallyAssigned, strings.Join(missing, "; ")), true
	default:
		return falsity(kind, gatewayv1.GatewayReasonAddressesNotAssigned, strings.Join(missing, "; ")), true
	}
}
