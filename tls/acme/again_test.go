package acme_test

import (
	"context"
	"testing"

	"github.com/lintel-dev/lintel/tls/acme"
)

// A replica that leads once more goes on with what is wanted by then.
func TestRunOnceMore(t *testing.T) {
	t.Parallel()
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	first := acme.Certificate{Name: acme.Name{Namespace: "a", Name: "first"}, Names: []string{"first." + zone}, Issuer: "main"}
	second := acme.Certificate{Name: acme.Name{Namespace: "a", Name: "second"}, Names: []string{"second." + zone}, Issuer: "main"}
	r := start(t, options(t, storage, shared.issuer("main")), first)
	r.untilReady(t, first.Name)
	r.end()
	r.Apply([]acme.Certificate{first, second})

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx) // it returns ctx's error
	}()
	defer func() { cancel(); <-done }()
	r.untilReady(t, second.Name)
	if n := len(shared.orders(zone)); n != 2 {
		t.Errorf("%d orders for two certificates", n)
	}
}
