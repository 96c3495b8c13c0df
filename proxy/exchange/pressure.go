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

	room  int64        // bytes that there are for all exchanges; 0 means no limit
	taken atomic.Int64 // of them, while there is a limit
}

// Limit makes bytes what all exchanges together may take; 0 means no limit. Looking at
// the memory in use alone would come too late: a flood of requests takes none before
// the first answers come. It is called before there are exchanges.
func (p *Pressure) Limit(bytes int64) { p.room = bytes }

// high reports whether there is pressure; nil has none.
func (p *Pressure) high() bool { return p != nil && p.Load() }

// Reserve takes bytes beside those that every exchange has, until Return gives as many
// back. It reports false when there are not as many.
func (p *Pressure) Reserve(bytes int) bool { return p.take(int64(bytes)) }

// Return gives bytes back that were reserved.
func (p *Pressure) Return(bytes int) { p.give(int64(bytes)) }

// enter counts an exchange, and reports whether there is memory for it.
func (p *Pressure) enter() bool { return p.take(exchangeMemory) }

// leave takes an exchange that entered off the count.
func (p *Pressure) leave() { p.give(exchangeMemory) }

func (p *Pressure) take(bytes int64) bool {
	if p == nil || p.room <= 0 {
		return true
	}
	if p.taken.Add(bytes) <= p.room {
		return true
	}
	p.taken.Add(-bytes)
	return false
}

func (p *Pressure) give(bytes int64) {
	if p != nil && p.room > 0 {
		p.taken.Add(-bytes)
	}
}
