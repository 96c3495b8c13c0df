package responder

import (
	"net/netip"
	"strings"
)

// Host is a name and where it is on the local network.
type Host struct {
	Name string // "www.example.com", or "*.example.com" for one or more labels
	// Addresses of a name that is not ours, though a wildcard covers it, are none.
	Addresses []netip.Addr
}

// hosts are looked up by name, in lower case without a dot at the end. It is
// immutable.
type hosts map[string][]netip.Addr

func newHosts(list []Host) hosts {
	h := make(hosts, len(list))
	for _, host := range list {
		name := canonical(host.Name)
		addresses := h[name]
		for _, address := range host.Addresses {
			addresses = append(addresses, address.Unmap())
		}
		h[name] = addresses
	}
	return h
}

// find returns the addresses of a name, as the gateway would match it: the name itself,
// or the longest wildcard.
func (h hosts) find(name string) ([]netip.Addr, bool) {
	name = canonical(name)
	if addresses, found := h[name]; found {
		return addresses, len(addresses) > 0
	}
	for {
		_, parent, more := strings.Cut(name, ".")
		if !more {
			return nil, false
		}
		if addresses, found := h["*."+parent]; found {
			return addresses, len(addresses) > 0
		}
		name = parent
	}
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
