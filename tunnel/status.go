package tunnel

import (
	"net/netip"
	"slices"
	"time"
)

// Protocol is how a tunnel reaches the edge.
type Protocol string

const (
	// HTTP2 is over TCP; the default.
	HTTP2 Protocol = "http2"
	// QUIC is over UDP.
	QUIC Protocol = "quic"
	// Auto is QUIC, or HTTP2 when QUIC does not get through.
	Auto Protocol = "auto"
)

// Status is what became of a tunnel. It is a copy.
type Status struct {
	// Connections are those that are registered, in order of their Index.
	Connections []Connection
	// Failure is why there are not more of them, nil when nothing is wrong. Of several
	// it is a permanent one, or else the last.
	Failure *Failure
	// Totals since the tunnel was first wanted.
	Totals
}

// Connection is a registered connection to the edge.
type Connection struct {
	Index    int // 0 to 3
	ID       string
	Location string // the edge's, such as "fra08"
	Address  netip.AddrPort
	Protocol Protocol // HTTP2 or QUIC
	Since    time.Time
	// RoundTrip is how long the edge took to answer when it was dialled.
	RoundTrip time.Duration
}

// Failure is why a connection could not be made, or was lost.
type Failure struct {
	Reason string
	// Permanent says that the edge has refused the credentials, and that waiting will
	// not help, unless the tunnel is seconds old. It is tried again all the same.
	Permanent bool
	At        time.Time
}

// Totals count what happened to connections.
type Totals struct {
	Registered uint64 // registrations that the edge has accepted
	Refused    uint64 // and refused
	Failed     uint64 // connections that could not be made
	Lost       uint64 // registered connections that broke
}

// Healthy reports whether requests get through the tunnel.
func (s *Status) Healthy() bool { return len(s.Connections) > 0 }

// slotState is what a session knows of one of its connections.
type slotState struct {
	connection *Connection // nil while there is none
	failure    *Failure
}

// add merges what the slots of a session know into s.
func (s *Status) add(slots []slotState) {
	for i := range slots {
		if c := slots[i].connection; c != nil {
			s.Connections = append(s.Connections, *c)
		}
		f := slots[i].failure
		if f == nil {
			continue
		}
		if s.Failure == nil || f.Permanent && !s.Failure.Permanent || f.Permanent == s.Failure.Permanent && f.At.After(s.Failure.At) {
			kept := *f
			s.Failure = &kept
		}
	}
	slices.SortStableFunc(s.Connections, func(a, b Connection) int { return a.Index - b.Index })
}
