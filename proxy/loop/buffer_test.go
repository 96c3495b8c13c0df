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
	from := &buffers{size: 64}
	in := input{from: from}
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
			room := in.room()
			if len(room) == 0 {
				t.Fatal("no room")
			}
			n := random.IntN(len(room) + 1)
			fill(room[:n])
			in.added(n)
		case 1:
			p := make([]byte, random.IntN(100))
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

// A burst's buffers are not kept.
func TestBuffersAreBounded(t *testing.T) {
	b := buffers{size: headSize}
	var lent [][]byte
	for range 4 * keptBytes / headSize {
		lent = append(lent, b.get(10))
	}
	for _, p := range lent {
		b.put(p)
	}
	b.put(make([]byte, 0, 1<<20))
	if len(b.free) != keptBytes/headSize {
		t.Errorf("%d buffers kept", len(b.free))
	}
	if p := b.get(1 << 20); cap(p) < 1<<20 || len(p) != 0 {
		t.Errorf("%d of %d bytes", len(p), cap(p))
	}
}
