package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// h1Upstream is one HTTP/1.1 connection to an endpoint. It belongs to one exchange at a
// time, or to the pool.
type h1Upstream struct {
	conn     net.Conn
	wire     net.Conn // conn, or what lies below its TLS
	peek     *peek
	endpoint *router.Endpoint
	pool     *pool
	readBy   deadline
	writeBy  deadline
	born     time.Time
	single   bool        // it serves one client alone
	recycled bool        // it came from the pool
	since    time.Time   // when it became idle
	later    *h1Upstream // in its idle list

	// Of the exchange.
	limit    time.Time // no write may last beyond
	framing  h1.Framing
	out      []byte // of the request, to be sent
	outFrom  *[]byte
	in       input // bytes of the response
	inFrom   *[]byte
	payload  h1.Body // of the response
	begun    bool    // its head has come
	persists bool    // the connection can be used again, as far as the response says
	ended    bool    // the endpoint has closed where the response may end so

	writing sync.Mutex // held during a write, and guards lost
	lost    bool       // a write has got the error of a reset, and a read gets an end in place of it
}

// dial connects to an endpoint, and sends preface.
func (p *pool) dial(endpoint *router.Endpoint, limit time.Duration, preface []byte) (*h1Upstream, error) {
	ctx, cancel := context.WithTimeout(p.dialing, limit)
	defer cancel()
	conn, err := p.connect(ctx, endpoint, preface)
	if err != nil {
		return nil, err
	}
	return p.newH1Upstream(endpoint, conn, conn), nil
}

// newH1Upstream takes over a connection; wire is what lies below its TLS, or conn.
func (p *pool) newH1Upstream(endpoint *router.Endpoint, conn, wire net.Conn) *h1Upstream {
	return &h1Upstream{
		conn:     conn,
		wire:     wire,
		peek:     newPeek(wire),
		endpoint: endpoint,
		pool:     p,
		born:     time.Now(),
		readBy:   readDeadline(conn),
		writeBy:  writeDeadline(conn),
	}
}

// close ends the connection. The pool or drop calls it once.
func (u *h1Upstream) close() {
	u.conn.Close()
	u.pool.closed(u.endpoint)
}

// quiet reports whether an idle connection can be used: it is open, as far as we
// were told, and nothing is there to read.
func (u *h1Upstream) quiet() bool { return !u.peek.readable() }

func (u *h1Upstream) to() *router.Endpoint   { return u.endpoint }
func (u *h1Upstream) reused() bool           { return u.recycled }
func (u *h1Upstream) bound(latest time.Time) { u.limit = latest }

// open implements upstream, and gets what the exchange reads and writes through.
func (u *h1Upstream) open(x *exchange.Exchange) {
	u.borrow()
	u.begun, u.persists, u.ended = false, false, false
	u.framing = x.Request.Framing
	u.out = x.AppendRequest(u.out, u.endpoint.Addr)
}

func (u *h1Upstream) borrow() {
	s := u.pool.server
	u.inFrom = s.bodies.get()
	u.in = newInput(*u.inFrom)
	u.borrowOut()
}

func (u *h1Upstream) borrowOut() {
	u.outFrom = u.pool.server.outputs.get()
	u.out = (*u.outFrom)[:0]
}

func (u *h1Upstream) giveBack() {
	if u.inFrom != nil {
		u.pool.server.bodies.put(u.inFrom)
		u.inFrom, u.in = nil, input{}
	}
	u.giveBackOut()
}

func (u *h1Upstream) giveBackOut() {
	if u.outFrom != nil {
		u.pool.server.outputs.put(u.outFrom)
		u.outFrom, u.out = nil, nil
	}
}

// room implements upstream: the least that socket buffers hold.
func (u *h1Upstream) room() int { return headSize }

func (u *h1Upstream) write(p []byte) error {
	if u.outFrom == nil {
		u.borrowOut()
	}
	if u.framing == h1.Chunked {
		u.out = h1.AppendChunk(u.out, p)
	} else {
		u.out = append(u.out, p...)
	}
	return nil
}

