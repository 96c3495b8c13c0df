package proxy

import (
	"slices"
	"sync/atomic"

	"github.com/lintel-dev/lintel/proxy/h1"
)

// maxReplay bounds what is kept of a request's body to be sent again, in bytes: what fits
// counts as retried by Rules that want it, larger bodies are sent once. So are those that
// there is no memory for.
const maxReplay = 64 << 10

// replay is a downstream that keeps the payload of the request.
type replay struct {
	downstream
	tape    []byte
	limit   int // of tape
	taken   int // bytes of memory that are reserved for it
	at      int // how much of it was handed out in this attempt
	started bool
	lost    atomic.Bool // more came than is kept
}

// keepBody keeps the body if the Rule may want it again.
func (f *flight) keepBody() (restore func()) {
	kept := f.replay.downstream != nil
	if f.retry() == nil || f.retry().Attempts <= 0 || f.Request.Framing == h1.NoBody {
		return func() {}
	}
	if !kept && f.Request.Framing == h1.Length && f.Request.Length > maxReplay || !f.keep(maxReplay) {
		f.replay.lost.Store(true)
		return func() {}
	}
	if kept {
		return func() {} // below what translates it
	}
	return f.unkeep
}

// keep puts f.replay between the client and the flight, so that limit bytes of the body,
// at least, can be read once more. It reports false when there is no memory for them.
func (f *flight) keep(limit int) bool {
	r := &f.replay
	limit = max(r.limit, limit)
	need := limit
	if f.Request.Framing == h1.Length {
		need = int(min(int64(need), f.Request.Length))
	}
	if more := need - r.taken; more > 0 {
		if !f.Pressure.Reserve(more) {
			return false
		}
		r.taken = need
	}
	r.limit = limit
	if r.downstream == nil {
		r.downstream, r.at, r.started = f.down, 0, false
		f.down = r
	}
	return true
}

// unkeep undoes keep, if it was done.
func (f *flight) unkeep() {
	r := &f.replay
	f.Pressure.Return(r.taken)
	r.limit, r.taken = 0, 0
	if r.downstream != nil {
		f.down = r.downstream
		r.downstream, r.tape = nil, nil
	}
}

func (r *replay) next() ([]byte, error) {
	if r.at < len(r.tape) {
		data := r.tape[r.at:]
		r.at = len(r.tape)
		return data, nil
	}
	data, err := r.downstream.next()
	switch {
	case len(data) == 0 || r.lost.Load():
	case len(r.tape)+len(data) > r.limit:
		r.lost.Store(true)
		r.tape, r.at = nil, 0 // all of it was handed out
	default:
		r.record(data)
	}
	return data, err
}

// record adds to the tape. What is more than one piece may become as long as is allowed: growing
// by doubling would leave as much garbage behind.
func (r *replay) record(data []byte) {
	if size := len(r.tape) + len(data); size > cap(r.tape) {
		if len(r.tape) > 0 {
			size = r.limit
		}
		r.tape = append(make([]byte, 0, size), r.tape...)
	}
	r.tape = append(r.tape, data...)
	r.at = len(r.tape)
}

func (r *replay) complete() bool       { return r.at == len(r.tape) && r.downstream.complete() }
func (r *replay) trailers() []h1.Field { return slices.Clone(r.downstream.trailers()) }
func (r *replay) replayable() bool     { return !r.lost.Load() && r.resume() }

// rewind implements downstream. What the client's side itself has handed out is on the tape.
func (r *replay) rewind() {
	r.at = 0
	if r.started {
		r.resume()
		return
	}
	r.started = true
	r.downstream.rewind()
}
