package main

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// heapInTest is a heap whose use the test says.
type heapInTest struct {
	mu  sync.Mutex
	use heapUse
}

func (h *heapInTest) look() heapUse {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.use
}

func (h *heapInTest) change(by func(*heapUse)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	by(&h.use)
}

func (h *heapInTest) allocate(n uint64) {
	h.change(func(u *heapUse) { u.garbage, u.allocated = u.garbage+n, u.allocated+n })
}

// runFootprint runs one for as long as do takes, in a bubble, and returns when it gave
// memory back.
func runFootprint(t *testing.T, heap *heapInTest, do func(f *footprint)) (given []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		start := time.Now()
		f := newFootprint()
		f.look, f.giveBack = heap.look, func() {
			given = append(given, time.Since(start))
			heap.change(func(u *heapUse) { u.garbage = 0 })
		}
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		do(f)
		synctest.Wait()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return given
}

// Memory is given back once building has stopped for a while, and not before.
func TestFootprintWaitsForQuiet(t *testing.T) {
	given := runFootprint(t, new(heapInTest), func(f *footprint) {
		for range 10 {
			f.built()
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
	})
	if want := []time.Duration{14 * time.Second, 74 * time.Second}; !slices.Equal(given, want) {
		t.Errorf("memory was given back after %v, want %v", given, want)
	}
}

// What a burst of connections left is given back after it, once; while there is always
// more, it is the collector's business.
func TestFootprintGivesBackAfterABurst(t *testing.T) {
	var heap heapInTest
	given := runFootprint(t, &heap, func(f *footprint) {
		f.built()
		time.Sleep(99*time.Second + time.Millisecond) // longer than a build needs
		for range 20 {
			heap.allocate(3 << 20)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		heap.allocate(worthGiving - 1)
		time.Sleep(time.Minute)
	})
	if want := []time.Duration{5 * time.Second, 65 * time.Second, 120 * time.Second}; !slices.Equal(given, want) {
		t.Errorf("memory was given back after %v, want %v", given, want)
	}
}

// Giving back may take its time, but no more than a small part of all.
func TestFootprintRestsAsLongAsItWorked(t *testing.T) {
	var b burst
	start := time.Now()
	if !b.over(heapUse{garbage: worthGiving}, start) {
		t.Fatal("a burst was not seen")
	}
	b.rest(start, start.Add(50*time.Millisecond))
	if b.over(heapUse{garbage: worthGiving}, start.Add(10*time.Second)) {
		t.Error("after 10 s for 50 ms it is done again")
	}
	if !b.over(heapUse{garbage: worthGiving}, start.Add(10*time.Second+50*time.Millisecond)) {
		t.Error("it is never done again")
	}
}

// The collector works often until something is built or much is in use, and as it was told
// to from then on.
func TestFootprintStartsThrifty(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	var seen []int
	var heap heapInTest
	runFootprint(t, &heap, func(f *footprint) {
		time.Sleep(time.Second)
		seen = append(seen, percent())
		heap.change(func(u *heapUse) { u.live = thriftyBelow })
		time.Sleep(time.Second)
		seen = append(seen, percent())
		f.built()
	})
	if want := []int{thriftyPercent, 100}; !slices.Equal(seen, want) {
		t.Errorf("GOGC was %d, want %d", seen, want)
	}
}

func TestHeapReaderSeesAllocations(t *testing.T) {
	read := newHeapReader()
	before := read()
	kept := make([][]byte, 64)
	for i := range kept {
		kept[i] = make([]byte, 64<<10)
	}
	after := read()
	if after.allocated-before.allocated < 4<<20 {
		t.Errorf("%d bytes allocated before, %d after 4 MiB more", before.allocated, after.allocated)
	}
	if before.live == 0 || len(kept) == 0 {
		t.Error("nothing is in use")
	}
}
