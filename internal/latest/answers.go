package latest

import (
	"maps"
	"sync"
)

// Answers are what became of each thing that is wanted, in words. Its methods are safe for
// concurrent use. The zero Answers is not usable: call [NewAnswers].
type Answers[K comparable] struct {
	mu      sync.Mutex // guards now
	now     map[K]string
	changed chan struct{} // holds one token while now is unread
}

// NewAnswers returns Answers without any.
func NewAnswers[K comparable]() *Answers[K] { return &Answers[K]{changed: make(chan struct{}, 1)} }

// Set replaces all answers; from then on the map is read-only. It never blocks.
func (a *Answers[K]) Set(now map[K]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if maps.Equal(a.now, now) {
		return
	}
	a.now = now
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Changed is readable when the answers changed since it was last read.
func (a *Answers[K]) Changed() <-chan struct{} { return a.changed }

// All returns the newest answers. The map is the caller's.
func (a *Answers[K]) All() map[K]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.now)
}
