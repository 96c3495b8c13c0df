//go:build linux

package loop

import (
	"slices"
	"testing"
)

// What is added while others are at work is for the next turn, and nothing taken is held on to.
func TestQueue(t *testing.T) {
	var q queue[*int]
	var values [10]int
	add := func(from, to int) {
		for i := from; i < to; i++ {
			q.add(&values[i])
		}
	}
	wants := func(from, to int) {
		t.Helper()
		var want []*int
		for i := from; i < to; i++ {
			want = append(want, &values[i])
		}
		if q.len() != to-from || q.empty() != (to == from) {
			t.Errorf("%d wait, not %d", q.len(), to-from)
		}
		if got := q.take(); !slices.Equal(got, want) {
			t.Errorf("took %v, not %v", got, want)
		}
	}
	wants(0, 0)
	q.done()
	add(0, 4)
	wants(0, 4)
	add(4, 10)
	all := q.taken
	q.done()
	if slices.ContainsFunc(all, func(p *int) bool { return p != nil }) {
		t.Error("what was taken is still there")
	}
	wants(4, 10)
	q.done()
	wants(0, 0)
}

func TestWarmQueueAllocatesNothing(t *testing.T) {
	var q queue[task]
	turn := func() {
		for range 100 {
			q.add(task{})
		}
		q.take()
		q.add(task{})
		q.done()
	}
	turn()
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}
