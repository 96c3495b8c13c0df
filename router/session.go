package router

// Token names e, one of b's endpoints, to a client that is to come back to it. It is the
// same in every gateway, does not show the address, and leads to no other address than
// one of b's: see [Backend.WithToken].
func (b *Backend) Token(e *Endpoint) uint64 { return mix(e.hash ^ hashName(b.Name)) }

// WithToken returns the endpoint of b with a token, or nil when it is not there, or is
// avoided because it failed lately or is ejected, or is one of tried.
func (b *Backend) WithToken(token uint64, tried ...*Endpoint) *Endpoint {
	seed := hashName(b.Name)
	for _, e := range b.Endpoints() {
		if mix(e.hash^seed) != token {
			continue
		}
		if c := (choice{tried: tried}); c.rate(e) != inOrder {
			return nil
		}
		return e
	}
	return nil
}

// hashName is FNV-1a, the same in every process.
func hashName(name string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return h
}

// Hash tells b from other Backends, in the same way in every gateway.
func (b *Backend) Hash() uint32 { return uint32(mix(hashName(b.Name))) }
