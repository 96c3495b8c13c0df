package kube

import (
	"context"
	"log/slog"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/gateway"
)

// StoreOptions are what a Store needs.
type StoreOptions struct {
	Config *rest.Config
	// Namespaces are those to watch; none watches all. Cluster-scoped kinds are
	// watched in any case.
	Namespaces []string
	// Log receives what a person should know: nil discards.
	Log *slog.Logger
}

// Store keeps a copy of the objects that matter, and tells when they change.
// Its methods may be called from any goroutine.
type Store struct{}

// NewStore returns a Store that is empty until Run.
func NewStore(o StoreOptions) (*Store, error) { return &Store{}, nil }

// Run watches the API server until ctx ends.
func (s *Store) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Wait blocks until the initial sync is done and something changed since the last
// Wait, and returns what. The only error is that of ctx.
func (s *Store) Wait(ctx context.Context) (gateway.Change, error) {
	<-ctx.Done()
	return gateway.Change{}, ctx.Err()
}

// Snapshot returns the objects of this moment; Settings and Observed are zero.
func (s *Store) Snapshot() *gateway.Snapshot { return &gateway.Snapshot{} }

// EndpointSlices returns those of a Service, in any order. They are read-only.
func (s *Store) EndpointSlices(service types.NamespacedName) []*discoveryv1.EndpointSlice { return nil }
