//go:build linux

package loop

import (
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// client is the side of a flight that sent the request: an HTTP/1.1 connection, or a
// stream of an HTTP/2 one. What it is given and its peer does not take waits in memory,
// so that the flight reads nothing more from the upstream while pending is not 0.
type client interface {
	// pending is how much of what was given waits, and stuck since when.
	pending() int
	stuck() int64
	// left reports whether the client has finished sending on its connection, or all of
	// it is over.
	left() bool
	// leaving is left as of now: it asks the kernel.
	leaving() bool
	// drains reports whether the connection takes no exchange after this one.
	drains() bool
	// resume makes the flight's clientReady be called in the next turn.
	resume()

	// interim sends the 1xx response res, other than 101. It reports false, as answer
	// does, when the client takes nothing any more.
	interim(res *h1.Response) bool
	// answer sends a whole response of our own.
	answer(a exchange.Answer) bool
	// pass sends the flight's response: with headToo its head, and then the payload that
	// data has. It returns what stands behind the payload in data.
	pass(data []byte, what part) (rest []byte, result passed)

	// rewind makes appendArrived start over with what of the request's body came
	// together with its head; it appends that as it goes upstream. appendMore does so
	// with what came later, and tells whether there was any.
	rewind()
	appendArrived(dst []byte) ([]byte, exchange.Cause)
	appendMore(dst []byte) ([]byte, outcome, exchange.Cause)
	// complete reports whether all of the body was appended. Then trailers returns the
	// trailers that may go upstream; if the body goes in chunks, they were appended too.
	complete() bool
	trailers() []h1.Field
	// settles guesses whether the rest of a body can be got rid of, so that the
	// connection takes another request.
	settles() bool

	// switches reports whether the client takes no success but an upgrade, agrees whether
	// the response agrees to the one that it asked for. agree sends its head; then what is
	// given and appended is the new protocol's.
	switches() bool
	agrees(res *h1.Response) bool
	agree(res *h1.Response) bool
	// breakOff ends a response, whose head was sent, with trailers. It reports false when
	// the client takes no such thing.
	breakOff(trailers []h1.Field) bool
	// finish ends the exchange after a complete response, and abort without one: if the
	// client has got a part, it must see that it is not all.
	finish()
	abort(cause exchange.Cause)
}

// part is what of a response is passed on.
type part uint8

const (
	payload part = iota
	headToo      // and the head before it
)

// passed is what became of it.
type passed uint8

const (
	passedOn passed = iota
	passedToNobody
	passedUntil // a mistake in the payload
)
