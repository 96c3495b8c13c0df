//go:build linux

package proxy

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/proxy/h2"
	"github.com/lintel-dev/lintel/router"
)

// TestLanesAgree compares the lanes on everything that FuzzLanes starts from, in one
// piece, and on what is too long for it. FuzzLanes itself, when it runs as a test, sends
// everything in pieces.
func TestLanesAgree(t *testing.T) {
	type comparison struct {
		laneSeed
		how byte
	}
	var all []comparison
	agree := func(seed laneSeed, ways ...byte) {
		for _, how := range ways {
			all = append(all, comparison{seed, how})
		}
	}
	for _, seed := range append(laneSeeds(), attackSeeds(t)...) {
		agree(seed, cutNot|lateEnd)
	}
	for _, seed := range seedsOfPrefaces() {
		if strings.HasPrefix(seed.input, h2.Preface) {
			agree(seed, cutNotSilent) // an end would cut off what is under way
			continue
		}
		agree(seed, cutNot, cutNotSilent, cutBytes)
	}
	for _, seed := range seedsOfSize() {
		agree(seed, cutNot, cutNot|lateEnd, mostlyLong|lateEnd, cutNot|strict)
	}
	for part := range lanesAtOnce {
		t.Run(fmt.Sprintf("part %d", part+1), func(t *testing.T) {
			t.Parallel()
			l := newBothLanes(t, router.HTTP1)
			for i := part; i < len(all); i += lanesAtOnce {
				if difference := l.compare(t, all[i].input, all[i].script, all[i].how); difference != "" {
					t.Error(difference)
				}
			}
		})
	}
}

// lanesAtOnce is how many inputs go through lanes of their own at the same time. Most of
// them wait for something to end.
const lanesAtOnce = 4

// severalLanes makes lanes for all seeds of a fuzz target that run at the same time: t.Parallel
// has no effect while fuzzing.
func severalLanes(f *testing.F, upstream router.Protocol) chan *bothLanes {
	n := 1
	if flag.Lookup("test.fuzz").Value.String() == "" {
		n = lanesAtOnce
	}
	free := make(chan *bothLanes, n)
	for range n {
		free <- newBothLanes(f, upstream)
	}
	return free
}

// mostlyLong cuts a long input into a few pieces.
const mostlyLong = 11

// sometimes returns another way to send an input for each of many seeds. All of them
// close the client's side.
func sometimes(i int) byte {
	way := byte(i*37) &^ cutMask
	return way | byte(i%cutNotSilent)
}

// FuzzLanes compares the lanes on an input, an upstream's script (see player), and a
// way to send the input (see pieces).
func FuzzLanes(f *testing.F) {
	fuzzLanes(f, router.HTTP1, slices.Concat(laneSeeds(), seedsOfPrefaces(), attackSeeds(f)))
}

// FuzzLanesToH2 is FuzzLanes with an upstream that speaks HTTP/2 in the clear (see h2Player).
func FuzzLanesToH2(f *testing.F) { fuzzLanes(f, router.H2C, seedsOfH2Responses()) }

func fuzzLanes(f *testing.F, upstream router.Protocol, seeds []laneSeed) {
	for i, seed := range seeds {
		if len(seed.input) < mostSeed {
			f.Add([]byte(seed.input), []byte(seed.script), sometimes(i))
		}
	}
	free := severalLanes(f, upstream)
	f.Fuzz(func(t *testing.T, input, script []byte, how byte) {
		if strings.HasPrefix(string(input), h2.Preface) {
			return // how far streams get before a connection ends is a matter of timing
		}
		t.Parallel()
		l := <-free
		defer func() { free <- l }()
		if difference := l.compare(t, string(input), string(script), how); difference != "" {
			t.Error(difference)
		}
	})
}

// mostSeed bounds an input that is changed at random: longer ones take their time and
// find no more.
const mostSeed = 4 << 10
