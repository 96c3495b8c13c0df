package socketlb

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// The types of programs' maps are generated from socketlb.c. Addresses in them are 16
// bytes, and ports 2, in network byte order, on machines that are little-endian.

func endpointOf(a netip.AddrPort) lbEndpoint {
	return lbEndpoint{Ip: words(a.Addr()), Port: bits.ReverseBytes16(a.Port())}
}

func (e *lbEndpoint) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(addr(e.Ip), bits.ReverseBytes16(e.Port))
}

func keyOf(a address) lbServiceKey {
	return lbServiceKey{Ip: words(a.at.Addr()), Port: bits.ReverseBytes16(a.at.Port()), Protocol: uint8(a.protocol)}
}

func (k *lbServiceKey) address() address {
	return address{netip.AddrPortFrom(addr(k.Ip), bits.ReverseBytes16(k.Port)), Protocol(k.Protocol)}
}

func words(a netip.Addr) (w [4]uint32) {
	bytes := a.As16()
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(bytes[4*i:])
	}
	return w
}

func addr(w [4]uint32) netip.Addr {
	var bytes [16]byte
	for i := range w {
		binary.LittleEndian.PutUint32(bytes[4*i:], w[i])
	}
	return netip.AddrFrom16(bytes).Unmap()
}
