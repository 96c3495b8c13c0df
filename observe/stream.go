package observe

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxFollowers bounds what followers cost: each is a goroutine, and a wake-up when there is
// something new.
const maxFollowers = 32

// ErrTooManyFollowers says that a Stream has as many as it may have.
var ErrTooManyFollowers = errors.New("too many follow the stream already: 32")

// Stream keeps the newest entries, of exchanges and of flows in one order, and lets others
// follow. An entry costs whoever tells of it a copy into memory that is there already: no
// allocation, and no wait for a follower, which loses entries when it is too slow. The
// methods are safe for concurrent use.
type Stream struct {
	slots     []slot // a ring; the entry n is in slot n modulo their number
	last      atomic.Uint64
	followers atomic.Pointer[[]*Follower]
	mu        sync.Mutex // guards changes of followers
}

// slot is the place of one entry. Its lock is contended only by a follower that is a whole
// ring behind.
type slot struct {
	mu     sync.Mutex
	number uint64 // of the entry, from 1; 0 for none yet
	entry  entry
}

// entry is one of these, by its kind. Its memory is used again.
type entry struct {
	kind  Kind
	ended time.Time
	facts facts // of an exchange
	flow  *Flow // nil until there was one here
	lost  uint64
}

// NewStream returns a Stream that keeps at least so many entries, 1 or more.
func NewStream(entries int) *Stream {
	s := &Stream{slots: make([]slot, 1<<bits.Len(uint(max(entries, 1)-1)))}
	s.followers.Store(&[]*Follower{})
	return s
}

// ObserveExchange tells of an exchange that has ended. A nil Stream takes nothing.
func (s *Stream) ObserveExchange(e *Exchange) {
	if s == nil {
		return
	}
	slot, number := s.next()
	if slot.number < number {
		slot.number = number
		slot.entry.setExchange(e)
	}
	slot.mu.Unlock()
	s.wake()
}

// ObserveFlow tells of a connection that has ended.
func (s *Stream) ObserveFlow(f *Flow) {
	slot, number := s.next()
	if slot.number < number {
		slot.number = number
		slot.entry.setFlow(f)
	}
	slot.mu.Unlock()
	s.wake()
}

// ObserveLoss tells of so many flows that nothing else will be told of.
func (s *Stream) ObserveLoss(flows uint64, now time.Time) {
	slot, number := s.next()
	if slot.number < number {
		slot.number = number
		slot.entry.kind, slot.entry.ended, slot.entry.lost = KindLost, now, flows
	}
	slot.mu.Unlock()
	s.wake()
}

// next returns the place of a new entry, locked. One that finds a newer entry in its place,
// since the whole ring went by meanwhile, is lost as an old one is.
func (s *Stream) next() (*slot, uint64) {
	number := s.last.Add(1)
	slot := s.slot(number)
	slot.mu.Lock()
	return slot, number
}

func (s *Stream) slot(number uint64) *slot { return &s.slots[number&uint64(len(s.slots)-1)] }

// wake tells followers that there may be something new. It never blocks.
func (s *Stream) wake() {
	for _, f := range *s.followers.Load() {
		select {
		case f.woken <- struct{}{}:
		default:
		}
	}
}

// Follower reads a Stream from its oldest entry on. It belongs to one goroutine, which
// closes it.
type Follower struct {
	stream *Stream
	read   uint64 // number of the last entry that was read
	lost   uint64 // that were overwritten before they were read
	past   int    // entries that were there when it came
	woken  chan struct{}
	entry  entry // a copy
}

// Follow returns a Follower. The error is ErrTooManyFollowers.
func (s *Stream) Follow() (*Follower, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := *s.followers.Load()
	if len(all) == maxFollowers {
		return nil, ErrTooManyFollowers
	}
	f := &Follower{stream: s, woken: make(chan struct{}, 1)}
	last := s.last.Load()
	if kept := uint64(len(s.slots)); last > kept {
		f.read = last - kept // what went by before it came is no loss
	}
	f.past = int(last - f.read) //nolint:gosec // At most the slots.
	all = append(slices.Clone(all), f)
	s.followers.Store(&all)
	return f, nil
}

// Close ends what the Follower costs.
func (f *Follower) Close() {
	s := f.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(*s.followers.Load())
	all = slices.DeleteFunc(all, func(other *Follower) bool { return other == f })
	s.followers.Store(&all)
}

// Backlog is how many entries there were when the Follower came.
func (f *Follower) Backlog() int { return f.past }

// Wait returns when there may be another entry, or with the error of ctx.
func (f *Follower) Wait(ctx context.Context) error {
	select {
	case <-f.woken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Next returns the next entry as a Record, without names, and whether there is one by now.
// How many were lost before it comes as a Record of its own.
func (f *Follower) Next() (Record, bool) {
	if f.lost == 0 && !f.advance() {
		return Record{}, false
	}
	if f.lost > 0 {
		lost := f.lost
		f.lost = 0
		return Record{Kind: KindLost, Time: time.Now(), Lost: lost, Cause: causeSlowReader}, true
	}
	return f.entry.record(), true
}

// advance copies the next entry, or counts those that were lost instead. It reports whether
// it did either.
func (f *Follower) advance() bool {
	number := f.read + 1
	slot := f.stream.slot(number)
	slot.mu.Lock()
	defer slot.mu.Unlock()
	switch {
	case slot.number < number: // not there yet, or being made: a wake-up follows
		return false
	case slot.number == number:
		f.entry.copy(&slot.entry)
		f.read = number
	default:
		oldest := f.stream.last.Load() - uint64(len(f.stream.slots)) + 1
		f.lost += oldest - number
		f.read = oldest - 1
	}
	return true
}
