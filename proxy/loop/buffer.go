//go:build linux

package loop

// Sizes of buffers in bytes.
const (
	// headSize holds any usual request head, and small bodies with it.
	headSize = 8 << 10
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
	// keptBytes bounds the free buffers of a size that a loop keeps: the rest is
	// left to the garbage collector after a burst. These are 512 heads, or 51 pieces.
	keptBytes = 4 << 20
)

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
	from *buffers
	buf  []byte
	r    int
}

func (in *input) unread() []byte { return in.buf[in.r:] }

// room returns where to read to; added takes what was read. When there is no room, a
// larger buffer takes the place of the old one, which belongs to whoever still points
// into it.
func (in *input) room() []byte {
	if in.buf == nil {
		in.buf = in.from.get(in.from.size)
	}
	if len(in.buf) == cap(in.buf) {
		in.grow(cap(in.buf))
	}
	return in.buf[len(in.buf):cap(in.buf)]
}

func (in *input) added(n int) { in.buf = in.buf[:len(in.buf)+n] }

// push adds bytes that come after the unread ones.
func (in *input) push(p []byte) {
	if len(p) == 0 {
		return
	}
	if cap(in.buf)-len(in.buf) < len(p) {
		in.grow(len(p))
	}
	in.buf = append(in.buf, p...)
}

func (in *input) grow(n int) {
	unread := in.unread()
	in.buf = append(in.from.get(len(unread)+n), unread...)
	in.r = 0
}

// shrink keeps the unread bytes in no more room than they need. Nothing may point into
// the buffer any more.
func (in *input) shrink() {
	unread := in.unread()
	if cap(in.buf) < in.from.size && in.r == 0 {
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
	case cap(in.buf) > in.from.size && len(unread) <= in.from.size:
		in.buf = append(in.from.get(in.from.size), unread...)
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
