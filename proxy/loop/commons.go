//go:build linux

package loop

import (
	"sync"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// commons keeps the idle connections to endpoints that take only so many of them, for
// all loops together: one that lay idle in a loop of its own would keep the others from
// the endpoint. Taking a connection out of one loop's epoll and into another's costs two
// system calls, so endpoints without a limit have idle lists in each loop.
type commons struct {
	stats *exchange.Stats
	mu    sync.Mutex // held for a put, a take or a sweep
	idle  map[*router.Endpoint][]spare
}

// spare is an idle connection without a loop.
type spare struct {
	fd    int
	born  time.Time // when it was opened
	since time.Time // when it became idle
}

func newCommons(stats *exchange.Stats) *commons {
	return &commons{stats: stats, idle: map[*router.Endpoint][]spare{}}
}

// put takes a connection, or reports false when it has as many as limit to endpoint.
func (c *commons) put(endpoint *router.Endpoint, s spare, limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle[endpoint]) >= limit {
		return false
	}
	c.idle[endpoint] = append(c.idle[endpoint], s)
	c.stats.UpstreamIdle.Add(1)
	return true
}

// take returns the newest connection to endpoint that its peer has neither closed nor
// sent anything on.
func (c *commons) take(endpoint *router.Endpoint) (s spare, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for list := c.idle[endpoint]; len(list) > 0; {
		s, list = list[len(list)-1], list[:len(list)-1]
		c.idle[endpoint] = list
		c.stats.UpstreamIdle.Add(-1)
		if quiet(s.fd) {
			return s, true
		}
		c.close(endpoint, s)
	}
	return spare{}, false
}

// reclaim closes a connection to endpoint, and reports whether there was one.
func (c *commons) reclaim(endpoint *router.Endpoint) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.idle[endpoint]
	if len(list) == 0 {
		return false
	}
	c.idle[endpoint] = list[1:]
	c.stats.UpstreamIdle.Add(-1)
	c.close(endpoint, list[0])
	return true
}

// sweep closes the connections that are idle since before a time, or were closed by
// their peer, and reports whether any are left.
func (c *commons) sweep(before time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for endpoint, list := range c.idle {
		kept := list[:0]
		for _, s := range list {
			if s.since.After(before) && quiet(s.fd) {
				kept = append(kept, s)
				continue
			}
			c.stats.UpstreamIdle.Add(-1)
			c.close(endpoint, s)
		}
		if c.idle[endpoint] = kept; len(kept) == 0 {
			delete(c.idle, endpoint)
		}
	}
	return len(c.idle) > 0
}

// close ends a connection, which no list has any more.
func (c *commons) close(endpoint *router.Endpoint, s spare) {
	closeDescriptor(s.fd)
	c.stats.Upstream.Add(-1)
	endpoint.ReleaseConnection()
}

// end closes all of them.
func (c *commons) end() { c.sweep(time.Now().Add(exchange.Forever)) }

// share gives an idle connection to all loops, or closes it.
func (l *loop) share(u *upstream) {
	s := spare{fd: u.fd, born: u.born, since: l.clock}
	l.poller.remove(u.fd)
	l.forget(&u.conn)
	if !l.commons.put(u.endpoint, s, l.settings.MaxIdlePerEndpoint) {
		l.watch(&u.conn)
		u.close()
		return
	}
	u.fd = -1
	l.sweepLater()
}

// takeShared takes an idle connection that the loops share.
func (l *loop) takeShared(endpoint *router.Endpoint) *upstream {
	s, ok := l.commons.take(endpoint)
	if !ok {
		return nil
	}
	u := &upstream{endpoint: endpoint, born: s.born, reused: true}
	if !u.open(l, u, s.fd) {
		l.gauges.upstream--
		endpoint.ReleaseConnection()
		return nil
	}
	u.writable = true
	return u
}
