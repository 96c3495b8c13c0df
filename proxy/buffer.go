package proxy

import "sync"

// Sizes of buffers in bytes.
const (
	// headSize holds any usual request head, and small bodies with it.
	headSize = 8 << 10
	// bodySize is a piece of a body: large enough that system calls cost little
	// beside the copying.
	bodySize = 32 << 10
	// outputSize holds a head and a piece of a body, so that they go out together.
	outputSize = bodySize + headSize
)

// input holds the bytes that were read from a connection and not yet used,
// buf[r:w]. What was taken from it stays in place until compact, so that parsed
// heads may point into it.
type input struct {
	buf   []byte
	r, w  int
	small []byte // the buffer to go back to after a large one
}

func newInput(buf []byte) input { return input{buf: buf, small: buf} }

func (in *input) unread() []byte { return in.buf[in.r:in.w] }

// room returns where to read to. When buf is full, a larger one takes its place
// and the old one belongs to whoever still points into it.
func (in *input) room() []byte {
	if in.w == len(in.buf) {
		in.grow(len(in.buf))
	}
	return in.buf[in.w:]
}

// push adds bytes that come after the unread ones.
func (in *input) push(p []byte) {
	if len(in.buf)-in.w < len(p) {
		in.grow(len(p))
	}
	in.w += copy(in.buf[in.w:], p)
}

func (in *input) grow(n int) {
	larger := make([]byte, len(in.unread())+n)
	in.w = copy(larger, in.unread())
	in.r = 0
	in.buf = larger
}

// compact moves what is unread to the front, of the small buffer if it fits.
// Nothing may point into buf any more.
func (in *input) compact() {
	to := in.buf
	if in.w-in.r <= len(in.small) {
		to = in.small
	}
	in.w = copy(to, in.unread())
	in.r = 0
	in.buf = to
}

// buffers lends out slices of one size.
type buffers struct{ free sync.Pool }

func newBuffers(size int) *buffers {
	return &buffers{free: sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}}
}

func (b *buffers) get() *[]byte  { return b.free.Get().(*[]byte) }
func (b *buffers) put(p *[]byte) { b.free.Put(p) }
