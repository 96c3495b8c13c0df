package proxy

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// readBody is the body of a request as it is read from a stream that has nothing else:
// what a downstream needs of it.
type readBody struct {
	server *Server
	from   io.Reader
	length int64 // in bytes; -1 is until from ends
	// ended says what an error of from means, io.EOF included: what next says after all
	// that was read, and not nil.
	ended  func(error) error
	readBy deadline

	// buf[r:n] was read and not handed out yet. What was handed out stays in buf until
	// that is full, so that it can be sent again.
	buf     []byte
	bufFrom *[]byte // it is lent
	r, n    int
	total   int64 // bytes read
	lost    bool  // what was handed out cannot be handed out again
	failed  error // what next says after buf[:n]
	last    []h1.Field
	stopped atomic.Bool
}

// forget readies b for the next body.
func (b *readBody) forget() {
	if b.bufFrom != nil {
		b.server.bodies.put(b.bufFrom)
	}
	b.buf, b.bufFrom = nil, nil
	b.r, b.n, b.total, b.lost, b.failed, b.last = 0, 0, 0, false, nil, b.last[:0]
	b.stopped.Store(false)
	b.readBy.forget()
}

// next implements downstream.
func (b *readBody) next() ([]byte, error) {
	if b.r < b.n {
		data := b.buf[b.r:b.n]
		b.r = b.n
		return data, nil
	}
	return nil, b.failed
}

// await implements downstream.
func (b *readBody) await(limit time.Duration) error {
	b.readBy.extend(time.Now(), limit)
	if b.stopped.Load() {
		return errInterrupted
	}
	return b.read()
}

// read reads more of the body, and returns when there is some, or an error for which
// isTimeout holds. Others are for next.
func (b *readBody) read() error {
	if b.bufFrom == nil {
		b.bufFrom = b.server.bodies.get()
		b.buf = *b.bufFrom
	}
	if b.n == len(b.buf) {
		b.r, b.n, b.lost = 0, 0, true
	}
	for b.failed == nil {
		n, err := b.from.Read(b.room())
		b.n += n
		b.total += int64(n)
		switch {
		case isTimeout(err):
			// It may have stopped inside a frame's head, of which it remembers nothing.
			b.lost, b.failed = true, err
			return err
		case err != nil:
			b.failed = b.ended(err)
		}
		if b.failed == nil && b.total == b.length {
			b.failed = io.EOF // without waiting for the end of the stream
		}
		if n > 0 {
			return nil
		}
	}
	return nil
}

// room is where to read to: not beyond the end of the body.
func (b *readBody) room() []byte {
	room := b.buf[b.n:]
	if left := b.length - b.total; b.length >= 0 && left < int64(len(room)) {
		room = room[:left]
	}
	return room
}

func (b *readBody) trailers() []h1.Field { return b.last }
func (b *readBody) complete() bool       { return b.r == b.n && b.failed == io.EOF }
func (b *readBody) replayable() bool     { return !b.lost }

func (b *readBody) rewind() {
	b.r = 0
	b.resume()
}

// resume implements downstream. A read that was interrupted is lost, see read.
func (b *readBody) resume() bool {
	if b.stopped.Swap(false) {
		b.readBy.forget()
	}
	return !isTimeout(b.failed)
}

func (b *readBody) interrupt() {
	b.stopped.Store(true)
	_ = b.readBy.set(past) // it fails on a stream that is gone
}
