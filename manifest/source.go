package manifest

import (
	"context"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
)

// Source is a path and the objects that its files hold. Its methods may be called
// from any goroutine; Run and Load by one caller, once.
type Source struct{ path string }

// New returns a Source for a directory (read with its subfolders), a file, or "-"
// for standard input. Nothing is read before Run or Load.
func New(path string) *Source { return &Source{path: path} }

// Load reads everything once, for a caller that does not want to watch. A mistake
// in a manifest is a Problem; the error is that of a path that cannot be read.
func (s *Source) Load() error { return nil }

// Run reads everything and then follows the changes until ctx ends.
func (s *Source) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Wait blocks until something changed since the last Wait, or ctx ends.
func (s *Source) Wait(ctx context.Context) (gateway.Change, error) {
	<-ctx.Done()
	return gateway.Change{}, ctx.Err()
}

// Snapshot returns the objects of now; Settings and Observed are the caller's.
func (s *Source) Snapshot() *gateway.Snapshot { return &gateway.Snapshot{} }

// EndpointSlices returns those of one Service.
func (s *Source) EndpointSlices(svc types.NamespacedName) []*discoveryv1.EndpointSlice { return nil }

// Problems returns what is wrong now, by file and line.
func (s *Source) Problems() []Problem { return nil }

// Locate returns where a field of an object stands, or its nearest ancestor that
// is written; "" and 0 when the object is in no file.
func (s *Source) Locate(ref gateway.ObjectRef, field string) (file string, line int) { return "", 0 }

// Validate returns what is wrong with the objects of one text.
func Validate(doc []byte) []Problem { return nil }
