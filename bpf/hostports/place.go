package hostports

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
)

// place is what a socket listens to. An address that is not valid stands for all of IPv4
// and IPv6; the unspecified ones stand for their family.
type place struct {
	network string // "tcp" or "udp"
	at      netip.AddrPort
}

// placeOf reads an address as net.Listen takes it, which must be numeric.
func placeOf(network, address string) (place, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return place{}, fmt.Errorf("read address: %w", err)
	}
	if host == "" {
		at, err := netip.ParseAddrPort("[::]:" + port)
		if err != nil || at.Port() == 0 {
			return place{}, fmt.Errorf("read address %q: it needs a port from 1 to 65535", address)
		}
		return place{network, netip.AddrPortFrom(netip.Addr{}, at.Port())}, nil
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return place{}, fmt.Errorf("read address: %w", err)
	}
	if at.Port() == 0 {
		return place{}, fmt.Errorf("read address %q: it needs a port from 1 to 65535", address)
	}
	if at.Addr() == netip.IPv6Unspecified() { // as net.Listen has it
		return place{network, netip.AddrPortFrom(netip.Addr{}, at.Port())}, nil
	}
	return place{network, netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())}, nil
}

func (p place) String() string {
	address := fmt.Sprintf(":%d", p.at.Port())
	if p.at.Addr().IsValid() {
		address = p.at.String()
	}
	return address + "/" + p.network
}

// protocol is the number of the network's (IPPROTO_TCP, IPPROTO_UDP).
func (p place) protocol() uint32 {
	if p.network == "udp" {
		return 17
	}
	return 6
}

// keys are the place's in the map: one, or one for each family.
func (p place) keys() []programLtPlace {
	addresses := []netip.Addr{p.at.Addr()}
	if !p.at.Addr().IsValid() {
		addresses = []netip.Addr{netip.IPv6Unspecified(), netip.IPv4Unspecified()}
	}
	keys := make([]programLtPlace, len(addresses))
	for i, a := range addresses {
		bytes := a.As16()
		for word := range keys[i].Address {
			keys[i].Address[word] = binary.NativeEndian.Uint32(bytes[4*word:])
		}
		keys[i].Port, keys[i].Protocol = uint32(p.at.Port()), p.protocol()
	}
	return keys
}

// overlaps reports whether a client could mean either place.
func (p place) overlaps(o place) bool {
	a, b := p.at.Addr(), o.at.Addr()
	switch {
	case p.network != o.network || p.at.Port() != o.at.Port():
		return false
	case !a.IsValid() || !b.IsValid():
		return true
	case a.Is4() != b.Is4():
		return false
	}
	return a == b || a.IsUnspecified() || b.IsUnspecified()
}

// Inner addresses are of 240.0.0.0/4, which nobody has (RFC 1112 §4). Those of TCP tell
// the port, and with the socket's own a sum of the address; those of UDP have a longer sum,
// as their sockets have the place's port. The sum of every address is 0.
const (
	innerNet = 240
	// innerPorts are the 4096 from here on, above those that Linux gives out, and
	// Kubernetes to Services.
	innerPorts = 0xf000
	tcpSum     = 1<<24 - 1
	udpSum     = 1<<28 - 1
)

// sum tells addresses apart.
func (p place) sum() uint32 {
	if !p.at.Addr().IsValid() {
		return 0
	}
	sum := fnv.New32a()
	bytes := p.at.Addr().As16()
	_, _ = sum.Write(bytes[:]) // it has no error
	if p.network == "udp" {
		return max(sum.Sum32()&udpSum, 1)
	}
	return max(sum.Sum32()&tcpSum, 1)
}

// inner is what the place's socket is bound to.
func (p place) inner() netip.AddrPort {
	var bytes [4]byte
	sum, port := p.sum(), p.at.Port()
	if p.network == "udp" {
		binary.BigEndian.PutUint32(bytes[:], innerNet<<24|sum)
		return netip.AddrPortFrom(netip.AddrFrom4(bytes), port)
	}
	bytes[0] = innerNet | byte(sum>>20)
	binary.BigEndian.PutUint16(bytes[1:], port)
	bytes[3] = byte(sum >> 12)
	return netip.AddrPortFrom(netip.AddrFrom4(bytes), innerPorts|uint16(sum&0xfff))
}

// isInner reports whether a socket that is bound there is an inner one.
func isInner(at netip.AddrPort) bool {
	a := at.Addr().Unmap()
	return a.Is4() && a.As4()[0] >= innerNet
}

// innerOverlaps reports whether a client could mean the place of an inner socket too.
func (p place) innerOverlaps(inner netip.AddrPort) bool {
	bytes := inner.Addr().Unmap().As4()
	port, every := inner.Port(), inner.Addr().Unmap() == netip.AddrFrom4([4]byte{innerNet})
	if p.network == "tcp" {
		port = binary.BigEndian.Uint16(bytes[1:])
		every = bytes[0] == innerNet && bytes[3] == 0 && inner.Port() == innerPorts
	}
	if port != p.at.Port() {
		return false
	}
	own := p.inner()
	return every || !p.at.Addr().IsValid() || own.Addr() == inner.Addr().Unmap() && own.Port() == inner.Port()
}
