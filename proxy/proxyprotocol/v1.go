package proxyprotocol

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

// prefixV1 begins a header of version 1 (section 2.1).
const prefixV1 = "PROXY "

func parseV1(p []byte) (int, Header, error) {
	window := p[:min(len(p), maxV1)]
	end := bytes.IndexAny(window, "\r\n")
	switch {
	case end < 0 || end == len(window)-1 && window[end] == '\r':
		if len(window) == maxV1 {
			return 0, Header{}, ErrLong
		}
		return 0, Header{}, nil
	case window[end] == '\n' || window[end+1] != '\n':
		// Where UNKNOWN lets the rest of the line be ignored, too: an end that only
		// some receivers see would hide bytes from the others.
		return 0, Header{}, ErrLineEnd
	}
	h, err := parseLine(string(window[len(prefixV1):end]))
	if err != nil {
		return 0, Header{}, err
	}
	return end + len("\r\n"), h, nil
}

// parseLine reads a line without "PROXY " and CR LF.
func parseLine(line string) (Header, error) {
	protocol, rest, _ := strings.Cut(line, " ")
	switch protocol {
	case "UNKNOWN":
		return Header{}, nil // what follows must be ignored
	case "TCP4", "TCP6":
	default:
		return Header{}, ErrProtocol
	}
	var fields [4]string
	for i := range fields {
		last := i == len(fields)-1
		field, after, found := strings.Cut(rest, " ")
		if found == last {
			return Header{}, ErrFields
		}
		fields[i], rest = field, after
	}
	source, err := parseEnd(protocol, fields[0], fields[2])
	if err != nil {
		return Header{}, err
	}
	destination, err := parseEnd(protocol, fields[1], fields[3])
	if err != nil {
		return Header{}, err
	}
	return Header{Source: source, Destination: destination}, nil
}

// parseEnd reads an address of the protocol's family, and a port.
func parseEnd(protocol, address, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(address) // refuses leading zeros in IPv4
	if err != nil || a.Is4() != (protocol == "TCP4") || a.Zone() != "" {
		return netip.AddrPort{}, ErrAddress
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port[0] == '0' && len(port) > 1 {
		return netip.AddrPort{}, ErrPort
	}
	return netip.AddrPortFrom(plain(a), uint16(n)), nil
}

// AppendV1 appends h as version 1 to dst: UNKNOWN when an address is missing, TCP6
// when only one of them is IPv4. At most 107 bytes.
func AppendV1(dst []byte, h Header) []byte {
	if !h.known() {
		return append(dst, "PROXY UNKNOWN\r\n"...)
	}
	source, destination, protocol := plain(h.Source.Addr()), plain(h.Destination.Addr()), "TCP4 "
	if !h.isIPv4() {
		source, destination = netip.AddrFrom16(source.As16()), netip.AddrFrom16(destination.As16())
		protocol = "TCP6 "
	}
	dst = append(dst, prefixV1...)
	dst = append(dst, protocol...)
	dst = append(source.AppendTo(dst), ' ')
	dst = append(destination.AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(h.Source.Port()), 10), ' ')
	dst = strconv.AppendUint(dst, uint64(h.Destination.Port()), 10)
	return append(dst, "\r\n"...)
}
