package exchange

import "sync/atomic"

// exchangeMemory is what an exchange takes at worst, while its client or its backend is
// slow: buffers for both directions.
const exchangeMemory = 64 << 10

// Pressure says that memory is short, so that new requests are refused. The zero
// Pressure has room for everything. It is safe for concurrent use.
type Pressure struct {
	// Bool is what the owner has found out by looking at the memory in use.
	atomic.Bool

	room      int64        // exchanges that there is memory for; 0 means no limit
	exchanges atomic.Int64 // under way, while there is a limit
}

// Limit makes bytes what all exchanges together may take; 0 means no limit. Looking at
// the memory in use alone would come too late: a flood of requests takes none before
// the first answers come. It is called before there are exchanges.
func (p *Pressure) Limit(bytes int64) { p.room = bytes / exchangeMemory }

// high reports whether there is pressure; nil has none.
func (p *Pressure) high() bool { return p != nil && p.Load() }

// enter counts an exchange, and reports whether there is memory for it.
func (p *Pressure) enter() bool {
	if p == nil || p.room <= 0 {
		return true
	}
	if p.exchanges.Add(1) <= p.room {
		return true
	}
	p.exchanges.Add(-1)
	return false
}

// leave takes an exchange that entered off the count.
func (p *Pressure) leave() {
	if p != nil && p.room > 0 {
		p.exchanges.Add(-1)
	}
}
