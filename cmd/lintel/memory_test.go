package main

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestLimitMemoryTellsTheCollector(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })

	t.Setenv("GOMEMLIMIT", "")
	if got := limitMemory(1000 << 20); got != 1000<<20/100*90 {
		t.Errorf("the data plane gets %d bytes", got)
	}
	if got := debug.SetMemoryLimit(-1); got != 1000<<20/100*90 {
		t.Errorf("the collector keeps to %d bytes", got)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	t.Setenv("GOMEMLIMIT", "1GiB") // the runtime has read it
	limitMemory(1 << 30)
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("GOMEMLIMIT was overridden: %d", got)
	}
	if got := limitMemory(0); got != 0 {
		t.Errorf("no limit became %d", got)
	}
}
