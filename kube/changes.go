package kube

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
)

// changes collects what changed until somebody takes it.
type changes struct {
	mu       sync.Mutex // guards dirty and services
	dirty    bool
	services map[types.NamespacedName]struct{}
	some     chan struct{} // holds one token while there is something to take
}

func newChanges() *changes {
	return &changes{services: make(map[types.NamespacedName]struct{}), some: make(chan struct{}, 1)}
}

// objects notes that an object of a Snapshot changed.
func (c *changes) objects() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty = true
	c.wake()
}

// service notes that EndpointSlices of a Service changed.
func (c *changes) service(name types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.services[name] = struct{}{}
	c.wake()
}

func (c *changes) wake() {
	select {
	case c.some <- struct{}{}:
	default:
	}
}

// take returns what there is. Whoever received from some calls it.
func (c *changes) take() gateway.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := gateway.Change{Objects: c.dirty, Services: slices.Collect(maps.Keys(c.services))}
	c.dirty = false
	clear(c.services)
	select {
	case <-c.some: // put there between the receiving and the taking
	default:
	}
	return taken
}
