package exchange

import (
	"net/netip"
	"slices"
	"strings"
)

// Trusts reports whether an address is one of the TrustedProxies.
func (s *Settings) Trusts(address netip.Addr) bool {
	return Within(address, s.TrustedProxies)
}

// Within reports whether an address is in one of the networks.
func Within(address netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(address) })
}

// clientAddress is the address of who sent the request: the peer's, or, going back
// along the X-Forwarded-For of trusted proxies, the first that is not one of them.
// An element that is no address ends the way.
func (x *Exchange) clientAddress() netip.Addr {
	client := x.Client.Addr
	if !x.Client.Trusted {
		return client
	}
	for _, field := range slices.Backward(x.Request.Fields) {
		if classify(field.Name) != isForwardedFor {
			continue
		}
		for rest, more := field.Value, true; more; {
			var hop string
			rest, hop, more = cutLast(rest)
			address, ok := parseHop(hop)
			if !ok {
				return client
			}
			if client = address; !x.Settings.Trusts(client) {
				return client
			}
		}
	}
	return client
}

// cutLast takes the last element off a list.
func cutLast(list string) (rest, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	return list[:max(i, 0)], strings.TrimSpace(list[i+1:]), i >= 0
}

// parseHop reads an address, with or without a port, as proxies write it.
func parseHop(hop string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(hop)
	if err != nil {
		withPort, err := netip.ParseAddrPort(hop)
		if err != nil {
			return netip.Addr{}, false
		}
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), true
}
