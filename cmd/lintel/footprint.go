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
	// lookEvery is how often is looked at what is in use.
	lookEvery = time.Second
	// worthGiving is how much garbage is worth a collection, and how much of the program worth
	// letting it go, in bytes; stillBelow is how little is allocated from look to look when a
	// burst is over: where there is always more, the collector runs often enough by itself.
	// Requests of connections that are there need less, some tens of thousands a second.
	worthGiving = 1 << 20
	stillBelow  = worthGiving / 2
	// restAfter is how many times as long as giving back took it is not done again: of a
	// core it takes a percent at most, and less under load, when it waits for its turn.
	restAfter = 100
)

// footprint gives back what only starting and building needed, or a burst of connections:
// the garbage, and the pages of the program itself, most of which are never used again.
type footprint struct {
	builds  chan struct{} // one slot
	collect func()        // the garbage
	unmap   func()        // the program
	look    func() memoryUse
}

func newFootprint() *footprint {
	program := new(programFile)
	return &footprint{builds: make(chan struct{}, 1), collect: debug.FreeOSMemory, unmap: program.unmap, look: newMemoryReader(program)}
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
			after.given = true
			if waits = waits[1:]; len(waits) > 0 {
				settled.Reset(waits[0])
			}
		case now := <-looks.C:
			f.giveBackAfter(&after, now)
		}
	}
}

func (f *footprint) giveBack() {
	f.collect()
	f.unmap() // which collecting has used
}

// giveBackAfter gives back what a burst left.
func (f *footprint) giveBackAfter(b *burst, now time.Time) {
	left := b.look(f.look(), now)
	start := time.Now()
	switch left {
	case nothing:
		return
	case garbage:
		f.giveBack()
	case pagesAlone:
		f.unmap()
	}
	b.rest(start, time.Now())
}

// leftover is what a burst leaves that is worth giving back.
type leftover int

const (
	nothing    leftover = iota
	garbage             // and pages of the program
	pagesAlone          // of the program
)

// burst is one of work that needed memory.
type burst struct {
	allocated uint64    // as it was at the last look
	next      time.Time // when giving back may be due again
	given     bool      // since the last look
	// program is how much of it is always in use: what came back at once.
	program uint64
	free    uint64 // what the runtime kept of free memory when all was given back
}

// look returns what one left that is over.
func (b *burst) look(use memoryUse, now time.Time) leftover {
	still := use.allocated-b.allocated < stillBelow
	b.allocated = use.allocated
	if b.given {
		b.given, b.program, b.free = false, use.program, use.free
	}
	freed := max(use.free, b.free) - b.free // by the collector, since then
	switch {
	case !still || now.Before(b.next):
		return nothing
	case use.garbage+freed >= worthGiving:
		return garbage
	case use.program >= b.program+worthGiving:
		return pagesAlone
	default:
		return nothing
	}
}

func (b *burst) rest(start, end time.Time) {
	b.given, b.next = true, end.Add(restAfter*end.Sub(start))
}
