//go:build linux

package loop

import (
	"iter"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// keepFor is for how long after its last event a loop keeps its processor while it waits, see
// poller.pause. A wait without it costs as much as keeping it for about a quarter of a
// second: the scheduler's monitor wakes every 20 µs for a while, before and after, but only
// every 10 ms for processors that are kept.
const keepFor = 250 * time.Millisecond

// yieldAfter and yieldEvery are for how long, and for how many turns, a loop keeps its
// processor before it lets other goroutines run: before the 10 ms have passed after which the
// scheduler's monitor would send a signal to a busy one. It is not done more often, because a
// thread wakes up for it and looks for work, mostly in vain.
const (
	yieldAfter = int64(8 * time.Millisecond)
	yieldEvery = 64
)

// loop is one event loop. Its goroutine owns everything but the mailbox.
type loop struct {
	config   Config
	settings *exchange.Settings
	poller   *poller
	box      mailbox
	keeps    bool // its processor while it waits, see keepFor
	wheel    *wheel

	conns []*conn        // by descriptor
	epoch uint32         // of the connection registered last
	again queue[task]    // what goes on in the next turn
	dirty queue[flusher] // those that may have something to write

	senders   queue[task] // whose output goes out together, see gather.go
	gathering []byte      // that output

	shaking []*handshake // that may go on, in turn
	resting []*coroutine // free ones
	effort  effort       // of handshakes

	begin time.Time // when now was 0
	clock time.Time // of this turn
	now   int64     // clock in nanoseconds since begin
	heard int64     // when the last event came, or Group.Busy was called
	// yielded is when others were last let run, in the loop's time.
	yielded int64

	shared  []byte // headroom, and then what one read brings
	scratch []byte // heads and bodies that are being written
	sealed  []byte // records that are being read, and
	records []byte // written
	heads   buffers
	pieces  buffers
	flights []*flight // free ones
	pipes   []pipe    // free ones

	idle      map[*router.Endpoint]*idleList
	trunks    map[*router.Endpoint]*trunkList
	maxTrunks int // in each of them
	maxIdle   int // in each of them
	commons   *commons
	sweepNext timer

	gauges gauges
}

// flusher is a connection that speaks HTTP/2: its codec has what it writes in a turn until flush.
type flusher interface{ flush() }

// task is a connection that has more to do than its budget for a turn allowed.
type task struct {
	conn  *conn
	epoch uint32
}

// gauges are changes of exchange.Stats that are not published yet: once a turn is
// enough, as other processors have the same cache lines.
type gauges struct {
	downstream, upstream, idle int64
}

func newLoop(config Config, loops int, shared *commons) (*loop, error) {
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &loop{
		config:    config,
		settings:  config.Settings,
		poller:    poller,
		keeps:     runtime.GOMAXPROCS(0) > loops,
		wheel:     newWheel(),
		begin:     time.Now(),
		heads:     newBuffers(leastHead, headSizes),
		pieces:    newBuffers(waitingSize, 1),
		idle:      map[*router.Endpoint]*idleList{},
		trunks:    map[*router.Endpoint]*trunkList{},
		maxIdle:   (config.Settings.MaxIdlePerEndpoint + loops - 1) / loops,
		maxTrunks: (maxTrunks + loops - 1) / loops,
	}
	l.shared, l.scratch, l.sealed = l.pages(headroom+pieceSize), l.pages(waitingSize)[:0], l.pages(pieceSize)
	l.gathering = l.pages(gatherBytes)[:0]
	l.box.wake = poller.wake
	l.commons = shared
	l.sweepNext.at = never
	l.sweepNext.fire = l.sweep
	return l, nil
}

// free closes the descriptors of a loop that never ran.
func (l *loop) free() { l.poller.close() }

// run turns until the mailbox is stopped, and then closes everything.
func (l *loop) run() {
	l.tell()
	l.wheel.done = l.now / int64(tick)
	for turns := 0; ; turns++ {
		var events []unix.EpollEvent
		if l.keeps && l.quiet() {
			events = l.sleep()
		} else if events = l.poller.poll(); len(events) == 0 && l.quiet() {
			events = l.sleep()
		}
		l.tell()
		if len(events) > 0 {
			l.heard = l.now
		}
		// First: what happens because of a call has to come after it.
		if l.box.some.Load() && !l.readMail() {
			break
		}
		l.dispatch(events)
		l.goOn()
		l.wheel.advance(l.now)
		l.flush()
		l.shake()
		l.publish()
		if turns >= yieldEvery && l.now-l.yielded >= yieldAfter {
			runtime.Gosched()
			turns, l.yielded = 0, l.now
		}
	}
	l.end()
}

// quiet reports whether nothing is to be done but what others ask for.
func (l *loop) quiet() bool {
	return l.again.empty() && l.dirty.empty() && l.senders.empty() && len(l.shaking) == 0
}

// flush writes what gathered in the turn. Writing may let streams go on, which is for
// the next turn.
func (l *loop) flush() {
	l.sendGathered()
	for _, f := range l.dirty.take() {
		f.flush()
	}
	l.dirty.done()
}

// sleep waits until something is ready.
func (l *loop) sleep() []unix.EpollEvent {
	l.box.sleeping.Store(true)
	var events []unix.EpollEvent
	if !l.box.some.Load() {
		events = l.await()
	}
	l.box.sleeping.Store(false)
	return events
}

// await is sleep once nobody can have asked for something unnoticed.
func (l *loop) await() []unix.EpollEvent {
	if l.effort.heavy(l.now) {
		if events := l.poller.rest(restTime); len(events) > 0 {
			return events
		}
		l.tell()
	}
	limit := l.wheel.wait(l.now)
	if left := int64(keepFor) - (l.now - l.heard); l.keeps && left > 0 {
		return l.poller.pause(shorter(limit, time.Duration(left)))
	}
	l.stopCoroutines()
	events := l.poller.wait(limit)
	l.tell()
	l.yielded = l.now
	return events
}

// shorter returns the shorter of two waits, in milliseconds. A negative limit is none.
func shorter(limit int, d time.Duration) int {
	most := int(d/time.Millisecond) + 1
	if limit < 0 {
		return most
	}
	return min(limit, most)
}

// tell reads the clock.
func (l *loop) tell() {
	l.clock = time.Now()
	l.now = int64(l.clock.Sub(l.begin))
}

// dispatch brings events to the connections that they are about. All of them know
// what happened before one acts on it: what an upstream has sent without being asked
// must be known before a request is sent there.
func (l *loop) dispatch(events []unix.EpollEvent) {
	for i := range events {
		if c := l.about(&events[i]); c != nil {
			c.note(events[i].Events)
		}
	}
	for i := range events {
		waiting := l.again.len()
		if c := l.about(&events[i]); c != nil {
			c.act()
		}
		l.sendSoon(waiting)
	}
}

// about returns the connection of an event, unless that was closed earlier in the
// batch. There is none for the eventfd: its reader is the mailbox.
func (l *loop) about(event *unix.EpollEvent) *conn {
	fd := int(event.Fd)
	if fd >= len(l.conns) {
		return nil
	}
	if c := l.conns[fd]; c != nil && c.epoch == uint32(event.Pad) {
		return c
	}
	return nil
}

// resume makes c ready again in the next turn.
func (l *loop) resume(c *conn) { l.again.add(task{c, c.epoch}) }

// goOn continues what had used up its budget.
func (l *loop) goOn() {
	if l.again.empty() {
		return
	}
	l.sendGathered() // they may take long
	for _, t := range l.again.take() {
		waiting := l.again.len()
		if t.current() {
			t.conn.user.ready()
		}
		l.sendSoon(waiting)
	}
	l.again.done()
}

// readMail does what others ask for, and reports whether to go on.
func (l *loop) readMail() bool {
	calls, goOn := l.box.take()
	for _, call := range calls {
		call()
	}
	l.box.done()
	return goOn
}

// publish brings the gauges up to date.
func (l *loop) publish() {
	stats := l.config.Stats
	if n := l.gauges.downstream; n != 0 {
		stats.Downstream.Add(n)
	}
	if n := l.gauges.upstream; n != 0 {
		stats.Upstream.Add(n)
	}
	if n := l.gauges.idle; n != 0 {
		stats.UpstreamIdle.Add(n)
	}
	l.gauges = gauges{}
}

// end closes all connections, those that are still in the mailbox too.
func (l *loop) end() {
	for _, call := range l.box.close() {
		call()
	}
	l.abort(nil)
	l.cutRelays()
	l.closeTrunks()
	l.closeListeners()
	l.stopCoroutines()
	l.closeIdle()
	l.closePipes()
	l.publish()
	l.poller.close()
}

// watch makes c known by its descriptor.
func (l *loop) watch(c *conn) {
	for len(l.conns) <= c.fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[c.fd] = c
}

func (l *loop) forget(c *conn) { l.conns[c.fd] = nil }

// accept begins to serve a connection.
func (l *loop) accept(in *Incoming) {
	if in.Handshake {
		l.acceptTLS(in)
		return
	}
	d := newDownstream(l, in)
	if !d.open(l, d, in.FD) {
		in.Socket.Closed(in.Peer)
		return
	}
	l.gauges.downstream++
	d.writable = true // as a new connection is: what it is greeted with needs not wait
	d.serve(in)
}

// serve begins with what was read already.
func (d *downstream) serve(in *Incoming) {
	l := d.loop
	d.start(in.Draining)
	if in.HTTP2 {
		d.multiplex()
	}
	switch {
	case d.secure == nil:
		d.in.push(in.Unread)
	case len(in.Unread) > 0:
		d.secure.sealed = append(l.pieces.get(len(in.Unread)), in.Unread...)
	}
	d.ready()
}

// drain does what [Group.Drain] says.
func (l *loop) drain(socket Socket) {
	l.each(socket, guest.drain)
}

// abort does what [Group.Abort] says.
func (l *loop) abort(socket Socket) {
	l.each(socket, guest.cut)
}

// guest is the connection of a client.
type guest interface {
	from() Socket
	drain()
	cut()
}

// each does something with all connections of clients; a nil socket stands for all.
func (l *loop) each(socket Socket, do func(guest)) {
	for g := range usersOf[guest](l) {
		if socket == nil || g.from() == socket {
			do(g)
		}
	}
}

// usersOf are the users of one kind that connections of l belong to.
func usersOf[U any](l *loop) iter.Seq[U] {
	return func(yield func(U) bool) {
		for _, c := range l.conns {
			if c == nil {
				continue
			}
			if u, ok := c.user.(U); ok && !yield(u) {
				return
			}
		}
	}
}
