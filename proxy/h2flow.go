package proxy

import (
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
)

// keptArrival bounds the buffers for payload that a stream keeps for the next one, in
// bytes.
const keptArrival = 32 << 10

// h2Flow is the payload of one stream in both directions. What has arrived waits in
// memory until it is used, which is when the peer may send more: at most one stream
// window a stream, and one connection window a connection (see [h2.Settings]).
type h2Flow struct {
	link *h2Link
	id   uint32

	// Guarded by link.mu.
	arrived []byte
	heads   []h2.Response // of a response, interim ones and then the final one
	trailer []h1.Field
	ended   bool  // the peer has sent all
	err     error // the stream is over: reset, or the connection gone
	blocked bool  // it is in link.blocked
	told    bool  // the codec has all that the peer gets of a response or a tunnel

	// Of whoever reads.
	readable signal
	handed   []byte // what next has returned since await
	given    bool   // ... since rewind
	started  bool   // handed holds what came first
	touched  bool   // await has thrown away what came first
	stopped  atomic.Bool

	// Of whoever writes.
	writable signal
	latest   time.Time // no write may last beyond; zero for no such time
	rate     int64     // least bytes a second that the peer must take; 0 for any
	pace     exchange.Pace
	pending  []byte // payload that waits for more, or for the end
}

// reset readies a flow for a stream.
func (f *h2Flow) reset(l *h2Link) {
	arrived, handed := f.arrived[:0], f.handed[:0]
	if cap(arrived) > keptArrival {
		arrived = nil
	}
	if cap(handed) > keptArrival {
		handed = nil
	}
	readable, writable := f.readable, f.writable
	if readable.c == nil {
		readable, writable = newSignal(), newSignal()
	}
	readable.clear()
	writable.clear()
	clear(f.trailer)
	trailer := f.trailer[:0]
	f.link, f.id = l, 0
	f.arrived, f.handed, f.trailer = arrived, handed, trailer
	clear(f.heads)
	f.heads, f.pending = f.heads[:0], nil
	f.ended, f.err, f.blocked, f.told = false, nil, false, false
	f.latest = time.Time{}
	f.rate, f.pace = 0, exchange.Pace{}
	f.given, f.started, f.touched = false, false, false
	f.stopped.Store(false)
	f.readable, f.writable = readable, writable
}

// The methods of the link's reader. mu is held.

// receive takes payload, and maybe the end.
func (f *h2Flow) receive(e *h2.Event) {
	if f.err != nil {
		f.link.codec.Consumed(f.id, len(e.Data))
		return
	}
	f.arrived = append(f.arrived, e.Data...)
	f.trailer = append(f.trailer, e.Fields...)
	f.ended = f.ended || e.End
	f.readable.notify()
}

// over notes that the stream is over.
func (f *h2Flow) over(err error) {
	if f.err == nil {
		f.err = err
	}
	f.readable.notify()
	f.writable.notify()
}

// forget gets rid of what was not read, as nobody reads or writes any more. mu is held.
func (f *h2Flow) forget() {
	if f.blocked {
		f.blocked = false
		f.link.blocked = slices.DeleteFunc(f.link.blocked, func(other *h2Flow) bool { return other == f })
	}
	f.link.codec.Consumed(f.id, len(f.arrived)+len(f.handed))
	f.arrived, f.handed = f.arrived[:0], f.handed[:0]
}

// The methods of whoever reads.

// next returns payload that is there. See downstream and upstream.
func (f *h2Flow) next() ([]byte, error) {
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	if !f.given {
		f.given = true
		if !f.started {
			f.started = true
			f.arrived, f.handed = f.handed[:0], f.arrived
		}
		if len(f.handed) > 0 {
			return f.handed, nil
		}
	}
	switch {
	case len(f.arrived) > 0:
		return nil, nil
	case f.ended:
		return nil, io.EOF
	}
	return nil, f.err
}

// complete reports whether next has nothing more to tell than io.EOF.
func (f *h2Flow) complete() bool {
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	return f.ended && len(f.arrived) == 0 && (f.given || len(f.handed) == 0)
}

func (f *h2Flow) trailers() []h1.Field { return f.trailer }
func (f *h2Flow) replayable() bool     { return !f.touched }

func (f *h2Flow) rewind() {
	f.given = false
	f.resume()
}

func (f *h2Flow) resume() bool {
	f.stopped.Store(false)
	return true
}

// waitFor waits until next has something, or until a time.
func (f *h2Flow) waitFor(until time.Time) error {
	for {
		if f.ready() {
			return nil
		}
		if f.stopped.Load() {
			return errInterrupted
		}
		if !f.readable.wait(time.Until(until)) {
			return os.ErrDeadlineExceeded
		}
	}
}

// ready gets rid of what next has returned, which lets the peer send more, and reports
// whether there is something new.
func (f *h2Flow) ready() bool {
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	if f.given {
		if len(f.handed) > 0 {
			f.link.codec.Consumed(f.id, len(f.handed))
			f.handed = f.handed[:0]
			f.touched = true
			f.link.flush()
		}
		f.given, f.started = false, false
	}
	return len(f.arrived) > 0 || len(f.heads) > 0 || f.ended || f.err != nil
}

func (f *h2Flow) interrupt() {
	f.stopped.Store(true)
	f.readable.notify()
}

// The methods of whoever writes.

// send gives payload to the codec, and waits for room where the peer leaves none. It returns how
// much the codec took. mu is held, but not while it waits.
func (f *h2Flow) send(p []byte, fin h2.Fin) (taken int, err error) {
	l := f.link
	until := f.patience()
	var since time.Time // when the wait for room began; zero while there is none
	for {
		if err := f.failure(); err != nil {
			return taken, err
		}
		n, err := l.codec.WriteData(f.id, p, fin)
		if err != nil {
			return taken, errStreamOver
		}
		taken += n
		if n > 0 && !since.IsZero() {
			if f.pace.Waited(time.Since(since), n, f.rate) {
				return taken, os.ErrDeadlineExceeded
			}
			since = time.Time{}
		}
		if p = p[n:]; len(p) == 0 {
			return taken, nil
		}
		if n > 0 {
			until = f.patience()
		}
		if !l.writing && len(l.codec.Output()) > 0 {
			l.flush()
			continue
		}
		if !f.blocked {
			f.blocked = true
			l.blocked = append(l.blocked, f)
		}
		if since.IsZero() {
			since = time.Now()
		}
		l.mu.Unlock()
		woken := f.writable.wait(time.Until(until))
		l.mu.Lock()
		if !woken {
			return taken, os.ErrDeadlineExceeded
		}
	}
}

// patience is until when the peer may leave no room.
func (f *h2Flow) patience() time.Time {
	until := time.Now().Add(f.link.server.settings.BodyTimeout)
	if f.latest.IsZero() {
		return until
	}
	return earlier(until, f.latest)
}

// failure says why nothing can be written. mu is held.
func (f *h2Flow) failure() error {
	if f.err != nil {
		return f.err
	}
	return f.link.err
}
