package latest

import (
	"sync"
	"testing"
)

func TestBox(t *testing.T) {
	b := New[int]()
	full := func() bool {
		select {
		case <-b.Full():
			return true
		default:
			return false
		}
	}
	if full() {
		t.Error("a new Box is full")
	}
	b.Put(1)
	b.Put(2)
	if !full() {
		t.Error("nothing to take after Put")
	}
	b.Put(3) // before the receiver takes what it heard of
	if got := b.Take(); got != 3 {
		t.Errorf("took %d, want the newest", got)
	}
	if full() {
		t.Errorf("the Box is full after its value was taken: %d", b.Take())
	}
}

// Who receives after one that ended gets what that one went by, or what is newer.
func TestBoxTakesBack(t *testing.T) {
	b := New[int]()
	b.Put(1)
	b.Return(b.Take())
	<-b.Full()
	taken := b.Take()
	if taken != 1 {
		t.Errorf("took %d, which was given back as 1", taken)
	}
	b.Put(2)
	b.Return(taken)
	<-b.Full()
	if got := b.Take(); got != 2 {
		t.Errorf("took %d, want the newest", got)
	}
}

// A receiver never gets a value that nobody put, and gets the last one.
func TestBoxIsNeverReadEmpty(t *testing.T) {
	const last = 100_000
	b := New[int]()
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range last {
			b.Put(i + 1)
		}
	})
	for got := 0; got < last; {
		<-b.Full()
		next := b.Take()
		if next <= got {
			t.Fatalf("took %d after %d", next, got)
		}
		got = next
	}
	sending.Wait()
}
