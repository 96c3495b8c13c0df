//go:build linux

package loop

import (
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// server is the side of a flight that answers its request: a connection that speaks
// HTTP/1.1, or a [call] on one that speaks HTTP/2. There is another one for each attempt,
// from before it is connected.
type server interface {
	// to is the endpoint.
	to() *router.Endpoint
	// served reports whether the connection had served before, so that the endpoint may
	// have closed it already when the request was sent.
	served() bool
	// waited ends the wait for the connection, as the Backend counts it.
	waited()

	// chunks reports whether a body of unknown length goes upstream in chunks; if not, its
	// payload does.
	chunks() bool
	// appendHead appends the request's head, and begin sends it with what has come of the
	// body behind it. Over HTTP/2 the head is made by begin alone.
	appendHead(dst []byte) []byte
	begin(out []byte) begun
	// send sends more of the body. It reports false when nothing more is taken.
	send(out []byte) bool
	// pending is how much of what was sent waits, and stuck since when.
	pending() int
	stuck() int64
	// deaf reports whether nothing more is taken, and deafen makes it so.
	deaf() bool
	deafen()
	// closeWrite tells the upstream of a tunnel that the client has ended.
	closeWrite()
	// reset makes it see an error when it is closed.
	reset()

	// receive reads what there is of the response, and passes it on.
	receive()
	// release says that the head of the response was passed on.
	release()
	// trailers returns those of the response that may be passed on.
	trailers() []h1.Field

	// put ends an attempt whose request and response are complete, and close another one.
	put()
	close()
}

// begun is how far the beginning of a request got.
type begun uint8

const (
	begunWhole   begun = iota
	begunPart          // the rest waits
	begunCut           // the upstream took a part, and takes nothing more
	begunNothing       // ... took nothing
)

// inChunks reports whether the request's body goes upstream in chunks.
func (f *flight) inChunks() bool { return f.request.Framing == h1.Chunked && f.up.chunks() }

// trailers are those of the response that the client gets.
func (f *flight) trailers() []h1.Field {
	if f.up == nil {
		return nil
	}
	return f.up.trailers()
}

// A connection that speaks HTTP/1.1 as a server.

func (u *upstream) to() *router.Endpoint { return u.endpoint }
func (u *upstream) served() bool         { return u.reused }
func (u *upstream) chunks() bool         { return true }
func (u *upstream) stuck() int64         { return u.moved }
func (u *upstream) deaf() bool           { return u.failed }
func (u *upstream) put()                 { u.loop.put(u) }
func (u *upstream) closeWrite()          { shutdownWrite(u.fd) }

func (u *upstream) deafen() {
	u.discard()
	u.failed = true
}

func (u *upstream) appendHead(dst []byte) []byte { return u.flight.AppendRequest(dst, u.endpoint.Addr) }

func (u *upstream) begin(out []byte) begun {
	// With more of the body to come the flight has to know how far this got.
	if u.unsettled = u.flight.body.complete() && u.mayGather(len(out)); u.unsettled {
		u.gather(out)
		return begunWhole
	}
	n, ok := u.write(out)
	switch {
	case !ok && n == 0:
		return begunNothing
	case !ok:
		return begunCut
	case n < len(out):
		u.wait(out[n:])
		return begunPart
	}
	return begunWhole
}

func (u *upstream) trailers() []h1.Field {
	f := u.flight
	f.DropResponseTrailers(&f.payload, &f.response)
	return f.payload.Trailers()
}

// receive implements server.
func (u *upstream) receive() {
	if u.unsettled {
		return // what has come is no answer to a request that was not sent; see ready
	}
	f := u.flight
	for range piecesPerTurn {
		if f.down.pending() > 0 {
			return
		}
		n, outcome := u.read(u.room())
		switch outcome {
		case dry:
			return
		case end, breach:
			f.upstreamEnds(outcome)
			return
		}
		if !u.take(u.added(n)) {
			return
		}
	}
	u.loop.resume(&u.conn)
}

// take goes on with bytes from the upstream, and reports whether to read more.
func (u *upstream) take(data []byte) bool {
	f := u.flight
	if f.stage == awaiting {
		f.responded = true
		return u.readHeads(data)
	}
	f.progress = f.loop.now
	return f.passOn(data, payload)
}

// readHeads reads what data has of the response's head, and of interim ones before it.
func (u *upstream) readHeads(data []byte) bool {
	f := u.flight
	for len(data) > 0 {
		n, err := f.response.Parse(data, f.Settings.Limits, f.request.Method)
		if err != nil {
			f.attemptFails(exchange.CauseUpstreamInvalid)
			return false
		}
		if n == 0 {
			u.keep(data)
			return true
		}
		data = data[n:]
		switch f.judge() {
		case headRefused:
			return false
		case headAgrees:
			return f.open(data)
		case headFinal:
			return u.deliver(data)
		}
	}
	u.release()
	return true
}

// deliver sends the final response to the client: its head, and what came of the body.
func (u *upstream) deliver(data []byte) bool {
	f := u.flight
	f.respond()
	f.payload.Reset(f.response.Framing, f.response.Length, f.Settings.Limits)
	if !f.passOn(data, headToo) {
		return false
	}
	f.response.Detach()
	u.release()
	if f.spliceable(u) {
		f.splice()
		return false
	}
	return true
}
