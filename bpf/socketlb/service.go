package socketlb

import (
	"net/netip"
	"slices"
	"time"
)

// Protocol is that of a port: a number of IP.
type Protocol uint8

// The protocols that Services are served for.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// Services are the ports of all Services by the name of the Service, "namespace/name".
// From the call that it is given to on, it and its slices are read-only. A slice that is
// the very one of the time before is taken to hold the same.
type Services map[string][]Port

// Port is a port of a Service, at some of its addresses, and who answers there.
type Port struct {
	Protocol Protocol
	// Addresses are those of the Service; one at port 0 is left out. Where two Services
	// have one, it is the one's whose name sorts first.
	Addresses []netip.AddrPort
	// Endpoints get connections at addresses of their own family, any as often as the
	// others; without one a connection is refused.
	Endpoints []netip.AddrPort
	// Affinity is how long a client that connected last stays with its endpoint, in whole
	// seconds; 0 lets it go. A client is a network namespace: a Pod, or the node.
	Affinity time.Duration
}

// address is one address of a Service, as programs look for it.
type address struct {
	at       netip.AddrPort // IPv4 is never in IPv6
	protocol Protocol
}

// backing is what is behind an address.
type backing struct {
	endpoints []netip.AddrPort // sorted, each once, of the address's family
	affinity  uint32           // seconds
}

func (b backing) equal(other backing) bool {
	return b.affinity == other.affinity && slices.Equal(b.endpoints, other.endpoints)
}

// flatten returns what is behind each address of a Service's ports.
func flatten(ports []Port) map[address]backing {
	all := make(map[address]backing)
	for _, p := range ports {
		var v4, v6 []netip.AddrPort
		for _, e := range p.Endpoints {
			if e = unmapped(e); e.Addr().Is4() {
				v4 = append(v4, e)
			} else {
				v6 = append(v6, e)
			}
		}
		v4, v6 = sorted(v4), sorted(v6)
		for _, a := range p.Addresses {
			a = unmapped(a)
			if !a.IsValid() || a.Port() == 0 {
				continue
			}
			b := backing{endpoints: v6, affinity: uint32(min(p.Affinity/time.Second, 1<<31))}
			if a.Addr().Is4() {
				b.endpoints = v4
			}
			all[address{a, p.Protocol}] = b
		}
	}
	return all
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

func sorted(endpoints []netip.AddrPort) []netip.AddrPort {
	slices.SortFunc(endpoints, netip.AddrPort.Compare)
	return slices.Compact(endpoints)
}
