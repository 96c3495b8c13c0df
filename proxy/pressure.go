package proxy

import (
	"context"
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// What is counted in bytes, as it comes: looking at the memory in use comes late where
// other programs have the processors.
const (
	// connectionMemory is that of a connection with a goroutine: its stack, the buffer for
	// heads, and what package net has of it.
	connectionMemory = headSize + stackMemory + 4<<10
	// exchangeMemory is that of an exchange on one: what comes from its upstream, and what
	// goes to one of both sides and is not taken.
	exchangeMemory = bodySize + outputSize
	// uploadMemory is what a request's body needs beside it: a goroutine, and what comes
	// from the client.
	uploadMemory = bodySize + 2*stackMemory
	// stackMemory is what most goroutines have.
	stackMemory = 8 << 10
)

const (
	// pressureInterval is how often the memory in use is looked at, for what is not
	// counted.
	pressureInterval = 50 * time.Millisecond
	// From pressureOn percent of the limit on new requests are refused, and below
	// pressureOff they are served again. What is counted is in use for sure, without
	// garbage; closer to the limit the collector would take the processor for itself.
	// The distance keeps it from flapping.
	pressureOn  = 75
	pressureOff = 65
	// pressureFull percent with the garbage are too much too: what is in use is known
	// after a collection alone, and a flood does not wait for one.
	pressureFull = 90
	// pressureStale is after how many looks without a collection one is made while there is
	// pressure: what is refused leaves too little garbage for another one to come soon, so the
	// pressure would outlast its cause by minutes.
	pressureStale = 10
)

// watchMemory keeps pressure up to date until ctx ends.
func watchMemory(ctx context.Context, limit int64, pressure *exchange.Pressure) {
	ticker := time.NewTicker(pressureInterval)
	defer ticker.Stop()
	sample := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, // live or garbage
		{Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	collections, looks := uint64(0), 0 // so many since the last collection
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(sample)
		if now := sample[3].Value.Uint64(); now != collections {
			collections, looks = now, 0
		}
		if looks++; looks > pressureStale && pressure.Load() {
			runtime.GC()
		}
		stacks := int64(sample[2].Value.Uint64())
		used, held := int64(sample[0].Value.Uint64())+stacks, int64(sample[1].Value.Uint64())+stacks
		switch {
		case used >= limit/100*pressureOn, held >= limit/100*pressureFull:
			pressure.Store(true)
		case used < limit/100*pressureOff:
			pressure.Store(false)
		}
	}
}
