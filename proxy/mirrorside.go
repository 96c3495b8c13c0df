package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// mirror is a copy of a request on its way to a Backend: it is the downstream of a flight
// of its own. What it takes is given by another flight, which never waits for it; the
// response goes nowhere.
type mirror struct {
	all     *mirrors
	client  exchange.Client
	request h1.Request
	flight  flight

	mu      sync.Mutex // guards what follows
	arrived []byte     // of the body, not handed out yet
	trailer []h1.Field
	ended   bool
	failed  error // the copy is cut

	readable signal
	handed   []byte // what next has returned, until await
	given    bool   // ... since rewind
	touched  bool   // await has thrown away what came first
	received int    // of the response
}

var errMirrorCut = errors.New("mirror is too slow")

// run sends the copy.
func (c *mirror) run() {
	f := &c.flight
	backend := f.Chosen.Backend
	defer c.all.release(c, backend)
	f.deadline = earlier(f.Deadline(), f.Report.Start.Add(maxMirrorTime))
	f.attemptBy = f.deadline
	f.continued = true
	f.forward()
	f.Observe(0, time.Now())
	if f.Report.Cause != exchange.CauseNone {
		c.all.server.stats.MirrorsCut.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = errMirrorCut
	}
	c.all.hold(-len(c.arrived) - len(c.handed))
	c.arrived, c.handed = nil, nil
}

// The methods of the flight that the request belongs to.

// give takes payload, if there is room for it.
func (c *mirror) give(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return
	}
	if len(c.arrived)+len(p) > maxMirrorLag || !c.all.hold(len(p)) {
		c.fail()
		return
	}
	c.arrived = append(c.arrived, p...)
	c.readable.notify()
}

// close takes the end of the request.
func (c *mirror) close(trailers []h1.Field) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended { // there was no body, and the copy may have read so
		return
	}
	c.ended, c.trailer = true, trailers
	c.readable.notify()
}

// cutShort cuts the copy unless the request is complete.
func (c *mirror) cutShort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.fail()
	}
}

// cut ends the copy.
func (c *mirror) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail()
}

// fail ends the copy. mu is held.
func (c *mirror) fail() {
	if c.failed == nil {
		c.failed = errMirrorCut
	}
	c.readable.notify()
}

// The methods of a downstream, for the copy's own flight.

func (c *mirror) next() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.given {
		c.given = true
		if len(c.handed) == 0 {
			c.handed, c.arrived = c.arrived, nil
		}
		if len(c.handed) > 0 {
			return c.handed, nil
		}
	}
	switch {
	case c.failed != nil:
		return nil, c.failed
	case len(c.arrived) > 0 || !c.ended:
		return nil, nil
	}
	return nil, io.EOF
}

func (c *mirror) await(limit time.Duration) error {
	until := time.Now().Add(limit)
	for !c.ready() {
		if !c.readable.wait(time.Until(until)) {
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

// ready forgets what next has returned, and reports whether it has something new to tell.
func (c *mirror) ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.given {
		c.all.hold(-len(c.handed))
		c.touched = c.touched || len(c.handed) > 0
		c.handed, c.given = nil, false
	}
	return len(c.arrived) > 0 || c.ended || c.failed != nil
}

func (c *mirror) complete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended && len(c.arrived) == 0 && (c.given || len(c.handed) == 0)
}

// gone reports whether the copy was cut.
func (c *mirror) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed != nil
}

func (c *mirror) interrupt()           { c.cut() } // the attempt has failed, and there is no other
func (c *mirror) trailers() []h1.Field { return c.trailer }
func (c *mirror) rewind()              { c.given = false }
func (c *mirror) resume() bool         { return !c.gone() }
func (c *mirror) replayable() bool     { return !c.touched }
func (c *mirror) bound(time.Time)      {}
func (c *mirror) draining() bool       { return false }

// write drops what the mirror answers.
func (c *mirror) write(p []byte) error {
	if c.received += len(p); c.received > maxMirrorResponse {
		return errMirrorCut
	}
	return nil
}

// answer notes that there was no response.
func (c *mirror) answer(a exchange.Answer, _ time.Time) error {
	c.flight.Report.Status, c.flight.Report.Cause = a.Status, a.Cause
	return nil
}

func (c *mirror) interim(*h1.Response) error         { return nil }
func (c *mirror) head(*h1.Response, time.Time) error { return nil }
func (c *mirror) end([]h1.Field) error               { return nil }
func (c *mirror) flush() error                       { return nil }
func (c *mirror) finish()                            {}
func (c *mirror) abort(exchange.Cause)               {}
func (c *mirror) upgrade(*h1.Response) (net.Conn, []byte, error) {
	return nil, nil, exchange.ErrNotAgreed
}
