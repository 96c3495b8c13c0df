package router

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Pick returns the endpoint for one attempt of an exchange, or nil when there is
// none that is not in tried: of two taken at random, the one with fewer exchanges
// in flight. Endpoints that failed lately, or are ejected, are taken only if there are
// no others; one in slow start takes part in fewer choices. It neither locks nor
// allocates.
func (b *Backend) Pick(tried ...*Endpoint) *Endpoint {
	all := b.Endpoints()
	c := choice{tried: tried}
	if len(all) < 2 {
		return c.search(all)
	}
	i, j := pair(len(all), rand.Uint64())
	first, second := all[i], all[j]
	if c.rateNow(first) == inOrder && c.rateNow(second) == inOrder {
		return c.lessBusy(first, second)
	}
	return c.search(all)
}

// pair returns two different numbers below n, which is at least 2, each pair alike
// likely when r is a random number.
func pair(n int, r uint64) (i, j int) {
	i = int((r >> 32) * uint64(n) >> 32)
	j = int((r & (1<<32 - 1)) * uint64(n-1) >> 32)
	if j >= i {
		j++
	}
	return i, j
}

// choice is one Pick. Within one, an endpoint is rated the same each time: endpoints
// that are in order have alike chances then, whether they were met in the first pair
// or searched for.
type choice struct {
	tried []*Endpoint
	now   time.Time // read when an endpoint is met that is not as usual; zero before
	coins uint64    // decides which endpoints in slow start take part; 0 before
}

// rating says how much an endpoint is worth to a choice; higher is better.
type rating int

const (
	excluded rating = iota // tried in this exchange
	failing
	waiting // in slow start, and does not take part
	inOrder
)

// rate rates an endpoint without a look at slow start.
func (c *choice) rate(e *Endpoint) rating {
	if slices.Contains(c.tried, e) {
		return excluded
	}
	f, h := e.failed.Load(), e.hold.Load()
	if f == nil && h == nil {
		return inOrder
	}
	if c.now.IsZero() {
		c.now = time.Now()
	}
	if f != nil && c.now.Before(f.until) || h != nil && c.now.Before(h.until) {
		return failing
	}
	return inOrder
}

// rateNow rates an endpoint.
func (c *choice) rateNow(e *Endpoint) rating {
	r := c.rate(e)
	if r != inOrder || c.now.IsZero() {
		return r
	}
	if share := c.share(e); share < 1 && !c.takesPart(e, share) {
		return waiting
	}
	return inOrder
}

// share is that of slow start; c.now is read. A hold that is over goes, so that the
// next choice need not read the time.
func (c *choice) share(e *Endpoint) float64 {
	h := e.hold.Load()
	if h == nil {
		return 1
	}
	share := h.share(c.now)
	if share == 1 {
		e.hold.CompareAndSwap(h, nil)
	}
	return share
}

// takesPart tosses a coin for e that shows the same side for the whole choice. It is
// true with the probability share.
func (c *choice) takesPart(e *Endpoint, share float64) bool {
	if c.coins == 0 {
		c.coins = rand.Uint64() | 1
	}
	return float64(mix(c.coins^e.hash)>>11) < share*(1<<53)
}

// search chooses among the endpoints of the best rating there is: it takes two of
// them at random in one pass, each pair alike likely (reservoir sampling).
func (c *choice) search(all []*Endpoint) *Endpoint {
	var two [2]*Endpoint
	best, seen := failing, 0
	for _, e := range all {
		r := c.rateNow(e)
		if r < best {
			continue
		}
		if r > best {
			best, seen = r, 0
		}
		if place := rand.IntN(seen + 1); seen < 2 {
			two[seen] = two[place]
			two[place] = e
		} else if place < 2 {
			two[place] = e
		}
		seen++
	}
	if seen < 2 {
		return two[0]
	}
	return c.lessBusy(two[0], two[1])
}

// lessBusy returns the endpoint with fewer exchanges in flight, or first. Those of an
// endpoint in slow start count for more, as its share is smaller: being idle, it would
// win every choice that it takes part in.
func (c *choice) lessBusy(first, second *Endpoint) *Endpoint {
	one, other := first.inflight.Load(), second.inflight.Load()
	if c.now.IsZero() { // nothing unusual was met
		if other < one {
			return second
		}
		return first
	}
	if float64(other)*c.weight(first) < float64(one)*c.weight(second) {
		return second
	}
	return first
}

// weight is the share of e, or 1 for an endpoint that was chosen though it is ejected.
func (c *choice) weight(e *Endpoint) float64 {
	if share := c.share(e); share > 0 {
		return share
	}
	return 1
}
