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

// memoryInTest is memory whose use the test says.
type memoryInTest struct {
	mu  sync.Mutex
	use memoryUse
}

func (m *memoryInTest) look() memoryUse {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.use
}

func (m *memoryInTest) change(by func(*memoryUse)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	by(&m.use)
}

func (m *memoryInTest) allocate(n uint64) {
	m.change(func(u *memoryUse) { u.garbage, u.allocated = u.garbage+n, u.allocated+n })
}

// alwaysUsed is how much of the program comes back when it was let go, in a test.
const alwaysUsed = 5 << 20

// runFootprint runs one for as long as do takes, in a bubble, and returns when it gave
// memory back.
func runFootprint(t *testing.T, memory *memoryInTest, do func(f *footprint)) (given []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		start := time.Now()
		f := newFootprint()
		f.look = memory.look
		f.collect = func() { memory.change(func(u *memoryUse) { u.garbage = 0 }) }
		f.unmap = func() {
			given = append(given, time.Since(start))
			memory.change(func(u *memoryUse) { u.program = alwaysUsed })
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
	given := runFootprint(t, new(memoryInTest), func(f *footprint) {
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
	var memory memoryInTest
	given := runFootprint(t, &memory, func(f *footprint) {
		f.built()
		time.Sleep(99*time.Second + time.Millisecond) // longer than a build needs
		for range 20 {
			memory.allocate(3 << 20)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		memory.allocate(worthGiving - 1)
		time.Sleep(time.Minute)
	})
	if want := []time.Duration{5 * time.Second, 65 * time.Second, 120 * time.Second}; !slices.Equal(given, want) {
		t.Errorf("memory was given back after %v, want %v", given, want)
	}
}

// So is what it needed of the program. What is always in use comes back, and stays.
func TestFootprintLetsPagesGoAfterABurst(t *testing.T) {
	var memory memoryInTest
	given := runFootprint(t, &memory, func(f *footprint) {
		use := func(n uint64) { memory.change(func(u *memoryUse) { u.program = n }) }
		f.built()
		time.Sleep(100*time.Second + time.Millisecond)
		use(alwaysUsed + worthGiving - 1)
		time.Sleep(20 * time.Second)
		use(alwaysUsed + worthGiving)
		time.Sleep(time.Minute)
	})
	if want := []time.Duration{5 * time.Second, 65 * time.Second, 121 * time.Second}; !slices.Equal(given, want) {
		t.Errorf("memory was given back after %v, want %v", given, want)
	}
}

// Giving back may take its time, but no more than a small part of all.
func TestFootprintRestsAsLongAsItWorked(t *testing.T) {
	var b burst
	start := time.Now()
	left := memoryUse{garbage: worthGiving}
	if b.look(left, start) != garbage {
		t.Fatal("a burst was not seen")
	}
	b.rest(start, start.Add(50*time.Millisecond))
	if b.look(left, start.Add(5*time.Second)) != nothing {
		t.Error("after 5 s for 50 ms it is done again")
	}
	if b.look(left, start.Add(5*time.Second+50*time.Millisecond)) != garbage {
		t.Error("it is never done again")
	}
}

// What the collector has freed is given back too, but for what the runtime always keeps.
func TestFootprintGivesBackFreeMemory(t *testing.T) {
	var b burst
	start := time.Now()
	free := memoryUse{free: 3 * worthGiving}
	if b.look(free, start) != garbage {
		t.Fatal("free memory was not seen")
	}
	b.rest(start, start)
	for i := range 3 {
		if b.look(free, start.Add(time.Duration(i)*time.Second)) != nothing {
			t.Fatal("it is given back again, and stays")
		}
	}
	free.free += worthGiving
	if b.look(free, start.Add(time.Minute)) != garbage {
		t.Error("more was not seen")
	}
}

// The collector works often until something is built, much is in use or nothing comes for long,
// and as it was told to from then on.
func TestFootprintStartsThrifty(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	var memory memoryInTest
	for name, end := range map[string]func(*footprint){
		"built":       (*footprint).built,
		"much in use": func(*footprint) { memory.change(func(u *memoryUse) { u.live = thriftyBelow }) },
		"nothing":     func(*footprint) { time.Sleep(thriftyFor) },
	} {
		var seen []int
		memory.change(func(u *memoryUse) { u.live = 0 })
		runFootprint(t, &memory, func(f *footprint) {
			time.Sleep(time.Second)
			seen = append(seen, percent())
			end(f)
			time.Sleep(time.Second)
			seen = append(seen, percent())
		})
		if want := []int{thriftyPercent, 100}; !slices.Equal(seen, want) {
			t.Errorf("%s: GOGC was %d, want %d", name, seen, want)
		}
	}
}

func TestMemoryReaderSeesAllocations(t *testing.T) {
	read := newMemoryReader(new(programFile))
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
