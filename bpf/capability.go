package bpf

// Capability is a number of capabilities(7).
type Capability int

// The capabilities that eBPF is parted into. CAP_SYS_ADMIN stands in for CAP_BPF and
// CAP_PERFMON, as the kernel has it.
const (
	CapNetAdmin Capability = 12
	CapSysAdmin Capability = 21
	CapPerfmon  Capability = 38
	CapBPF      Capability = 39
)

func (c Capability) String() string {
	switch c {
	case CapNetAdmin:
		return "CAP_NET_ADMIN"
	case CapSysAdmin:
		return "CAP_SYS_ADMIN"
	case CapPerfmon:
		return "CAP_PERFMON"
	case CapBPF:
		return "CAP_BPF"
	}
	return "CAP_?"
}

// in tells whether a set of effective capabilities has c, or what stands in for it.
func (c Capability) in(effective uint64) bool {
	if effective&(1<<c) != 0 {
		return true
	}
	return (c == CapBPF || c == CapPerfmon) && effective&(1<<CapSysAdmin) != 0
}

// haveCapabilities says which of them this process lacks.
func haveCapabilities(needed []Capability) error {
	effective, err := effectiveCapabilities()
	if err != nil {
		return Unavailable("our capabilities can't be read: %w", err)
	}
	for _, c := range needed {
		if !c.in(effective) {
			return Unavailable("this process does not have %s", c)
		}
	}
	return nil
}
