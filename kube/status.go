package kube

import (
	"context"
	"log/slog"

	"k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/gateway"
)

// StatusWriterOptions are what a StatusWriter needs.
type StatusWriterOptions struct {
	Config *rest.Config
	// Store is where current statuses are read.
	Store *Store
	// ControllerName is that of our entries in the status of Routes.
	ControllerName string
	// Log receives writes that fail for good: nil discards.
	Log *slog.Logger
}

// StatusWriter writes wanted statuses to the API server.
type StatusWriter struct{}

// NewStatusWriter returns a StatusWriter that does nothing until Run.
func NewStatusWriter(o StatusWriterOptions) (*StatusWriter, error) { return &StatusWriter{}, nil }

// Apply replaces the wanted statuses; it never blocks. The Statuses are read-only from then on.
func (w *StatusWriter) Apply(statuses []*gateway.Status) {}

// Run writes the newest wanted statuses until ctx ends.
func (w *StatusWriter) Run(ctx context.Context) error { <-ctx.Done(); return nil }
