//go:build linux

package loop

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// Group is the loops of a data plane. Its methods are safe for concurrent use.
type Group struct {
	loops   []*loop
	commons *commons
	given   atomic.Uint32 // connections, in turn to each loop
	begin   time.Time
	busy    atomic.Int64 // when Busy last had an effect, in nanoseconds since begin
}

// New makes the loops, which take connections but serve none before Run. It fails
// when there are no descriptors left for them, or with [errors.ErrUnsupported] on
// other systems than Linux.
func New(config Config) (*Group, error) {
	n := config.Loops
	if n <= 0 {
		n = (runtime.GOMAXPROCS(0) + 1) / 2
	}
	g := &Group{commons: newCommons(config.Stats), begin: time.Now()}
	for range n {
		l, err := newLoop(config, n, g.commons)
		if err != nil {
			for _, l := range g.loops {
				l.free()
			}
			return nil, fmt.Errorf("make event loop: %w", err)
		}
		g.loops = append(g.loops, l)
	}
	return g, nil
}

// Run turns the loops until ctx ends; then it closes what connections are left,
// and returns. It is called once.
func (g *Group) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, l := range g.loops {
		running.Go(l.run)
	}
	<-ctx.Done()
	for _, l := range g.loops {
		l.box.stop()
	}
	running.Wait()
	g.commons.end()
	return nil
}

// Reclaim closes an idle connection to an endpoint that has a limit of them, and reports
// whether there was one.
func (g *Group) Reclaim(endpoint *router.Endpoint) bool { return g.commons.reclaim(endpoint) }

// Busy says that others than the loops serve an exchange which began at now. As after an
// event of its own, one loop then keeps its processor for a while, see keepFor: where goroutines
// wait and go on, that spares the wake-ups of the scheduler's monitor, too. Most calls
// cost a load.
func (g *Group) Busy(now time.Time) {
	at, last := int64(now.Sub(g.begin)), g.busy.Load()
	l := g.loops[0]
	if !l.keeps || at-last < int64(keepFor/2) || !g.busy.CompareAndSwap(last, at) {
		return
	}
	l.box.put(func() { l.heard = l.now })
}

// nextLoop is the loop that gets the next connection.
func (g *Group) nextLoop() *loop { return g.loops[g.given.Add(1)%uint32(len(g.loops))] }

// Serve serves a connection until it ends or is handed over. After Run has ended
// it closes it.
func (g *Group) Serve(in Incoming) {
	in.drained = in.Socket.Drained()
	l := g.nextLoop()
	if !l.box.put(func() { l.accept(&in) }) {
		closeDescriptor(in.FD)
		in.Socket.Closed(in.Peer)
	}
}

// Drain makes the exchanges in flight of a socket's connections their last, and
// closes those that wait for a request. A nil socket stands for all. It does not
// wait.
func (g *Group) Drain(socket Socket) {
	for _, l := range g.loops {
		l.box.put(func() { l.drain(socket) })
	}
}

// Abort closes a socket's connections whatever they do; a nil socket stands for
// all. It does not wait.
func (g *Group) Abort(socket Socket) {
	for _, l := range g.loops {
		l.box.put(func() { l.abort(socket) })
	}
}
