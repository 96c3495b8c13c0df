package router

import (
	"math/bits"
	"net/netip"
)

// PickHash returns the endpoint of a key for one attempt of an exchange, or nil when
// there is none that is not in tried. The same key gets the same endpoint, here and
// in every other gateway, as long as that endpoint is there, has not failed lately and
// is not ejected; meanwhile its keys are spread over the others. How busy an endpoint
// is, and slow start, do not count. It neither locks nor allocates.
//
// This is rendezvous hashing: of all endpoints the one with the highest score for the
// key. An endpoint that comes takes only its own keys from the others, one that goes
// leaves only its own. It costs about a nanosecond for each endpoint; a table would
// cost less with hundreds of them, and kilobytes for each Backend.
func (b *Backend) PickHash(key uint64, tried ...*Endpoint) *Endpoint {
	set := b.endpoints.Load()
	if set == nil || len(set.all) == 0 {
		return nil
	}
	key = mix(key)
	highest := uint64(0) // and who has it; a branch here would be mispredicted often
	for i, h := range set.hashes {
		highest = max(highest, score(key, h)&^placeBits|uint64(i))
	}
	c := choice{tried: tried}
	if e := set.all[highest&placeBits]; c.rate(e) == inOrder {
		return e
	}
	return c.searchKey(set, key)
}

// searchKey returns the endpoint with the highest score among those of the best rating
// there is.
func (c *choice) searchKey(set *endpointSet, key uint64) *Endpoint {
	var found *Endpoint
	best, highest := excluded, uint64(0)
	for i, e := range set.all {
		r, s := c.rate(e), score(key, set.hashes[i])
		if r > best || (r == best && r != excluded && s > highest) {
			found, best, highest = e, r, s
		}
	}
	return found
}

// placeBits of a score give way to a place among the endpoints: more than there are.
const placeBits = 1<<20 - 1

// score ranks an endpoint, by its hash, for a key that is mixed.
func score(key, hash uint64) uint64 {
	high, low := bits.Mul64(key^hash, goldenRatio)
	return high ^ low
}

// goldenRatio is 2⁶⁴/φ, an odd number whose bits show no pattern.
const goldenRatio = 0x9e3779b97f4a7c15

// mix spreads each bit of x over all bits of the result, one to one (the finalizer of
// SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashAddress is the same in every process, so that gateways agree on endpoints.
func hashAddress(addr netip.AddrPort) uint64 {
	h := uint64(addr.Port())
	for _, octet := range addr.Addr().As16() {
		h = mix(h*goldenRatio + uint64(octet))
	}
	return mix(h)
}
