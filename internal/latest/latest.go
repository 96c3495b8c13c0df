// Package latest holds what is newest: a mailbox of one slot in which the newest value
// wins, and answers that are read when they changed.
package latest

import "sync"

// Box hands the newest value from any number of senders to one receiver.
// The zero Box is empty and not usable: call [New].
type Box[T any] struct {
	mu    sync.Mutex // guards value
	value T
	full  chan struct{} // holds one token while value is unread
}

// New returns an empty Box.
func New[T any]() *Box[T] { return &Box[T]{full: make(chan struct{}, 1)} }

// Put stores v in place of a value that was not taken yet. It never blocks.
func (b *Box[T]) Put(v T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.value = v
	select {
	case b.full <- struct{}{}:
	default:
	}
}

// Full is readable when there is a value; whoever received from it calls Take.
func (b *Box[T]) Full() <-chan struct{} { return b.full }

// Take returns the newest value and forgets it, so that the Box does not keep it alive. The
// Box is empty then.
func (b *Box[T]) Take() T {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.full: // of a value that was put after the receiver heard of one
	default:
	}
	var zero T
	v := b.value
	b.value = zero
	return v
}

// Return gives back what was taken by a receiver that ends, for the next one, unless there is
// something newer. It never blocks.
func (b *Box[T]) Return(v T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.full <- struct{}{}:
		b.value = v
	default:
	}
}
