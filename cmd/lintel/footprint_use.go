package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// memoryUse is what memory is used for, in bytes.
type memoryUse struct {
	live      uint64 // of the heap, as the last collection found
	garbage   uint64 // allocated since then; part of it is in use
	free      uint64 // not used for anything, and not given back
	allocated uint64 // since the start
	program   uint64 // of its file; 0 where that is not known
}

// newMemoryReader returns a function that reads the use, in microseconds. It is for one
// goroutine.
func newMemoryReader(program *programFile) func() memoryUse {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	return func() memoryUse {
		metrics.Read(samples)
		live, objects := samples[0].Value.Uint64(), samples[1].Value.Uint64()
		return memoryUse{
			live: live, garbage: max(objects, live) - live, allocated: samples[2].Value.Uint64(), free: samples[3].Value.Uint64(),
			program: program.resident(),
		}
	}
}

const (
	// thriftyPercent is GOGC while Lintel starts. What stays is allocated among garbage
	// then, and where that was there are holes for good. The less of it there is at a time,
	// the fewer.
	thriftyPercent = 25
	// thriftyBelow is the live heap in bytes up to which this is cheap: some tens of
	// milliseconds in all.
	thriftyBelow = 8 << 20
	thriftyLook  = 20 * time.Millisecond
	// thriftyFor is how long at most: who waits for an API server neither builds nor grows.
	thriftyFor = time.Minute
)

// start has the collector run often until something was built, so much is in use that
// it would take long, or nothing has come for long. GOGC less than that, or off, stays as it is.
func (f *footprint) start(ctx context.Context) {
	usual := debug.SetGCPercent(thriftyPercent)
	defer debug.SetGCPercent(usual)
	if usual <= thriftyPercent {
		return
	}
	looks := time.NewTicker(thriftyLook)
	defer looks.Stop()
	enough := time.NewTimer(thriftyFor)
	defer enough.Stop()
	for f.look().live < thriftyBelow {
		select {
		case <-ctx.Done():
			return
		case <-enough.C:
			return
		case <-f.builds:
			f.built() // for Run
			return
		case <-looks.C:
		}
	}
}
