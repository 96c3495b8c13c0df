// Package clienthello reads the message with which a TLS client begins, without
// answering it: enough to find out which server it wants.
package clienthello

import (
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"
)

// MaxSize bounds, in bytes, the records that hold a ClientHello, their headers included.
// Hellos of browsers have up to 2 KiB since key exchanges are post-quantum; tickets and
// encrypted hellos can double that.
const MaxSize = 16 << 10

// Error says why what was read is not a ClientHello that can be served. Its value is the
// description of the alert that tells the client (RFC 8446 §6.2).
type Error byte

// The errors.
const (
	// ErrUnexpected is for what is not TLS, or something else than a ClientHello.
	ErrUnexpected Error = 10
	// ErrVersion is for SSL 2.0 and 3.0.
	ErrVersion Error = 70
	// ErrMalformed is for a ClientHello that breaks its own format.
	ErrMalformed Error = 50
	// ErrLong is for one that is longer than MaxSize.
	ErrLong Error = 47
)

func (e Error) Error() string {
	switch e {
	case ErrVersion:
		return "the client speaks SSL, not TLS"
	case ErrMalformed:
		return "the ClientHello is malformed"
	case ErrLong:
		return "the ClientHello is too long"
	default:
		return "the client does not begin with a ClientHello"
	}
}

// Hello is what a ClientHello says.
type Hello struct {
	// ServerName is what the client wants, as it was sent, or "" if it names none
	// (RFC 6066 §3). Of an encrypted hello it is the outer one's (RFC 9849).
	ServerName string
	// ALPN are the protocols that the client offers, the first preferred (RFC 7301).
	ALPN []string
}

const (
	headerSize     = 5 // of a record
	recordMax      = 1 << 14
	versionMax     = 0x10 // no version of TLS comes near; plain text may
	typeHandshake  = 22
	messageHeader  = 4
	typeHello      = 1
	randomSize     = 32
	extServerName  = 0
	extALPN        = 16
	serverNameHost = 0
)

// Parse reads a ClientHello from the beginning of p, what a client has sent so far. It
// reports false when p is not all of it yet. What follows the ClientHello is ignored. The
// message may be split over several records (RFC 8446 §5.1).
//
// It takes everything that crypto/tls takes: who goes on with the handshake is to refuse
// what is wrong with the rest of the message.
func Parse(p []byte) (Hello, bool, error) {
	message, ok, err := message(p)
	if err != nil || !ok {
		if err == nil && len(p) >= MaxSize {
			err = ErrLong
		}
		return Hello{}, false, err
	}
	h, ok := parse(message)
	if !ok {
		return Hello{}, false, ErrMalformed
	}
	return h, true, nil
}

// message returns the body of the handshake message in the records of p.
func message(p []byte) (body []byte, ok bool, err error) {
	var joined []byte // of several records
	for {
		if len(p) > 0 && p[0] != typeHandshake {
			if joined == nil && len(p) > 2 && p[0]&0x80 != 0 && p[2] == typeHello {
				return nil, false, ErrVersion
			}
			return nil, false, ErrUnexpected
		}
		if len(p) > 1 && p[1] >= versionMax {
			return nil, false, ErrUnexpected
		}
		if len(p) < headerSize {
			return nil, false, nil
		}
		size := int(binary.BigEndian.Uint16(p[3:]))
		if size == 0 || size > recordMax {
			return nil, false, ErrUnexpected
		}
		fragment := p[headerSize:min(headerSize+size, len(p))]
		body, ok, err := whole(joined, fragment)
		if err != nil || ok {
			return body, ok, err
		}
		if len(fragment) < size {
			return nil, false, nil
		}
		joined = append(joined, fragment...)
		p = p[headerSize+size:]
	}
}

// whole returns the body of the message that begins in joined and goes on in fragment, if
// it is all there.
func whole(joined, fragment []byte) (body []byte, ok bool, err error) {
	all := fragment
	if len(joined) > 0 {
		all = append(joined[:len(joined):len(joined)], fragment...)
	}
	if len(all) > 0 && all[0] != typeHello {
		return nil, false, ErrUnexpected
	}
	if len(all) < messageHeader {
		return nil, false, nil
	}
	size := int(binary.BigEndian.Uint32(all) & 0xffffff)
	switch {
	case size > MaxSize-messageHeader-headerSize:
		return nil, false, ErrLong
	case len(all) < messageHeader+size:
		return nil, false, nil
	default:
		return all[messageHeader : messageHeader+size], true, nil
	}
}

// parse reads the body of a ClientHello (RFC 8446 §4.1.2).
func parse(body []byte) (h Hello, ok bool) {
	s := cryptobyte.String(body)
	var session, suites, methods cryptobyte.String
	if !s.Skip(2+randomSize) || !s.ReadUint8LengthPrefixed(&session) ||
		!s.ReadUint16LengthPrefixed(&suites) || !s.ReadUint8LengthPrefixed(&methods) {
		return h, false
	}
	if s.Empty() { // no extensions, as TLS 1.2 allows
		return h, true
	}
	var extensions cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&extensions) || !s.Empty() {
		return h, false
	}
	var named, offered bool
	for !extensions.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&data) {
			return h, false
		}
		switch kind {
		case extServerName:
			if named || !h.readServerName(data) {
				return h, false
			}
			named = true
		case extALPN:
			if offered || !h.readALPN(data) {
				return h, false
			}
			offered = true
		}
	}
	return h, true
}

// readServerName takes the one name of a host that there may be.
func (h *Hello) readServerName(s cryptobyte.String) bool {
	var names cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&names) || !s.Empty() || names.Empty() {
		return false
	}
	for !names.Empty() {
		var kind uint8
		var name cryptobyte.String
		if !names.ReadUint8(&kind) || !names.ReadUint16LengthPrefixed(&name) || name.Empty() {
			return false
		}
		if kind != serverNameHost {
			continue
		}
		if h.ServerName != "" {
			return false
		}
		h.ServerName = string(name)
	}
	return true
}

func (h *Hello) readALPN(s cryptobyte.String) bool {
	var protocols cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&protocols) || !s.Empty() || protocols.Empty() {
		return false
	}
	for !protocols.Empty() {
		var protocol cryptobyte.String
		if !protocols.ReadUint8LengthPrefixed(&protocol) || protocol.Empty() {
			return false
		}
		h.ALPN = append(h.ALPN, string(protocol))
	}
	return true
}
