package address

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
)

// heartbeatType is IEEE's EtherType for local experiments: no other protocol that is
// routed or filtered has it.
const heartbeatType = 0x88B5

const (
	heartbeatMagic   = "LINTEL"
	heartbeatVersion = 1
	// maxEntries of IPv6 addresses, and the longest name, fit into 1,500 bytes.
	maxEntries = 48
	maxName    = 128
)

// mac is a hardware address; the zero mac is none.
type mac [6]byte

// claim is what a replica says of one address.
type claim struct {
	addr  netip.Addr
	state state
	rival mac // who else uses it, in state conflicting
}

// heartbeat is one frame of a replica. What it says may take several frames.
type heartbeat struct {
	group       uint64 // replicas of other groups are strangers
	name        string
	part, parts uint8
	claims      []claim
}

// heartbeats returns the frames that say all claims: one at least.
func heartbeats(group uint64, name string, claims []claim) []heartbeat {
	parts := max(1, (len(claims)+maxEntries-1)/maxEntries)
	frames := make([]heartbeat, 0, parts)
	for i := range min(parts, 255) {
		frames = append(frames, heartbeat{
			group: group, name: name[:min(len(name), maxName)], part: uint8(i), parts: uint8(parts),
			claims: claims[min(len(claims), i*maxEntries):min(len(claims), (i+1)*maxEntries)],
		})
	}
	return frames
}

// encode returns the payload of the frame: magic, version, part, parts, group, name
// with its length, number of claims; then state, length of the address, address and
// rival of each.
func (h *heartbeat) encode() []byte {
	b := append([]byte(heartbeatMagic), heartbeatVersion, h.part, h.parts)
	b = binary.BigEndian.AppendUint64(b, h.group)
	b = append(b, uint8(len(h.name)))
	b = append(b, h.name...)
	b = append(b, uint8(len(h.claims)))
	for _, c := range h.claims {
		a := c.addr.AsSlice()
		b = append(b, uint8(c.state), uint8(len(a)))
		b = append(b, a...)
		b = append(b, c.rival[:]...)
	}
	return b
}

var errHeartbeat = errors.New("not a heartbeat of this version")

// decodeHeartbeat reads a payload, which may have padding behind it.
func decodeHeartbeat(b []byte) (heartbeat, error) {
	r := bytes.NewBuffer(b)
	head := r.Next(len(heartbeatMagic) + 1)
	if string(head) != heartbeatMagic+string(rune(heartbeatVersion)) || r.Len() < 11 {
		return heartbeat{}, errHeartbeat
	}
	var h heartbeat
	h.part, h.parts = r.Next(1)[0], r.Next(1)[0]
	h.group = binary.BigEndian.Uint64(r.Next(8))
	name := int(r.Next(1)[0])
	if name == 0 || name > maxName || r.Len() < name+1 || h.part >= h.parts {
		return heartbeat{}, errHeartbeat
	}
	h.name = string(r.Next(name))
	for range r.Next(1)[0] {
		if r.Len() < 2 {
			return heartbeat{}, errHeartbeat
		}
		c := claim{state: state(r.Next(1)[0])}
		addr, ok := netip.AddrFromSlice(r.Next(int(r.Next(1)[0])))
		rival := r.Next(len(c.rival))
		if !ok || len(rival) < len(c.rival) {
			return heartbeat{}, errHeartbeat
		}
		c.addr, c.rival = addr, mac(rival)
		h.claims = append(h.claims, c)
	}
	return h, nil
}

// String returns the mac in the usual form.
func (m mac) String() string { return net.HardwareAddr(m[:]).String() }
