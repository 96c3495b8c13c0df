package tls

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

const (
	// ticketPeriod is how long a key seals tickets: who steals one later reads no more
	// of what TLS 1.2 has protected than that.
	ticketPeriod = 8 * time.Hour
	// ticketLead is how long before its turn a key is made, for all replicas to know it
	// by then. They look more often than that.
	ticketLead = 15 * time.Minute
	// ticketLook is how often they look at least.
	ticketLook = 5 * time.Minute
	// ticketRetry is how often a storage that fails is tried again.
	ticketRetry = 30 * time.Second
	// ticketsKept is how many keys open tickets beside the one that seals: with them a
	// ticket is good for a day, or two periods at least.
	ticketsKept = 2
	// ticketDocument is where the keys are, and which lock is held to change them.
	ticketDocument = "session-tickets"
)

// TicketStorage keeps the keys of session tickets for all replicas. A document is nil
// without an error when there is none. Lock waits until no other replica holds it; held
// ends when it is lost.
type TicketStorage interface {
	Document(ctx context.Context, key string) ([]byte, error)
	SaveDocument(ctx context.Context, key string, document []byte) error
	Lock(ctx context.Context, key string) (held context.Context, unlock func(), err error)
}

// Tickets makes all replicas seal session tickets with the same keys, and changes them
// every 8 hours.
type Tickets struct {
	Storage TicketStorage
	// Apply is called with each change of the keys: the first seals, all open. It is
	// called by Run alone.
	Apply func(keys [][32]byte)
	Log   *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// ticketKey is one key; From is when it begins to seal.
type ticketKey struct {
	From time.Time `json:"from"`
	Key  [32]byte  `json:"key"`
}

// ticketKeys are sorted by From, the last to seal first.
type ticketKeys []ticketKey

// Run keeps the keys until ctx ends; it returns no error. While the storage fails the keys
// that are known go on.
func (t *Tickets) Run(ctx context.Context) error {
	if t.Now == nil {
		t.Now = time.Now
	}
	var keys ticketKeys
	var applied [][32]byte
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		wait := ticketLook
		read, err := t.look(ctx)
		if err == nil {
			keys = read
		} else if ctx.Err() == nil {
			wait = ticketRetry
			if !failing {
				t.Log.Warn("keys of session tickets not shared", "error", err)
			}
		}
		failing = err != nil
		now := t.Now()
		if sealing := keys.at(now); len(sealing) > 0 && !slices.Equal(sealing, applied) {
			t.Apply(sealing)
			applied = sealing
		}
		if next := keys.turn(now); next > 0 {
			wait = min(wait, next)
		}
		timer.Reset(wait)
	}
}

// look returns the keys that are kept, after a change if one is due.
func (t *Tickets) look(ctx context.Context) (ticketKeys, error) {
	keys, err := t.read(ctx)
	if err != nil || !keys.due(t.Now()) {
		return keys, err
	}
	ctx, unlock, err := t.Storage.Lock(ctx, ticketDocument)
	if err != nil {
		return nil, fmt.Errorf("lock keys of session tickets: %w", err)
	}
	defer unlock()
	if keys, err = t.read(ctx); err != nil || !keys.due(t.Now()) {
		return keys, err // somebody else was faster
	}
	keys = keys.rotate(t.Now())
	text, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("encode keys of session tickets: %w", err)
	}
	if err := t.Storage.SaveDocument(ctx, ticketDocument, text); err != nil {
		return nil, fmt.Errorf("save keys of session tickets: %w", err)
	}
	return keys, nil
}

func (t *Tickets) read(ctx context.Context) (ticketKeys, error) {
	text, err := t.Storage.Document(ctx, ticketDocument)
	if err != nil {
		return nil, fmt.Errorf("read keys of session tickets: %w", err)
	}
	if text == nil {
		return nil, nil
	}
	var keys ticketKeys
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, fmt.Errorf("read keys of session tickets: %w", err)
	}
	if slices.ContainsFunc(keys, func(k ticketKey) bool { return k.Key == [32]byte{} }) {
		return nil, errors.New("read keys of session tickets: one is empty")
	}
	return keys, nil
}

// due tells whether the next key has to be made: its turn comes soon. A key whose turn
// is further off than that was made by a clock that ran ahead.
func (k ticketKeys) due(now time.Time) bool {
	if len(k) == 0 {
		return true
	}
	newest := k[0].From
	return !newest.Add(ticketPeriod-ticketLead).After(now) || newest.After(now.Add(2*ticketLead))
}

// rotate returns the keys with one more, whose turn comes when all replicas know it,
// and without those that open nothing any more.
func (k ticketKeys) rotate(now time.Time) ticketKeys {
	old := slices.DeleteFunc(slices.Clone(k), func(key ticketKey) bool { return key.From.After(now.Add(2 * ticketLead)) })
	next := ticketKey{From: now}
	if len(old) > 0 {
		next.From = now.Add(ticketLead)
	}
	_, _ = rand.Read(next.Key[:]) // it never fails
	old = slices.Insert(old, 0, next)
	return old[:min(len(old), 1+1+ticketsKept)] // the next, the one that seals, and those before
}

// at returns the keys in the order of crypto/tls: the one whose turn it is, then all others.
func (k ticketKeys) at(now time.Time) [][32]byte {
	sealing := slices.IndexFunc(k, func(key ticketKey) bool { return !key.From.After(now) })
	if sealing < 0 {
		sealing = len(k) - 1 // the clock was set back
	}
	var keys [][32]byte
	for i := range k {
		keys = append(keys, k[(sealing+i)%len(k)].Key)
	}
	return keys
}

// turn returns how long it is until the next key's turn; 0 if there is none.
func (k ticketKeys) turn(now time.Time) time.Duration {
	if len(k) == 0 {
		return 0
	}
	return max(0, k[0].From.Sub(now))
}
