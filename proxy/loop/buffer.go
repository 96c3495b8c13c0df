//go:build linux

package loop

import (
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

// buffers lends out slices of some capacities: least, and twice as much each. Heads need six of
// them: a program's takes one of the smallest, and a browser's an eighth of the largest. Pieces
// need one, as more comes behind what they begin with. A loop owns it.
type buffers struct {
	least int
	free  [][][]byte // by capacity
	kept  int        // bytes of them
}

func newBuffers(least, sizes int) buffers {
	return buffers{least: least, free: make([][][]byte, sizes)}
}

// sizeOf returns the smallest size that holds n bytes, and which one it is.
func (b *buffers) sizeOf(n int) (size, which int) {
	for size = b.least; size < n; size <<= 1 {
		which++
	}
	return size, which
}

// get returns an empty slice with a capacity of n at least.
func (b *buffers) get(n int) []byte {
	size, which := b.sizeOf(n)
	if which >= len(b.free) {
		return make([]byte, 0, n)
	}
	free := b.free[which]
	last := len(free) - 1
	if last < 0 {
		return make([]byte, 0, size)
	}
	p := free[last]
	free[last] = nil
	b.free[which] = free[:last]
	b.kept -= size
	return p
}

// put takes a slice back. Nothing may point into it any more.
func (b *buffers) put(p []byte) {
	size, which := b.sizeOf(cap(p))
	if cap(p) == size && which < len(b.free) && b.kept+size <= keptBytes {
		b.free[which] = append(b.free[which], p[:0])
		b.kept += size
	}
}

// input holds the bytes that were read from a client and not used yet, buf[r:]. What
// was taken stays in place until the exchange is over, so that heads may point into
// it.
type input struct {
	from *buffers
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
		n := len(unread) + len(p)
		if n > headSize {
			n += n / 2 // such come in many parts
		}
		in.buf = append(in.from.get(n), unread...)
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
