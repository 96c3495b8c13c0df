package oci

import "encoding/binary"

// Capabilities is a set of Linux capabilities, a bit for each (capabilities(7)).
type Capabilities uint64

// Capabilities that Lintel can use.
const (
	NetBindService Capabilities = 1 << 10 // ports below 1024
	NetAdmin       Capabilities = 1 << 12 // addresses of interfaces
	NetRaw         Capabilities = 1 << 13 // ARP and neighbour advertisements
	BPF            Capabilities = 1 << 39 // programs in the kernel
)

// CapabilityAttribute is the extended attribute that holds a file's capabilities.
const CapabilityAttribute = "security.capability"

// Attribute returns the value of CapabilityAttribute: struct vfs_cap_data of
// linux/capability.h, revision 2.
//
// The capabilities are permitted and not effective: the program has to raise those
// that it needs. An effective one that the container was not given would keep the
// program from starting at all.
func (c Capabilities) Attribute() []byte {
	const revision2 = 0x02000000
	b := binary.LittleEndian.AppendUint32(nil, revision2)
	b = binary.LittleEndian.AppendUint32(b, uint32(c)) // permitted, 0 to 31
	b = binary.LittleEndian.AppendUint32(b, 0)         // inheritable
	b = binary.LittleEndian.AppendUint32(b, uint32(c>>32))
	return binary.LittleEndian.AppendUint32(b, 0)
}
