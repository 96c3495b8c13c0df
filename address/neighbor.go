package address

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
)

const (
	ipv6Head              = 40
	icmpv6                = 58
	neighborSolicitation  = 135
	neighborAdvertisement = 136
	neighborLength        = 24 // without options
	// overrideFlag makes others replace the hardware address that they know.
	overrideFlag = 0x20
	// localHops proves that a packet was not forwarded (RFC 4861, 7.1).
	localHops = 255
)

// neighborFilter lets solicitations and advertisements through: a packet socket
// would see every IPv6 packet of the host.
func neighborFilter() []bpf.RawInstruction {
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: ethernetHead + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: icmpv6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: ethernetHead + ipv6Head, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: neighborSolicitation, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: neighborAdvertisement, SkipTrue: 1},
		bpf.RetConstant{Val: 256},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err) // the program above is wrong
	}
	return program
}

// neighbor returns a multicast frame with a message about addr. flags is the first
// byte after the checksum; option is that of the hardware address, 0 for none.
func neighbor(kind, flags, option uint8, from mac, source, to, addr netip.Addr) []byte {
	a, s, d := addr.As16(), source.As16(), to.As16()
	m := append([]byte{kind, 0, 0, 0, flags, 0, 0, 0}, a[:]...)
	if option != 0 {
		m = append(append(m, option, 1), from[:]...)
	}
	binary.BigEndian.PutUint16(m[2:], icmpv6Checksum(s, d, m))
	head := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(m)))
	head = append(append(append(head, icmpv6, localHops), s[:]...), d[:]...)
	return ethernet(mac{0x33, 0x33, d[12], d[13], d[14], d[15]}, from, ipv6Type, append(head, m...))
}

// neighborProbe asks who uses addr, and teaches nobody (RFC 4862, 5.4.2).
func neighborProbe(from mac, addr netip.Addr) []byte {
	a := addr.As16()
	group := netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
	return neighbor(neighborSolicitation, 0, 0, from, netip.IPv6Unspecified(), group, addr)
}

// neighborAnnouncement says to all nodes that addr is ours (RFC 4861, 7.2.6).
func neighborAnnouncement(from mac, addr netip.Addr) []byte {
	const ourHardwareAddress = 2
	return neighbor(neighborAdvertisement, overrideFlag, ourHardwareAddress, from, addr, netip.IPv6LinkLocalAllNodes(), addr)
}

// sightNeighbor reads a frame that neighborFilter let through.
func sightNeighbor(frame []byte) (sighting, bool) {
	if len(frame) < ethernetHead+ipv6Head+neighborLength {
		return sighting{}, false
	}
	packet, message := frame[ethernetHead:], frame[ethernetHead+ipv6Head:]
	source := netip.AddrFrom16([16]byte(packet[8:24]))
	s := sighting{host: mac(frame[6:12]), addr: netip.AddrFrom16([16]byte(message[8:24]))}
	switch {
	case packet[7] != localHops:
		return sighting{}, false
	case message[0] == neighborAdvertisement:
		return s, true
	case source.IsUnspecified():
		s.probe = true
		return s, true
	default: // somebody asks for the address of another
		return sighting{host: s.host, addr: source}, true
	}
}

// icmpv6Checksum is that of RFC 4443, 2.3, over a message whose own is zero.
func icmpv6Checksum(source, destination [16]byte, message []byte) uint16 {
	b := append(append([]byte{}, source[:]...), destination[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(message)))
	b = append(append(b, 0, 0, 0, icmpv6), message...)
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
