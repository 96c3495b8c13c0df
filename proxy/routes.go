package proxy

import (
	"sync/atomic"

	"github.com/lintel-dev/lintel/router"
)

// routes is what an open socket routes by: the Server's Table, and once the socket is removed
// the last one that knew it.
type routes struct {
	current *atomic.Pointer[router.Table] // the Server's
	last    atomic.Pointer[router.Table]  // nil before it is removed
}

// table returns what is routed by now.
func (r *routes) table() *router.Table {
	current := r.current.Load()
	if last := r.last.Load(); last != nil { // set before current takes its place
		return last
	}
	return current
}

// retire makes t what the removed socket goes on with.
func (r *routes) retire(t *router.Table) { r.last.Store(t) }
