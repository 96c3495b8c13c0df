//go:build linux

package loop

import (
	"time"

	"github.com/lintel-dev/lintel/router"
)

// sweepInterval is how often idle connections are looked through.
const sweepInterval = 5 * time.Second

// idleList is the idle connections of one endpoint in a ring, the newest first: it is
// the least likely to be stale, and the oldest can end. The loop hears at once when a
// peer closes one.
type idleList struct {
	head  upstream // of the ring
	count int
}

func newIdleList() *idleList {
	list := &idleList{}
	list.head.next, list.head.prev = &list.head, &list.head
	return list
}

func (list *idleList) push(u *upstream) {
	u.next, u.prev = list.head.next, &list.head
	u.next.prev, u.prev.next = u, u
	list.count++
}

func (list *idleList) remove(u *upstream) {
	u.prev.next, u.next.prev = u.next, u.prev
	u.next, u.prev = nil, nil
	list.count--
}

// recent bounds how many connections get passes over.
const recent = 8

// get returns an idle connection to an endpoint that its peer has neither closed nor
// sent anything on, or nil. That is known of those that were idle already when the
// kernel was asked last: of these it takes the newest. The others have to be looked
// at.
func (l *loop) get(endpoint *router.Endpoint) *upstream {
	if endpoint.Limited() {
		return l.takeShared(endpoint)
	}
	list := l.idle[endpoint]
	if list == nil {
		return nil
	}
	u := list.head.next
	for i := 0; i < recent && u != &list.head && u.asked == l.poller.asked; i++ {
		u = u.next
	}
	if u == &list.head {
		u = list.head.next
	}
	for list.count > 0 {
		known := u.asked != l.poller.asked && !l.poller.full
		if !u.readable && (known || quiet(u.fd)) {
			list.remove(u)
			l.gauges.idle--
			u.reused = true
			return u
		}
		l.drop(list, u)
		u = list.head.next
	}
	return nil
}

// put takes a connection whose exchange is over, or closes it when there are enough.
func (l *loop) put(u *upstream) {
	u.flight = nil
	if l.clock.Sub(u.born) >= l.settings.UpstreamMaxAge {
		u.close()
		return
	}
	if u.endpoint.Limited() {
		l.share(u)
		return
	}
	list := l.idle[u.endpoint]
	if list == nil {
		l.sweepLater()
		list = newIdleList()
		l.idle[u.endpoint] = list
	}
	if u.readable {
		u.readable = !quiet(u.fd) // the last read may have brought all there was
	}
	if list.count >= l.maxIdle || u.readable || u.ended {
		u.close()
		return
	}
	u.since, u.asked = l.now, l.poller.asked
	list.push(u)
	l.gauges.idle++
}

// sweep closes the connections that have been idle for too long, and forgets endpoints
// that have none.
func (l *loop) sweep() {
	limit := int64(l.settings.UpstreamIdleTimeout)
	for endpoint, list := range l.idle {
		for list.count > 0 && l.now-list.head.prev.since >= limit {
			l.drop(list, list.head.prev)
		}
		if list.count == 0 {
			delete(l.idle, endpoint)
		}
	}
	trunks := l.forgetTrunks()
	if l.commons.sweep(l.clock.Add(-l.settings.UpstreamIdleTimeout)) || trunks || len(l.idle) > 0 {
		l.sweepLater()
	}
}

// sweepLater makes sweep be called once the interval is over, if it is not to be yet.
func (l *loop) sweepLater() {
	if l.sweepNext.at == never {
		l.wheel.set(&l.sweepNext, l.now+int64(sweepInterval))
	}
}

func (l *loop) drop(list *idleList, u *upstream) {
	list.remove(u)
	l.gauges.idle--
	u.close()
}

// closeIdle closes all of them.
func (l *loop) closeIdle() {
	for _, list := range l.idle {
		for list.count > 0 {
			l.drop(list, list.head.next)
		}
	}
	clear(l.idle)
}
