// Package proxyprotocol reads and writes the PROXY protocol, versions 1 and 2:
// the header with which a load balancer begins a connection to tell whose
// connection it forwards (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt,
// "the specification" below). It is a pure codec: no I/O, no clock, no state.
//
// A header is believed without proof. Whoever calls [Parse] has to know that the
// peer is a trusted load balancer, and has to require a header from it: the
// specification forbids guessing whether one is there (section 2).
package proxyprotocol

import "net/netip"

const (
	// maxV1 is the longest line of version 1, CR LF included (section 2.1).
	maxV1 = 107
	// MaxSize is the longest header that Parse accepts, in bytes. Version 2 allows
	// 16 + 65,535; addresses, a server name, a unique id and what senders tell of a
	// client certificate are below 1 KiB together.
	MaxSize = 4096
)

// Header is what a PROXY protocol header says.
type Header struct {
	// Source is the client's address, Destination the one that it connected to.
	// IPv4-mapped addresses are unmapped; there are no zones. Both are valid, or
	// both are zero: then the addresses of the connection itself hold, since the
	// sender speaks for itself (LOCAL), or doesn't know (UNKNOWN, UNSPEC), or
	// forwards something other than TCP.
	Source, Destination netip.AddrPort
}

// Error is why bytes are not a PROXY protocol header. The connection must be
// closed without an answer (section 2.1).
type Error string

func (e Error) Error() string { return "proxy protocol: " + string(e) }

// What Parse returns.
const (
	ErrSignature Error = "header is missing"
	ErrLineEnd   Error = "line does not end in CR LF"
	ErrLong      Error = "header is too long"
	ErrProtocol  Error = "protocol is not TCP4, TCP6 or UNKNOWN"
	ErrAddress   Error = "address is malformed"
	ErrPort      Error = "port is malformed"
	ErrFields    Error = "line has not six fields"
	ErrVersion   Error = "version is not 2"
	ErrCommand   Error = "command is neither LOCAL nor PROXY"
	ErrFamily    Error = "address family or transport is unknown"
	ErrShort     Error = "header is shorter than its addresses"
	ErrTLV       Error = "type-length-value vector is malformed"
	ErrChecksum  Error = "checksum is wrong"
)

// Parse reads the header of either version that p begins with, and returns its
// length in bytes. Zero without an error means that p is only the beginning of a
// header. An error is one of the constants of type [Error], and comes with the
// first byte that is wrong where that can be told. Parse keeps nothing of p.
func Parse(p []byte) (int, Header, error) {
	switch {
	case hasPrefix(p, prefixV1):
		return parseV1(p)
	case hasPrefix(p, signatureV2):
		return parseV2(p)
	default:
		return 0, Header{}, ErrSignature
	}
}

// hasPrefix tells whether p begins with want, as far as it goes.
func hasPrefix(p []byte, want string) bool {
	n := min(len(p), len(want))
	return string(p[:n]) == want[:n]
}

// known tells whether h has addresses.
func (h Header) known() bool { return h.Source.IsValid() && h.Destination.IsValid() }

// isIPv4 tells whether both addresses fit the IPv4 form: those of different
// families are written as IPv6.
func (h Header) isIPv4() bool { return is4(h.Source) && is4(h.Destination) }

func is4(a netip.AddrPort) bool { return a.Addr().Unmap().Is4() }

// plain removes from an address what the protocol can't carry, or what would let
// one client have two spellings.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
