package gateway

import "k8s.io/apimachinery/pkg/types"

// Change says what a source of objects saw since it was last asked. The zero
// Change is nothing.
type Change struct {
	// Objects is set when anything that [Snapshot] holds changed: a Build is needed.
	Objects bool
	// Services are those whose EndpointSlices changed, each once, in any order:
	// their Backends want their endpoints again, and no Build.
	Services []types.NamespacedName
}
