package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/lintel-dev/lintel/gateway"
	edgetls "github.com/lintel-dev/lintel/tls"
	"github.com/lintel-dev/lintel/tls/acme"
)

// challengeBoard holds the challenges that this replica answers. Those by TLS are answered
// as soon as they are known, those by HTTP when the loop has applied them.
type challengeBoard struct {
	store *edgetls.Store
	wake  func() // lets the loop build; it must not block
	log   *slog.Logger

	mu       sync.Mutex // guards what follows
	all      []acme.Challenge
	version  int
	answered int           // the newest version that is answered
	changed  chan struct{} // closed when either changes
}

func newChallengeBoard(store *edgetls.Store, wake func(), log *slog.Logger) *challengeBoard {
	return &challengeBoard{store: store, wake: wake, log: log, changed: make(chan struct{})}
}

// set replaces the challenges. It does not wait until they are answered.
func (b *challengeBoard) set(all []acme.Challenge) {
	var byTLS []edgetls.Challenge
	for _, c := range all {
		if c.Type == acme.ChallengeTLSALPN01 {
			byTLS = append(byTLS, edgetls.Challenge{Identifier: c.Identifier, KeyAuthorization: c.KeyAuthorization})
		}
	}
	if err := b.store.ApplyChallenges(byTLS); err != nil {
		b.log.Error("challenges not answered", "err", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Equal(all, b.all) {
		return
	}
	b.all = all
	b.version++
	b.announce()
	b.wake()
}

// announce wakes those that wait. The caller holds mu.
func (b *challengeBoard) announce() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// http returns what a Snapshot has to answer, and the version that it is of.
func (b *challengeBoard) http() (challenges []gateway.HTTPChallenge, version int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.all {
		if c.Type == acme.ChallengeHTTP01 {
			challenges = append(challenges, gateway.HTTPChallenge{Host: c.Identifier, Token: c.Token, KeyAuthorization: c.KeyAuthorization})
		}
	}
	return challenges, b.version
}

// applied notes that the challenges of a version are answered.
func (b *challengeBoard) applied(version int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if version > b.answered {
		b.answered = version
		b.announce()
	}
}

// await returns when a challenge is answered here.
func (b *challengeBoard) await(ctx context.Context, c acme.Challenge) error {
	for {
		b.mu.Lock()
		answered, changed := slices.Contains(b.all, c) && b.answered == b.version, b.changed
		b.mu.Unlock()
		if answered {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("answer challenge for %s: %w", c.Identifier, ctx.Err())
		case <-changed:
		}
	}
}

// directoryStorage keeps everything in a directory, and returns from Present when the
// challenge is answered.
type directoryStorage struct {
	*acme.Directory
	board *challengeBoard
}

// Present implements [acme.Storage].
func (s directoryStorage) Present(ctx context.Context, c acme.Challenge) error {
	if err := s.Directory.Present(ctx, c); err != nil {
		return err
	}
	return s.board.await(ctx, c)
}
