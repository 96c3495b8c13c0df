package proxy

import (
	"net"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// A [flight] moves one exchange between two sides, whatever each of them speaks:
//
//	downstream ─ request payload ─▶ upstream
//	downstream ◀─ interim and final heads, payload, trailers ─ upstream
//
// Heads are in the terms of [h1.Request] and [h1.Response] on both: a side that
// speaks something else translates. Sides do I/O and know time limits of single
// reads and writes; what an exchange means, what is tried again and what the client
// is told is the flight's.
//
// # Goroutines
//
// A side is used by the flight's goroutine, and, while the rest of a request's body
// is pumped, by one more: that one alone calls next, await and trailers of the
// downstream and write, end and flush of the upstream, while the flight's own reads
// the upstream and writes the downstream. Methods that others may call at any time
// say so.
//
// # Payload
//
// Both sides hand payload out by next, which never waits, and await, which does. The
// bytes of next are valid until await is called, or the exchange is over. A side takes
// more from its peer only as await is called: this is the back-pressure, and what one
// side holds is bounded by the size of one buffer or one flow-control window.
//
// # To serve another protocol
//
// An owner of a connection keeps a flight for each exchange that can be under way at
// once. For each request it fills flight.Request (valid until run returns) between
// begin and run:
//
//	f.init(server, down, &client)     // once
//	f.begin()                         // for each request
//	… fill *f.Request …
//	f.run(table)                      // blocks; ends with down.finish or down.abort
//
// A head that cannot be read is answered with f.refuse instead of run. When the client
// gives the exchange up, the owner calls f.cancel, from any goroutine.

// downstream is the client's side of one exchange.
type downstream interface {
	// next returns payload of the request that is there. Nothing and no error means
	// that await has to be called. The error is io.EOF at the end, and after it
	// trailers holds what came last; an *h1.Error if the body is malformed; another
	// one if the client has given up.
	next() ([]byte, error)
	// await waits until next has something, for at least limit. It returns an error
	// for which isTimeout holds when the client was silent for so long, or interrupt
	// was called.
	await(limit time.Duration) error
	// trailers returns the trailer section after io.EOF; the flight may change it.
	trailers() []h1.Field
	// complete reports whether next has nothing more to tell than io.EOF.
	complete() bool
	// rewind makes next start over with the payload that came together with the head.
	// It is called before every attempt, the first one too.
	rewind()
	// replayable reports whether rewind brings all back that next has returned.
	replayable() bool
	// interrupt makes await return, and all further calls of it until rewind. It is
	// called by the flight while another goroutine may wait.
	interrupt()
	// resume makes next and await go on where they were after interrupt, and reports
	// whether they can. Nobody waits meanwhile.
	resume() bool

	// bound sets when writes have to be over at the latest, beside the BodyTimeout that
	// each of them has. Writes fail with an error for which isTimeout holds.
	bound(latest time.Time)
	// interim sends a 1xx response, other than 101.
	interim(res *h1.Response) error
	// head takes the head of the final response. It takes the connection's persistence
	// from Exchange.Keep, if it has such a thing.
	head(res *h1.Response, now time.Time) error
	// write takes payload, which may stay where it is until flush or end.
	write(p []byte) error
	// end takes the end of the response.
	end(trailers []h1.Field) error
	// flush sends what was taken. It may return before the client has it, but what is
	// waiting is bounded.
	flush() error
	// answer sends a whole response of our own.
	answer(a exchange.Answer, now time.Time) error
	// upgrade sends the response that agrees to an upgrade. From then on conn carries
	// the new protocol; pending are the client's first bytes, which were read already.
	// After exchange.ErrNotAgreed nothing was sent.
	upgrade(res *h1.Response) (conn net.Conn, pending []byte, err error)

	// gone reports whether the client has given up, as far as it is known.
	gone() bool
	// draining reports whether the connection is to end after this exchange.
	draining() bool
	// finish ends the exchange after a complete response: it deals with a rest of the
	// request that nobody wants. With Exchange.Keep, another exchange may follow.
	finish()
	// abort ends the exchange without a complete response: if the client has got a
	// part of one, it must see that it is not all.
	abort(cause exchange.Cause)
}

// upstream is an endpoint's side of one attempt at an exchange: a connection, or a
// stream of one.
type upstream interface {
	// to is the endpoint.
	to() *router.Endpoint
	// reused reports whether the connection had served before, so that the endpoint
	// may have closed it already when the request was sent.
	reused() bool

	// bound sets when writes have to be over at the latest, beside the BodyTimeout that
	// each of them has.
	bound(latest time.Time)
	// open takes the head of the request.
	open(x *exchange.Exchange)
	// room is how many bytes of payload write and flush take without waiting for the
	// endpoint, as far as it is known.
	room() int
	// write takes payload, which may stay where it is until flush or end.
	write(p []byte) error
	// end takes the end of the request.
	end(trailers []h1.Field) error
	// flush sends what was taken. An error that [isUnsent] says that the endpoint got
	// nothing of the request; after another one it may still answer.
	flush() error

	// head looks for a response's head, interim or final, in what has come, and
	// reports whether there is one: if not, await has to be called. It is valid until
	// the next call of head. The error is an *h1.Error.
	head(res *h1.Response, method string) (bool, error)
	// next returns payload of the final response that is there. Nothing and no error
	// means that await has to be called. The error is io.EOF at the end, and after it
	// trailers holds what came last; an *h1.Error if the response is malformed; another
	// one if the endpoint has broken off.
	next() ([]byte, error)
	// await waits until head or next has something, and not beyond latest. It returns
	// an error for which isTimeout holds then, or at any time before: at least once in
	// a ProbeInterval. now is the time, as far as the caller knows.
	await(now, latest time.Time) error
	// trailers returns the trailer section after io.EOF; the flight may change it.
	trailers() []h1.Field

	// tunnel gives what carries the new protocol after a 101, and the bytes of it that
	// were read already. The head is not valid any more.
	tunnel() (conn net.Conn, early []byte)

	// cancel ends the attempt at once: all that waits returns. It may be called at any
	// time by any goroutine, and more than once. drop or release still follows.
	cancel()
	// breakOff is cancel that the endpoint cannot take for the end of what it was sent.
	breakOff()
	// drop ends the attempt, and the connection if it carries nothing else.
	drop()
	// release ends an attempt whose request and response are complete. The connection
	// is used again if it can be; now is when it was last known to work.
	release(now time.Time)
}
