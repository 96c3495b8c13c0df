//go:build linux

package loop

import (
	"math"
	"math/bits"
	"time"
)

// A wheel keeps the deadlines of a loop in a ring of slots, one a tick. Nearly every
// deadline is moved before it passes, so moving is what has to be cheap: a later
// deadline is stored and nothing else, and when the slot of the old one comes round
// the timer goes to the slot of the new one. A deadline beyond the last slot waits
// in that. So a timer is looked at once in a round at least, and setting any
// deadline that is more than a round away costs one comparison.

const (
	// tick is how late a deadline may be noticed.
	tick = 8 * time.Millisecond
	// slots make a round of four seconds: less than the usual timeouts of an
	// exchange, and long enough that idle connections are looked at seldom.
	slots = 512
)

// never is the deadline of a timer that is not set.
const never = math.MaxInt64

// timer is one deadline. The zero timer has to be given its fire before use.
type timer struct {
	fire       func() // called by the loop once at has passed
	at         int64  // in nanoseconds of the loop's clock; never when unset
	slot       int    // where it waits, if prev is set
	next, prev *timer // in its slot
}

// wheel belongs to a loop. Its times are nanoseconds of the loop's clock, which
// does not go back.
type wheel struct {
	slots [slots]timer // heads of rings
	some  [slots / 64]uint64
	done  int64 // the last tick that was looked at
}

func newWheel() *wheel {
	w := &wheel{}
	for i := range w.slots {
		head := &w.slots[i]
		head.next, head.prev = head, head
	}
	return w
}

// set makes t fire once at has passed; never takes the deadline away.
func (w *wheel) set(t *timer, at int64) {
	t.at = at
	if t.prev != nil {
		if at >= w.waits(t) {
			return // its slot comes first, and then it moves
		}
		w.unlink(t)
	} else if at == never {
		return
	}
	w.link(t)
}

// waits returns when the slot of t comes round.
func (w *wheel) waits(t *timer) int64 {
	ahead := (int64(t.slot) - w.done) & (slots - 1)
	if ahead == 0 {
		ahead = slots
	}
	return (w.done + ahead) * int64(tick)
}

func (w *wheel) link(t *timer) {
	due := w.done + slots - 1
	if t.at < due*int64(tick) {
		// Rounded up: a timer never fires early.
		due = max(w.done+1, (t.at+int64(tick)-1)/int64(tick))
	}
	t.slot = int(due & (slots - 1))
	head := &w.slots[t.slot]
	t.prev, t.next = head.prev, head
	head.prev.next = t
	head.prev = t
	w.some[t.slot/64] |= 1 << (t.slot % 64)
}

// unlink takes t out of its slot.
func (w *wheel) unlink(t *timer) {
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
	if head := &w.slots[t.slot]; head.next == head {
		w.some[t.slot/64] &^= 1 << (t.slot % 64)
	}
}

// stop forgets t.
func (w *wheel) stop(t *timer) {
	t.at = never
	if t.prev != nil {
		w.unlink(t)
	}
}

// advance fires the timers whose deadlines have passed by now.
func (w *wheel) advance(now int64) {
	last := now / int64(tick)
	if last-w.done > slots {
		w.done = last - slots // every slot once is enough
	}
	for w.done < last {
		w.done++
		slot := int(w.done & (slots - 1))
		if w.some[slot/64]&(1<<(slot%64)) == 0 {
			continue
		}
		for head := &w.slots[slot]; head.next != head; {
			t := head.next
			w.unlink(t)
			switch {
			case t.at == never:
			case t.at <= now:
				t.at = never
				t.fire()
			default:
				w.link(t) // into another slot
			}
		}
	}
}

// wait returns how many milliseconds after now the next slot comes round in which a
// timer waits; -1 when there is none.
func (w *wheel) wait(now int64) int {
	first := int((w.done + 1) & (slots - 1))
	for i := range slots/64 + 1 {
		word := (first/64 + i) % (slots / 64)
		set := w.some[word]
		switch i {
		case 0:
			set &= ^uint64(0) << (first % 64)
		case slots / 64:
			set &= 1<<(first%64) - 1
		}
		if set == 0 {
			continue
		}
		slot := word*64 + bits.TrailingZeros64(set)
		ahead := int64(slot-first) & (slots - 1)
		due := (w.done + 1 + ahead) * int64(tick)
		return int(max(0, due-now+int64(time.Millisecond)-1) / int64(time.Millisecond))
	}
	return -1
}
