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

// footprint gives back what only starting and building needed: the garbage, and the
// pages of the program itself, most of which are never used again.
type footprint struct {
	builds   chan struct{} // one slot
	giveBack func()
}

func newFootprint() *footprint {
	var program programFile
	return &footprint{builds: make(chan struct{}, 1), giveBack: func() {
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
	var waits []time.Duration
	for {
		var settled <-chan time.Time
		if len(waits) > 0 {
			settled = time.After(waits[0])
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.builds:
			waits = settleTimes()
		case <-settled:
			waits = waits[1:]
			f.giveBack()
		}
	}
}
