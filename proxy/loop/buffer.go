//go:build linux

package loop

import (
	"math/bits"
	"runtime"

	"golang.org/x/sys/unix"
)

// Sizes of buffers in bytes.
const (
	// headSize is how much of a head one read may bring: any usual one, and small bodies
	// with it. It waits in the smallest buffer that holds it, of leastHead doubled some times.
	headSize  = 8 << 10
	headSizes = 6
	leastHead = headSize >> (headSizes - 1)
	// smallHead is a part of a head that waits for the rest in as many bytes as it has.
	smallHead = 1 << 10
	// pieceSize is what one read of a body may bring: large enough that system calls
	// cost little beside the copying.
	pieceSize = 64 << 10
	// headroom stands before it, so that a response's new head can be put right
	// before its body where that was read to.
	headroom = 16 << 10
	// waitingSize holds what the kernel did not take of one piece with its head and
	// framing.
	waitingSize = pieceSize + headroom
	// keptBytes bounds the free buffers of a kind that a loop keeps: the rest is
	// left to the garbage collector after a burst. These are 512 heads of 8 KiB, or 51 pieces.
	keptBytes = 4 << 20
)

// pages returns n zeros for as long as l is reachable. Of those only the pages take memory that
// were ever written to, and most reads are far shorter than the longest; the collector's
// memory has often been used before, and then all of it is cleared, so it is written to.
func (l *loop) pages(n int) []byte {
	p, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return make([]byte, n)
	}
	runtime.AddCleanup(l, func(p []byte) { _ = unix.Munmap(p) }, p)
	return p
}

// heads lends out slices for what clients send first, which is little: a program's head is one
// of the smallest, and a browser's takes an eighth of the largest. A loop owns it.
type heads struct {
	free [headSizes][][]byte // by size: leastHead and on
	kept int                 // bytes of them
}

// get returns an empty slice with a capacity of n at least.
func (h *heads) get(n int) []byte {
	size := bits.Len(uint(max(n, 1)-1) / leastHead) //nolint:gosec // Not negative.
	if size >= headSizes {
		return make([]byte, 0, leastHead<<size)
	}
	free := h.free[size]
	last := len(free) - 1
	if last < 0 {
		return make([]byte, 0, leastHead<<size)
	}
	p := free[last]
	free[last] = nil
	h.free[size] = free[:last]
	h.kept -= cap(p)
	return p
}

// put takes a slice back. Nothing may point into it any more.
func (h *heads) put(p []byte) {
	size := bits.Len(uint(cap(p)) / leastHead >> 1)
	if cap(p) == leastHead<<size && size < headSizes && h.kept+cap(p) <= keptBytes {
		h.free[size] = append(h.free[size], p[:0])
		h.kept += cap(p)
	}
}

// buffers lends out slices of one capacity. A loop owns it.
type buffers struct {
	size int
	free [][]byte
}

// get returns an empty slice with a capacity of n at least.
func (b *buffers) get(n int) []byte {
	if last := len(b.free) - 1; last >= 0 && n <= b.size {
		p := b.free[last]
		b.free[last] = nil
		b.free = b.free[:last]
		return p
	}
	return make([]byte, 0, max(n, b.size))
}

// put takes a slice back. Nothing may point into it any more.
func (b *buffers) put(p []byte) {
	if cap(p) == b.size && len(b.free) < keptBytes/b.size {
		b.free = append(b.free, p[:0])
	}
}

// input holds the bytes that were read from a client and not used yet, buf[r:]. What
// was taken stays in place until the exchange is over, so that heads may point into
// it.
type input struct {
	from *heads
	buf  []byte
	r    int
}

func (in *input) unread() []byte { return in.buf[in.r:] }

// push adds bytes that come after the unread ones. When there is no room, a larger buffer
// takes the place of the old one, which belongs to whoever still points into it.
func (in *input) push(p []byte) {
	if len(p) == 0 {
		return
	}
	if cap(in.buf)-len(in.buf) < len(p) {
		unread := in.unread()
		in.buf = append(in.from.get(len(unread)+len(p)), unread...)
		in.r = 0
	}
	in.buf = append(in.buf, p...)
}

// shrink keeps the unread bytes in no more room than they need. Nothing may point into
// the buffer any more.
func (in *input) shrink() {
	unread := in.unread()
	if cap(in.buf) == len(unread) {
		return // as before
	}
	small := append(make([]byte, 0, len(unread)), unread...)
	in.from.put(in.buf)
	in.buf, in.r = small, 0
}

// compact gives back what is not needed for the unread bytes. Nothing may point into
// the buffer any more.
func (in *input) compact() {
	unread := in.unread()
	switch {
	case len(unread) == 0:
		if in.buf != nil {
			in.from.put(in.buf)
			in.buf = nil
		}
	case cap(in.buf) > headSize && len(unread) <= headSize:
		in.buf = append(in.from.get(len(unread)), unread...)
	default:
		in.buf = in.buf[:copy(in.buf, unread)]
	}
	in.r = 0
}

// discard gives everything back.
func (in *input) discard() {
	in.r = len(in.buf)
	in.compact()
}
