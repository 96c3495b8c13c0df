package main

import (
	"testing"
	"time"
)

// work is a build of so long, that begins so long after the rest after the one before.
type work struct{ wait, took, rest time.Duration }

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	repeated := func(n int, w work) []work {
		all := make([]work, n)
		for i := range all {
			all[i] = w
		}
		return all
	}
	for _, tc := range []struct {
		name  string
		works []work
	}{
		{"one change at a time is never held off", repeated(1000, work{wait: 40 * ms, took: 20 * ms})},
		{
			"a flood has its burst, then rests twice as long as it works",
			append(repeated(25, work{took: 20 * ms}), work{took: 20 * ms, rest: 40 * ms}, work{took: 20 * ms, rest: 40 * ms}),
		},
		{
			"rests are bounded, and what they do not cover is forgiven",
			append(repeated(1, work{took: 10 * time.Second, rest: 100 * ms}), repeated(3, work{took: time.Second, rest: 100 * ms})...),
		},
		{
			"after a flood idle time brings the burst back",
			append(repeated(1, work{took: time.Second, rest: 100 * ms}), work{wait: time.Second, took: 500 * ms}, work{took: ms, rest: 2 * ms}),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p pace
			now := time.Unix(0, 0)
			for i, w := range tc.works {
				start := now.Add(w.wait)
				end := start.Add(w.took)
				if got := p.rest(start, end); got != w.rest {
					t.Fatalf("work %d rests for %s, not %s", i, got, w.rest)
				}
				now = end.Add(w.rest)
			}
		})
	}
}
