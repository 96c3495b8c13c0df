package exchange

import "sync/atomic"

// leastMemory is what an exchange takes at least, as it is counted, in bytes.
const leastMemory = 64 << 10

// Pressure says that memory is short, so that new requests are refused. The zero
// Pressure has room for everything. It is safe for concurrent use.
type Pressure struct {
	// Bool is what the owner has found out by looking at the memory in use.
	atomic.Bool

	room  int64        // bytes that there are for all that is counted; 0 means no limit
	taken atomic.Int64 // of them, while there is a limit
}

// Limit makes bytes what all exchanges and connections that are counted may take together;
// 0 means no limit. Looking at the memory in use alone would come too late: a flood of
// requests takes none before the first answers come, and who looks waits for a processor.
// It is called before there are any.
func (p *Pressure) Limit(bytes int64) { p.room = bytes }

// High reports whether there is pressure, found by looking or by counting: no exchange
// would fit in. Nil has none.
func (p *Pressure) High() bool {
	return p != nil && (p.Load() || p.room > 0 && p.taken.Load()+leastMemory > p.room)
}

// Hold counts bytes that are taken whether there is room or not, until Return.
func (p *Pressure) Hold(bytes int) {
	if p.room > 0 {
		p.taken.Add(int64(bytes))
	}
}

// Reserve takes bytes until Return gives as many back. It reports false when there are
// not as many.
func (p *Pressure) Reserve(bytes int) bool {
	if p == nil || p.room <= 0 {
		return true
	}
	if p.taken.Add(int64(bytes)) <= p.room {
		return true
	}
	p.taken.Add(-int64(bytes))
	return false
}

// Return gives bytes back that were reserved or held.
func (p *Pressure) Return(bytes int) {
	if p != nil && p.room > 0 {
		p.taken.Add(-int64(bytes))
	}
}
