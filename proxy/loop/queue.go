//go:build linux

package loop

// queue is what waits for a turn. It is taken as a whole, and what is added meanwhile waits for
// the next take. Two arrays change places, so that it allocates only to grow. The zero queue is
// empty.
type queue[T any] struct {
	waiting []T
	taken   []T // at the last take; empty after done, but for its array
}

func (q *queue[T]) add(v T)     { q.waiting = append(q.waiting, v) }
func (q *queue[T]) len() int    { return len(q.waiting) }
func (q *queue[T]) empty() bool { return len(q.waiting) == 0 }

// take returns what was added, first come first. The slice is good until done, which comes before
// the next take.
func (q *queue[T]) take() []T {
	q.waiting, q.taken = q.taken[:0], q.waiting
	return q.taken
}

// done lets go of what was taken.
func (q *queue[T]) done() {
	clear(q.taken)
	q.taken = q.taken[:0]
}
