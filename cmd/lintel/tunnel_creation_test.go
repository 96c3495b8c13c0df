package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/gateway"
)

// newTestCreator returns a tunnelCreator that wants a tunnel, and what comes when its token is to
// be kept: a function that says what becomes of that.
func newTestCreator(t *testing.T) (c *tunnelCreator, saves <-chan func(error)) {
	t.Helper()
	cf := cloudflare.ForTest(t, cloudflare.Options{})
	c = newTunnelCreator(slog.New(slog.DiscardHandler), func() {})
	c.client, c.first = cf.HTTPClient(), time.Millisecond
	asked := make(chan func(error))
	c.save = func(ctx context.Context, _ types.NamespacedName, _ map[string]string) error {
		answer := make(chan error, 1)
		select {
		case asked <- func(err error) { answer <- err }:
			return <-answer
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.want.Put(map[types.NamespacedName]creationWant{{Namespace: "default", Name: "home"}: {
		TunnelCreation: gateway.TunnelCreation{AccountID: cloudflare.AccountID, Name: "home", APIToken: cloudflare.Token},
	}})
	return c, asked
}

// The other replicas have a tunnel's token from its Secret alone.
func TestTokenOfATunnelIsKeptLaterIfItCannotBeAtOnce(t *testing.T) {
	t.Parallel()
	c, saves := newTestCreator(t)
	inBackground(t, c.Run)
	for _, err := range []error{errors.New("the API server is away"), errors.New("it is busy"), nil} {
		answerNext(t, saves, err)
	}
}

// answerNext says what becomes of the next attempt to keep the token.
func answerNext(t *testing.T, saves <-chan func(error), err error) {
	t.Helper()
	select {
	case answer := <-saves:
		answer(err)
	case <-time.After(testTimeout):
		t.Fatal("nobody tries to keep the token")
	}
}
