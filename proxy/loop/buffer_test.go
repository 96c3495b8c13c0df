//go:build linux

package loop

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// An input is a queue of bytes, whatever its buffers do.
func TestInputIsAQueue(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	heads := newBuffers(leastHead, headSizes)
	in := input{from: &heads}
	var want []byte
	next := byte(0)
	fill := func(p []byte) {
		for i := range p {
			p[i] = next
			next++
		}
		want = append(want, p...)
	}
	for range 100_000 {
		switch random.IntN(4) {
		case 0:
			in.shrink()
		case 1:
			p := make([]byte, random.IntN(1<<random.IntN(15)))
			fill(p)
			in.push(p)
		case 2:
			n := random.IntN(len(want) + 1)
			in.r += n
			want = want[n:]
		case 3:
			in.compact()
			if len(want) == 0 && in.buf != nil {
				t.Fatal("an empty input holds a buffer")
			}
		}
		if !bytes.Equal(in.unread(), want) {
			t.Fatalf("%d bytes instead of %d", len(in.unread()), len(want))
		}
	}
	in.discard()
	if in.buf != nil || len(in.unread()) != 0 {
		t.Error("discard leaves something")
	}
}

// A head gets little more than it needs, again and again the same memory.
func TestHeadsAreAsLargeAsNeeded(t *testing.T) {
	h := newBuffers(leastHead, headSizes)
	for _, n := range []int{0, 1, 100, 256, 257, 512, 1024, 1025, 2048, 3000, 4096, 5000, 8192, 8193, 40_000} {
		p := h.get(n)
		if len(p) != 0 || cap(p) < n || cap(p) > max(leastHead, 2*n) {
			t.Errorf("%d of %d bytes for %d", len(p), cap(p), n)
		}
		h.put(append(p, 1))
		if pooled := n <= headSize; pooled != (h.kept == cap(p)) {
			t.Errorf("of one of %d bytes %d are kept", cap(p), h.kept)
		}
		if again := h.get(n); n <= headSize && &again[:1][0] != &p[:1][0] || len(again) != 0 {
			t.Errorf("%d bytes are not used again", n)
		}
	}
	h.put(nil)
	h.put(make([]byte, 0, 1500))
	if h.kept != 0 {
		t.Errorf("%d bytes kept that were not lent", h.kept)
	}
}

// A burst's buffers are not kept.
func TestBuffersAreBounded(t *testing.T) {
	h := newBuffers(leastHead, headSizes)
	var lent [][]byte
	for range 4 * keptBytes / headSize {
		lent = append(lent, h.get(10), h.get(headSize))
	}
	for _, p := range lent {
		h.put(p)
	}
	if h.kept > keptBytes || h.kept < keptBytes-headSize {
		t.Errorf("%d bytes of heads kept", h.kept)
	}
	b := newBuffers(waitingSize, 1)
	lent = nil
	for range 2 * keptBytes / waitingSize {
		lent = append(lent, b.get(10))
	}
	for _, p := range lent {
		b.put(p)
	}
	b.put(make([]byte, 0, 1<<20))
	if len(b.free[0]) != keptBytes/waitingSize {
		t.Errorf("%d buffers kept", len(b.free[0]))
	}
	if p := b.get(1 << 20); cap(p) < 1<<20 || len(p) != 0 {
		t.Errorf("%d of %d bytes", len(p), cap(p))
	}
}
