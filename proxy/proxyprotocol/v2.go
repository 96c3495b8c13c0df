package proxyprotocol

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// The fixed part of version 2 (section 2.2): the signature, version and command,
// family and transport, and the length of what follows.
const (
	signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"

	atCommand = 12
	atFamily  = 13
	atLength  = 14
	fixedSize = 16
)

const (
	version2     = 0x20
	commandLocal = 0
	commandProxy = 1

	familyUnspecified = 0
	familyIPv4        = 1
	familyIPv6        = 2
	familyUnix        = 3

	transportStream   = 1
	transportDatagram = 2

	typeCRC32C = 0x03
)

// The sizes of two addresses with their ports.
const (
	ipv4Size = 2*4 + 2*2
	ipv6Size = 2*16 + 2*2
	unixSize = 2 * 108
)

func parseV2(p []byte) (int, Header, error) {
	local, err := checkFixed(p)
	if err != nil || len(p) < fixedSize {
		return 0, Header{}, err
	}
	size := fixedSize + int(binary.BigEndian.Uint16(p[atLength:]))
	if len(p) < size {
		return 0, Header{}, nil
	}
	p = p[:size]
	family := p[atFamily] >> 4
	if local || family == familyUnspecified {
		return size, Header{}, nil // what follows is to be ignored
	}
	if err := checkVectors(p, fixedSize+addressSize(family)); err != nil {
		return 0, Header{}, err
	}
	if p[atFamily]&0xf != transportStream {
		return size, Header{}, nil
	}
	return size, parseAddresses(p[fixedSize:], family), nil
}

// checkFixed checks as much of the fixed part as p has.
func checkFixed(p []byte) (local bool, err error) {
	if len(p) <= atCommand {
		return false, nil
	}
	command := p[atCommand] & 0xf
	switch {
	case p[atCommand]&0xf0 != version2:
		return false, ErrVersion
	case command > commandProxy:
		return false, ErrCommand
	}
	local = command == commandLocal // then the family is to be ignored
	if len(p) <= atFamily {
		return local, nil
	}
	family, transport := p[atFamily]>>4, p[atFamily]&0xf
	if !local && (family > familyUnix || transport > transportDatagram) {
		return local, ErrFamily
	}
	if len(p) < fixedSize {
		return local, nil
	}
	following := int(binary.BigEndian.Uint16(p[atLength:]))
	switch {
	case fixedSize+following > MaxSize:
		return local, ErrLong
	case !local && following < addressSize(family):
		return local, ErrShort
	}
	return local, nil
}

// addressSize is the number of bytes before the type-length-value vectors.
func addressSize(family byte) int {
	switch family {
	case familyIPv4:
		return ipv4Size
	case familyIPv6:
		return ipv6Size
	case familyUnix:
		return unixSize
	default:
		return 0
	}
}

// checkVectors checks the form of the type-length-value vectors that begin at i of
// the header p, and the checksum if it is among them (section 2.2.3). All other
// types are for those who want them.
func checkVectors(p []byte, i int) error {
	const head = 3 // type and length
	checksummed := false
	for i < len(p) {
		if len(p)-i < head {
			return ErrTLV
		}
		kind, value := p[i], i+head
		i = value + int(binary.BigEndian.Uint16(p[i+1:]))
		if i > len(p) {
			return ErrTLV
		}
		if kind != typeCRC32C {
			continue
		}
		if checksummed || i-value != crc32.Size {
			return ErrTLV
		}
		checksummed = true
		if checksum(p, value) != binary.BigEndian.Uint32(p[value:]) {
			return ErrChecksum
		}
	}
	return nil
}

// checksum is the CRC32c of p with zeros in place of the checksum at i.
func checksum(p []byte, i int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once by the library
	sum := crc32.Update(0, table, p[:i])
	sum = crc32.Update(sum, table, make([]byte, crc32.Size))
	return crc32.Update(sum, table, p[i+crc32.Size:])
}

// parseAddresses reads the addresses of p, which is long enough; those of sockets
// of the file system are nobody's address here.
func parseAddresses(p []byte, family byte) Header {
	var size int
	switch family {
	case familyIPv4:
		size = 4
	case familyIPv6:
		size = 16
	default:
		return Header{}
	}
	end := func(i int) netip.AddrPort {
		address, _ := netip.AddrFromSlice(p[i*size : (i+1)*size])
		return netip.AddrPortFrom(plain(address), binary.BigEndian.Uint16(p[2*size+2*i:]))
	}
	return Header{Source: end(0), Destination: end(1)}
}

// AppendV2 appends h as version 2 to dst: LOCAL when an address is missing, TCP
// over IPv6 when only one of them is IPv4. There are no type-length-value vectors.
// At most 52 bytes.
func AppendV2(dst []byte, h Header) []byte {
	dst = append(dst, signatureV2...)
	if !h.known() {
		return append(dst, version2|commandLocal, familyUnspecified, 0, 0)
	}
	source, destination := plain(h.Source.Addr()), plain(h.Destination.Addr())
	if h.isIPv4() {
		from, to := source.As4(), destination.As4()
		dst = append(dst, version2|commandProxy, familyIPv4<<4|transportStream, 0, ipv4Size)
		dst = append(append(dst, from[:]...), to[:]...)
	} else {
		from, to := source.As16(), destination.As16()
		dst = append(dst, version2|commandProxy, familyIPv6<<4|transportStream, 0, ipv6Size)
		dst = append(append(dst, from[:]...), to[:]...)
	}
	dst = binary.BigEndian.AppendUint16(dst, h.Source.Port())
	return binary.BigEndian.AppendUint16(dst, h.Destination.Port())
}
