package address

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// EtherTypes.
const (
	arpType  = 0x0806
	ipv6Type = 0x86DD
)

const (
	ethernetHead = 14
	arpLength    = 28 // of a packet for Ethernet and IPv4
	arpRequest   = 1
	arpReply     = 2
)

func broadcast() mac { return mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// sighting is that a host uses an address, or is about to.
type sighting struct {
	addr  netip.Addr
	host  mac
	probe bool // the host asks whether it may use the address
}

// ethernet returns a frame.
func ethernet(to, from mac, kind uint16, payload []byte) []byte {
	b := make([]byte, 0, ethernetHead+len(payload))
	b = append(append(b, to[:]...), from[:]...)
	return append(binary.BigEndian.AppendUint16(b, kind), payload...)
}

// arp returns a broadcast frame that speaks of addr alone.
func arp(op uint16, from mac, sender, addr netip.Addr, receiver mac) []byte {
	b := []byte{0, 1, 8, 0, 6, 4} // Ethernet, IPv4
	b = binary.BigEndian.AppendUint16(b, op)
	s, a := sender.As4(), addr.As4()
	b = append(append(b, from[:]...), s[:]...)
	b = append(append(b, receiver[:]...), a[:]...)
	return ethernet(broadcast(), from, arpType, b)
}

// arpProbe asks who uses addr, and teaches nobody (RFC 5227, 2.1.1).
func arpProbe(from mac, addr netip.Addr) []byte {
	return arp(arpRequest, from, netip.IPv4Unspecified(), addr, mac{})
}

// arpAnnouncements say that addr is ours (RFC 5227, 2.3), once more as a reply: there
// are hosts that learn from that alone.
func arpAnnouncements(from mac, addr netip.Addr) [][]byte {
	return [][]byte{arp(arpRequest, from, addr, addr, mac{}), arp(arpReply, from, addr, addr, broadcast())}
}

// sightARP reads a frame.
func sightARP(frame []byte) (sighting, bool) {
	if len(frame) < ethernetHead+arpLength {
		return sighting{}, false
	}
	p := frame[ethernetHead:]
	if !bytes.Equal(p[:6], []byte{0, 1, 8, 0, 6, 4}) {
		return sighting{}, false
	}
	s := sighting{host: mac(p[8:14]), addr: netip.AddrFrom4([4]byte(p[14:18]))}
	if s.addr.IsUnspecified() {
		s.addr, s.probe = netip.AddrFrom4([4]byte(p[24:28])), true
	}
	return s, true
}
