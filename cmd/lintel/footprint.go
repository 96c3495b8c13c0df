package main

import (
	"context"
	"runtime/debug"
	"time"
)

// settleTimes are how long after a build memory is given back: soon, and when the
// schemas that a folder of manifests was checked with have been dropped too. Building
// again starts them over.
func settleTimes() []time.Duration { return []time.Duration{5 * time.Second, time.Minute} }

const (
	// lookEvery is how often the heap is looked at.
	lookEvery = time.Second
	// worthGiving is the garbage that is worth a collection, in bytes, and stillBelow how
	// little is allocated from look to look when a burst is over: under load, where there
	// is always more, the collector runs often enough by itself.
	worthGiving = 1 << 20
	stillBelow  = worthGiving / 8
	// restAfter is how many times as long as giving back took it is not done again: of a
	// core it takes half a percent at most.
	restAfter = 200
)

// footprint gives back what only starting and building needed, or a burst of connections:
// the garbage, and the pages of the program itself, most of which are never used again.
type footprint struct {
	builds   chan struct{} // one slot
	giveBack func()
	look     func() heapUse
}

func newFootprint() *footprint {
	var program programFile
	return &footprint{builds: make(chan struct{}, 1), look: newHeapReader(), giveBack: func() {
		debug.FreeOSMemory()
		program.unmap()
	}}
}

// built says that a build is over. It does not block.
func (f *footprint) built() {
	select {
	case f.builds <- struct{}{}:
	default:
	}
}

// Run gives back until ctx ends.
func (f *footprint) Run(ctx context.Context) error {
	f.start(ctx)
	waits := settleTimes()
	settled := time.NewTimer(waits[0])
	defer settled.Stop()
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	var after burst
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.builds:
			waits = settleTimes()
			settled.Reset(waits[0])
		case <-settled.C:
			f.giveBack()
			if waits = waits[1:]; len(waits) > 0 {
				settled.Reset(waits[0])
			}
		case now := <-looks.C:
			if after.over(f.look(), now) {
				start := time.Now()
				f.giveBack()
				after.rest(start, time.Now())
			}
		}
	}
}

// burst is one of allocations.
type burst struct {
	allocated uint64    // as it was at the last look
	next      time.Time // not before then
}

// over reports whether there was one, and memory is worth giving back.
func (b *burst) over(now heapUse, at time.Time) bool {
	allocated := now.allocated - b.allocated
	b.allocated = now.allocated
	return now.garbage >= worthGiving && allocated < stillBelow && !at.Before(b.next)
}

func (b *burst) rest(start, end time.Time) { b.next = end.Add(restAfter * end.Sub(start)) }
