package flows

import (
	"net/netip"
	"time"
	"unsafe"
)

// Verdict is how a connection ended, as far as this end of it can tell.
type Verdict uint8

// The verdicts.
const (
	Closed  Verdict = iota // by both ends, in order
	Reset                  // by either end; and by keepalive probes that were not answered
	Timeout                // what was sent was never confirmed
	Refused                // there never was one: the other end said no
	Aborted                // there never was one: this end did not wait for an answer
)

// Flow is one end of one TCP connection that has ended, or an attempt to connect.
type Flow struct {
	Local, Remote netip.AddrPort
	Verdict       Verdict
	// Outgoing says that this end connected; it is false where Before is true.
	Outgoing bool
	// Before says that the connection was established before the Recorder was there.
	Before bool
	// Received and Sent are bytes of what programs exchanged; of what was sent, what the
	// other end confirmed. In two cases one may be counted too many: Sent of an outgoing
	// connection with Before, and Received when this end had ended its sending, got more,
	// and went away before the other end had ended its own.
	Received, Sent uint64
	// RTT is smoothed, MinRTT the least; 0 for none.
	RTT, MinRTT time.Duration
	Retransmits uint32 // segments
	// Duration is 0 for attempts to connect, and where Before is true.
	Duration time.Duration
	Ended    time.Time
}

// recordSize is that of struct lt_flow.
const recordSize = int(unsafe.Sizeof(programLtFlow{}))

// States of the kernel (BPF_TCP_ESTABLISHED and so on in linux/bpf.h).
const (
	stateSynSent   = 2
	stateFinWait2  = 5
	stateCloseWait = 8
	stateLastAck   = 9
	stateClosing   = 11
)

// clock turns times of the kernel's monotonic clock into dates.
type clock struct {
	now       time.Time
	monotonic int64 // nanoseconds, at now
}

// flow reads what the kernel wrote.
func (r *programLtFlow) flow(c clock) Flow {
	f := Flow{
		Local: netip.AddrPortFrom(address(r.Local), r.LocalPort), Remote: netip.AddrPortFrom(address(r.Remote), r.RemotePort),
		Verdict: r.verdict(), Outgoing: r.Outgoing != 0, Before: r.before(), Received: r.received(), Sent: r.sent(),
		RTT: time.Duration(r.Rtt/8) * time.Microsecond, Retransmits: r.Retransmits,
		Ended: c.now.Add(time.Duration(int64(r.Ended) - c.monotonic)), //nolint:gosec // 292 years.
	}
	if r.MinRtt != ^uint32(0) {
		f.MinRTT = time.Duration(r.MinRtt) * time.Microsecond
	}
	if r.Established != 0 {
		f.Duration = time.Duration(r.Ended - r.Established) //nolint:gosec // likewise
	}
	return f
}

func address(words [4]uint32) netip.Addr {
	return netip.AddrFrom16(*(*[16]byte)(unsafe.Pointer(&words))).Unmap() //nolint:gosec // In network byte order.
}

// before reports whether nobody saw how it began.
func (r *programLtFlow) before() bool { return r.Established == 0 && r.State != stateSynSent }

func (r *programLtFlow) verdict() Verdict {
	switch {
	case r.TimedOut != 0:
		return Timeout
	case r.State == stateSynSent && r.SegmentsIn > 0:
		return Refused
	case r.State == stateSynSent:
		return Aborted
	case r.State == stateFinWait2, r.State == stateClosing, r.State == stateLastAck && r.AllConfirmed != 0:
		return Closed
	default:
		return Reset
	}
}

// received is without the FIN, which takes a sequence number.
func (r *programLtFlow) received() uint64 {
	switch {
	case r.Received == 0:
		return 0
	case r.State == stateCloseWait, r.State == stateLastAck, r.State == stateClosing,
		// The other side's end, if it came; what came before it is rarely all.
		r.State == stateFinWait2 && r.Received > r.ReceivedBefore:
		return r.Received - 1
	}
	return r.Received
}

// sent is without SYN and FIN, if they were confirmed. The SYN of an end that accepted is
// not counted by the kernel.
func (r *programLtFlow) sent() uint64 {
	sent := r.Confirmed
	if r.Outgoing != 0 && sent > 0 {
		sent--
	}
	finished := r.State == stateFinWait2 || r.AllConfirmed != 0 && (r.State == stateLastAck || r.State == stateClosing)
	if finished && sent > 0 {
		sent--
	}
	return sent
}
