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
	stop    signal      // wakes await when stopped is set
	reading bool        // a read goes on that await has started
	got     chan piece  // what it brings
	long    atomic.Bool // too much came for any of it to be sent again
}

// piece is what one read brings.
type piece struct {
	n   int
	err error
}

// init readies b for its first body.
func (b *readBody) init(s *Server, ended func(error) error, setReadDeadline func(time.Time) error) {
	b.server, b.ended, b.readBy.set = s, ended, setReadDeadline
	b.stop, b.got = newSignal(), make(chan piece, 1)
}

// forget readies b for the next body.
func (b *readBody) forget() {
	if b.reading {
		_ = b.readBy.set(past)
		<-b.got
		b.reading = false
	}
	if b.bufFrom != nil {
		b.server.bodies.put(b.bufFrom)
	}
	b.buf, b.bufFrom = nil, nil
	b.n, b.total, b.lost, b.failed, b.last = 0, 0, false, nil, b.last[:0]
	b.rewind()
	b.long.Store(false)
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

// await implements downstream. As long as the body may be sent again, a read goes on when it is
// interrupted, for the next await to take what it brings: http3 does not remember where in the
// head of a frame a deadline has ended a read.
func (b *readBody) await(limit time.Duration) error {
	b.readBy.extend(time.Now(), limit)
	b.long.Store(b.total > maxReplay)
	switch {
	case b.stopped.Load():
		return errInterrupted
	case b.failed != nil:
		return nil
	case b.reading:
	case b.long.Load():
		return b.read()
	default:
		b.reading = true
		room := b.room()
		go func() { b.got <- b.fetch(room) }()
	}
	select {
	case got := <-b.got:
		b.reading = false
		return b.take(got)
	case <-b.stop.c:
		return errInterrupted
	}
}

// read reads more of the body, and returns when there is some, or an error for which
// isTimeout holds. Others are for next.
func (b *readBody) read() error { return b.take(b.fetch(b.room())) }

// fetch reads what comes next.
func (b *readBody) fetch(room []byte) (got piece) {
	for got.n == 0 && got.err == nil {
		got.n, got.err = b.from.Read(room)
	}
	return got
}

// take adds a piece that is in room.
func (b *readBody) take(got piece) error {
	b.n += got.n
	b.total += int64(got.n)
	switch {
	case isTimeout(got.err):
		b.failed = got.err
		return got.err
	case got.err != nil:
		b.failed = b.ended(got.err)
	case b.total == b.length:
		b.failed = io.EOF // without waiting for the end of the stream
	}
	return nil
}

// room is where to read to: not beyond the end of the body. There is always some.
func (b *readBody) room() []byte {
	if b.bufFrom == nil {
		b.bufFrom = b.server.bodies.get()
		b.buf = *b.bufFrom
	}
	if b.n == len(b.buf) {
		b.r, b.n, b.lost = 0, 0, true
	}
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

// resume implements downstream. A read that a deadline has ended is lost, see await.
func (b *readBody) resume() bool {
	if b.stopped.Swap(false) {
		b.stop.clear()
		b.readBy.forget()
	}
	return !isTimeout(b.failed)
}

func (b *readBody) interrupt() {
	b.stopped.Store(true)
	b.stop.notify()
	if b.long.Load() {
		_ = b.readBy.set(past) // it fails on a stream that is gone
	}
}
