package tls

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ticketMemory is a storage that can fail.
type ticketMemory struct {
	lock sync.Mutex // held between Lock and unlock

	mu       sync.Mutex
	document []byte
	fails    bool
	saved    int
}

func (m *ticketMemory) Document(context.Context, string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails {
		return nil, errors.New("out of order")
	}
	return slices.Clone(m.document), nil
}

func (m *ticketMemory) SaveDocument(_ context.Context, _ string, document []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.document = document
	m.saved++
	return nil
}

func (m *ticketMemory) Lock(ctx context.Context, _ string) (context.Context, func(), error) {
	m.lock.Lock()
	return ctx, m.lock.Unlock, nil
}

func (m *ticketMemory) fail(now bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = now
}

// ticketReplica notes the keys that it was given.
type ticketReplica struct {
	mu   sync.Mutex
	keys [][32]byte
}

func (r *ticketReplica) now() [][32]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys
}

func startTickets(t *testing.T, storage TicketStorage) *ticketReplica {
	t.Helper()
	r := &ticketReplica{}
	tickets := &Tickets{Storage: storage, Log: slog.New(slog.DiscardHandler), Apply: func(keys [][32]byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.keys = keys
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := tickets.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// At every moment of two days any replica opens what any other seals, also while the
// storage fails for an hour; and a ticket is good for two changes of keys.
func TestReplicasShareTicketKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := &ticketMemory{}
		replicas := []*ticketReplica{startTickets(t, storage), startTickets(t, storage)}
		synctest.Wait()
		first := replicas[0].now()[0]
		replicas = append(replicas, startTickets(t, storage))
		sealed := map[[32]byte]time.Duration{} // by key: when it sealed last
		begun := time.Now()
		for age := time.Duration(0); age < 48*time.Hour; age += time.Minute {
			storage.fail(age > 20*time.Hour && age < 21*time.Hour)
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, r := range replicas {
				sealing := r.now()[0]
				sealed[sealing] = time.Since(begun)
				for _, other := range replicas {
					if !slices.Contains(other.now(), sealing) {
						t.Fatalf("after %v: a ticket of one replica is not opened by another", age)
					}
				}
			}
			for key, last := range sealed {
				if time.Since(begun)-last < 2*ticketPeriod-time.Hour && !slices.Contains(replicas[0].now(), key) {
					t.Fatalf("after %v: a ticket of %v ago is not opened", age, time.Since(begun)-last)
				}
			}
		}
		if slices.Contains(replicas[0].now(), first) {
			t.Error("the first key is still good")
		}
		if n := len(sealed); n < 6 || n > 7 || storage.saved > n+1 {
			t.Errorf("%d keys, saved %d times", n, storage.saved)
		}
	})
}

// Replicas that start while nothing can be read keep what crypto/tls makes; what nobody
// wrote is not taken for keys.
func TestTicketKeysThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := &ticketMemory{document: []byte(`[{"from":"2000-01-01T00:00:00Z"}]`)}
		r := startTickets(t, storage)
		synctest.Wait()
		if keys := r.now(); keys != nil {
			t.Errorf("keys %v", keys)
		}
		if err := storage.SaveDocument(t.Context(), "", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if keys := r.now(); len(keys) != 1 {
			t.Errorf("keys %v", keys)
		}
	})
}

// A key that was made by a clock running ahead does not keep others from being made.
func TestTicketKeysOfTheFuture(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	keys := ticketKeys{{From: now.Add(100 * time.Hour), Key: [32]byte{2}}, {From: now.Add(-time.Hour), Key: [32]byte{1}}}
	if got := keys.at(now); got[0] != [32]byte{1} || len(got) != 2 {
		t.Errorf("keys %v", got)
	}
	if !keys.due(now) {
		t.Fatal("no key is due")
	}
	keys = keys.rotate(now)
	if keys.due(now) || len(keys) != 2 || keys[1].Key != [32]byte{1} {
		t.Errorf("keys %v", keys)
	}
}
