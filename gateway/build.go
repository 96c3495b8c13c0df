package gateway

// Memo carries what Build may keep from one call to the next. The zero Memo is
// cold. A Memo belongs to one goroutine.
type Memo struct{}

// Build translates a Snapshot into a Plan.
func Build(s *Snapshot, memo *Memo) *Plan { panic("to be written") }
