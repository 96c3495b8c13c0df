// Package suite is the official conformance suite of Gateway API, as it is, in a Go
// module of its own: nothing that it needs enters Lintel's. Command conformance/run
// builds it and runs it.
package suite

import (
	"os"
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) {
	options := conformance.DefaultOptions(t)
	if dir := os.Getenv(edgeFolder); dir != "" {
		throughEdge(t, &options, dir)
	}
	conformance.RunConformanceWithOptions(t, options)
}