func (u *h1Upstream) end(trailers []h1.Field) error {
	if u.framing == h1.Chunked {
		if u.outFrom == nil {
			u.borrowOut()
		}
		u.out = h1.AppendLastChunk(u.out, trailers)
	}
	return nil
}

func (u *h1Upstream) flush() error {
	if len(u.out) == 0 {
		return nil
	}
	u.writeBy.within(time.Now(), u.pool.server.settings.BodyTimeout, u.limit)
	u.writing.Lock()
	n, err := u.conn.Write(u.out)
	u.lost = u.lost || errors.Is(err, syscall.ECONNRESET)
	u.writing.Unlock()
	u.giveBackOut()
	if err != nil && n == 0 {
		return unsentError{err}
	}
	return err
}

// unsentError is why an endpoint got nothing of a request, or did nothing with it.
type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }

func isUnsent(err error) bool {
	_, ok := errors.AsType[unsentError](err)
	return ok
}

func (u *h1Upstream) head(res *h1.Response, method string) (bool, error) {
	if u.in.r > 0 { // behind an interim head
		u.in.compact()
	}
	limits := u.pool.server.settings.Limits
	n, err := res.Parse(u.in.unread(), limits, method)
	if n == 0 || err != nil {
		return false, err
	}
	u.in.r += n
	if res.Status >= 200 {
		u.begun = true
		u.persists = res.KeepAlive && res.Framing != h1.UntilClose
		u.payload.Reset(res.Framing, res.Length, limits)
	}
	return true, nil
}

func (u *h1Upstream) next() ([]byte, error) {
	for !u.payload.Done() {
		n, data, err := u.payload.Next(u.in.unread())
		u.in.r += n
		switch {
		case len(data) > 0 && err == nil:
			return data, nil
		case err != nil:
			return data, err
		case n == 0 && u.ended:
			return nil, io.EOF
		case n == 0:
			return nil, nil
		}
	}
	return nil, io.EOF
}

func (u *h1Upstream) trailers() []h1.Field { return u.payload.Trailers() }

// await implements upstream. A connection that ends is the end of a response that
// lasts until then; a reset is not, and neither is that we have closed it.
func (u *h1Upstream) await(now, latest time.Time) error {
	if u.begun {
		u.in.compact()
	}
	u.readBy.wake(now, latest)
	n, err := u.conn.Read(u.in.room())
	u.in.w += n
	switch {
	case n > 0:
		return nil
	case err == io.EOF && u.begun && u.payload.EOF() == nil:
		if u.wasReset() {
			return syscall.ECONNRESET
		}
		u.ended = true
		return nil
	}
	return err
}

// wasReset reports whether the end that was read is a reset: the kernel tells of it once, and
// maybe in a write. After an end in order the error of writes is EPIPE.
func (u *h1Upstream) wasReset() bool {
	if !u.writing.TryLock() {
		if !broken(u.wire) {
			return false // that write goes on, and may for long
		}
		u.writing.Lock()
	}
	defer u.writing.Unlock()
	return u.lost
}

func (u *h1Upstream) tunnel() (conn net.Conn, early []byte) {
	u.readBy.exactly(time.Time{})
	early = append([]byte(nil), u.in.unread()...)
	u.giveBack() // the tunnel may last, and has smaller buffers
	return u.conn, early
}

func (u *h1Upstream) cancel() { u.wire.Close() }

func (u *h1Upstream) breakOff() {
	resetOnClose(u.wire)
	u.cancel()
}

func (u *h1Upstream) drop() {
	u.giveBack()
	u.close()
}

func (u *h1Upstream) release(now time.Time) {
	if u.single || !u.persists || now.Sub(u.born) >= u.pool.server.settings.UpstreamMaxAge || !u.payload.Done() || len(u.in.unread()) > 0 {
		u.drop()
		return
	}
	u.giveBack()
	u.pool.put(u, now)
}
