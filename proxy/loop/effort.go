//go:build linux

package loop

import "time"

// A loop that spends more than one part in effortShare of its time on handshakes rests for
// restTime before it waits for an event; the kernel adds 50 µs. The clients do their part of the
// handshakes meanwhile, which takes as long as ours, and their events come together: to be woken
// for each of them costs a tenth of a handshake. Others wait no longer for the rest than they do
// for a step of a handshake. effortHeavy is what it takes beyond the share until there are rests,
// which a few handshakes do not, and effortMost is the most that is remembered.
const (
	effortShare = 4
	effortHeavy = int64(500 * time.Microsecond)
	effortMost  = int64(2 * time.Millisecond)
	restTime    = 100 * time.Microsecond
)

// effort is how much time of a loop went into handshakes of late, beyond their share, in
// nanoseconds. It is a bucket that leaks.
type effort struct {
	spent int64 // as it was
	at    int64 // then, in the loop's time
}

// left is what it has come to by now.
func (e *effort) left(now int64) int64 {
	return max(e.spent-(now-e.at)/effortShare, 0)
}

// add notes a time that handshakes took.
func (e *effort) add(begin, end int64) {
	e.spent, e.at = min(e.left(begin)+end-begin, effortMost), end
}

// heavy reports whether handshakes take more than their share.
func (e *effort) heavy(now int64) bool { return e.left(now) > effortHeavy }
