//go:build linux

package loop

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// maxTrunks bounds the connections to one endpoint that speak HTTP/2, of all loops together.
const maxTrunks = 64

// trunkList is a loop's connections to one endpoint that speak HTTP/2.
type trunkList struct {
	open    []*trunk
	dialing *trunk // that is being opened, nil without one
}

func (list *trunkList) opened(t *trunk) {
	list.dialing = nil
	list.open = append(list.open, t)
}

func (list *trunkList) closed(t *trunk) {
	if list.dialing == t {
		list.dialing = nil
	}
	list.open = slices.DeleteFunc(list.open, func(other *trunk) bool { return other == t })
}

// withRoom returns a connection that takes one more call, or nil.
func (list *trunkList) withRoom() *trunk {
	for _, t := range list.open {
		if t.hasRoom() {
			return t
		}
	}
	return nil
}

// trunksTo returns the connections to an endpoint.
func (l *loop) trunksTo(endpoint *router.Endpoint) *trunkList {
	list := l.trunks[endpoint]
	if list == nil {
		list = &trunkList{}
		l.trunks[endpoint] = list
		l.sweepLater()
	}
	return list
}

// dialTrunk begins to open a connection. The cause says why there is none.
func (l *loop) dialTrunk(list *trunkList, endpoint *router.Endpoint) (*trunk, exchange.Cause) {
	if !l.acquire(endpoint) {
		return nil, exchange.CauseCircuit
	}
	fd, errno := connectSocket(endpoint.Addr)
	t := newTrunk(l, list, endpoint)
	if errno != 0 && errno != unix.EINPROGRESS || !t.open(l, t, fd) {
		endpoint.ReleaseConnection()
		endpoint.Fail(l.clock)
		return nil, exchange.CauseConnectRefused
	}
	l.gauges.upstream++
	list.dialing = t
	t.connecting = true
	if errno == 0 {
		t.writable = true
		t.opened()
	}
	return t, exchange.CauseNone
}

// conclude looks what became of the attempt to connect.
func (t *trunk) conclude() {
	if !t.writable {
		return
	}
	if t.broken && socketError(t.fd) != 0 {
		waiters := t.waiters
		t.waiters = nil
		t.close()
		for _, c := range waiters {
			if c.waits {
				c.waits = false
				c.flight.refused()
			}
		}
		return
	}
	t.opened()
	t.admit()
}

// opened begins to use the connection.
func (t *trunk) opened() {
	t.connecting = false
	t.list.opened(t)
	t.heard, t.idle = t.loop.now, t.loop.now
	t.arm()
	t.soil() // the preface
}

// admit lets those go on who have waited.
func (t *trunk) admit() {
	waiters := t.waiters
	t.waiters = nil
	for _, c := range waiters {
		if c.waits {
			c.waits = false
			c.flight.joins(c)
		}
	}
}

// forgetTrunks forgets endpoints without connections, and reports whether there are others.
func (l *loop) forgetTrunks() bool {
	for endpoint, list := range l.trunks {
		if len(list.open) == 0 && list.dialing == nil {
			delete(l.trunks, endpoint)
		}
	}
	return len(l.trunks) > 0
}

// closeTrunks closes all connections that speak HTTP/2.
func (l *loop) closeTrunks() {
	for _, list := range l.trunks {
		for _, t := range slices.Clone(list.open) {
			t.fail()
		}
	}
}

// call makes an attempt at an endpoint that speaks HTTP/2: on a connection that has room, or
// once one is open. The cause says why there is none.
func (f *flight) call(endpoint *router.Endpoint) exchange.Cause {
	l, backend := f.loop, f.Chosen.Backend
	list := l.trunksTo(endpoint)
	if t := list.withRoom(); t != nil {
		f.callOver(t, nil)
		return exchange.CauseNone
	}
	t := list.dialing
	if t == nil && len(list.open) >= l.maxTrunks || !backend.AcquirePending() {
		return exchange.CauseCircuit
	}
	if t == nil {
		var cause exchange.Cause
		if t, cause = l.dialTrunk(list, endpoint); cause != exchange.CauseNone {
			backend.ReleasePending()
			return cause
		}
	}
	f.callOver(t, backend)
	return exchange.CauseNone
}

// callOver makes an attempt over t. A Backend that is not nil has counted the wait for it.
func (f *flight) callOver(t *trunk, waitsFor *router.Backend) {
	c := t.take(f)
	c.waitsFor = waitsFor
	f.up = c
	if f.down.switches() {
		c.socket = exchange.WebSocketOf(&f.request)
	}
	f.goOver(c)
}

// goOver makes the attempt, or waits for what is still missing: the connection, or for an
// upgrade what the endpoint says of itself.
func (f *flight) goOver(c *call) {
	t := c.t
	switch {
	case t.connecting, c.socket.Key != "" && !t.settled:
		f.stage = connecting
		f.stageBy = since(f.loop.now, f.Settings.ConnectTimeout)
		c.waits = true
		t.waiters = append(t.waiters, c)
		f.arm()
	case c.socket.Key != "" && !t.codec.ExtendedConnect():
		f.insteadOf(c, f.dial)
	default:
		c.waited()
		f.attempt()
	}
}

// joins goes on once the wait of a call has ended.
func (f *flight) joins(c *call) {
	c.waited()
	c.to().OK()
	if !c.t.hasRoom() { // others were first
		f.insteadOf(c, f.call)
		return
	}
	f.goOver(c)
}

// insteadOf reaches the endpoint of a call in another way.
func (f *flight) insteadOf(c *call, reach func(*router.Endpoint) exchange.Cause) {
	endpoint := c.to()
	f.up = nil
	c.close()
	if cause := reach(endpoint); cause != exchange.CauseNone {
		endpoint.Release()
		f.tried = append(f.tried, endpoint)
		f.connect(nil, cause)
	}
}
