package acme

import (
	"context"
	"sync"
)

// turns are taken by those who need names for themselves. The zero value is free.
type turns struct {
	mu    sync.Mutex               // guards taken
	taken map[string]chan struct{} // by name; closed when it is free again
}

// take waits until all names are free, and takes them at once, so that nobody waits for a
// name while others wait for his. leave is to be called once.
func (t *turns) take(ctx context.Context, names []string) (leave func(), err error) {
	for {
		busy := t.tryTake(names)
		if busy == nil {
			return func() { t.leave(names) }, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryTake takes all names and returns nil, or returns what is closed when one is free that
// was not.
func (t *turns) tryTake(names []string) (busy chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		if busy := t.taken[name]; busy != nil {
			return busy
		}
	}
	if t.taken == nil {
		t.taken = make(map[string]chan struct{})
	}
	left := make(chan struct{})
	for _, name := range names {
		t.taken[name] = left
	}
	return nil
}

func (t *turns) leave(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.taken[names[0]])
	for _, name := range names {
		delete(t.taken, name)
	}
}
