package exchange

import "sync/atomic"

// Pressure says that memory is short, so that new requests are refused. It is safe
// for concurrent use.
type Pressure struct{ atomic.Bool }

// high reports whether there is pressure; nil has none.
func (p *Pressure) high() bool { return p != nil && p.Load() }
