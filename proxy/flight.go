package proxy

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// flight is the exchange in flight on a connection, used again for the next.
type flight struct {
	c        *connection
	settings *Settings
	request  *h1.Request
	match    router.Request
	rule     *router.Rule
	chosen   *router.WeightedBackend

	// deadline ends the exchange, attemptBy the attempt at an upstream; far away
	// when there is none.
	deadline  time.Time
	attemptBy time.Time

	body     requestBody
	fields   []router.Field // of the head that is being written
	target   []byte         // of the request line that goes upstream
	scratch  []byte         // values of our own fields
	tried    []*router.Endpoint
	up       *upstream
	response h1.Response
	payload  h1.Body // of the response
	res      input   // bytes from the upstream
	limited  io.LimitedReader
	out      []byte  // bytes for the client
	resFrom  *[]byte // the pooled buffers of res and out
	outFrom  *[]byte

	sent      time.Time // when the head of the attempt went upstream
	progress  time.Time // when the upstream was last known to do something
	keep      bool      // the connection goes on after this exchange
	answered  bool      // a final status is decided, and maybe sent
	responded bool      // the upstream sent something in this attempt
	continued bool      // the client does not wait for 100 (Continue)
	unsent    bool      // nothing of this attempt reached the upstream
	cut       bool      // only a part of what came first in this attempt did
	closed    bool      // the upstream has finished sending, in order
	ended     bool      // the response was sent to its end

	id   [32]byte // of the request, when it is ours
	seen Exchange
}

// init readies f for the life of a connection.
func (f *flight) init(c *connection) {
	f.c = c
	f.settings = &c.server.settings
	f.request = &c.request
	f.body.f = f
}

// run does one exchange, and reports whether another may follow.
func (f *flight) run() bool {
	f.begin()
	defer f.releaseBuffers()
	err := f.c.readHead()
	f.borrowBuffers()
	if err != nil {
		f.refuseHead(err)
		return false
	}
	f.start()
	f.decide()
	f.finish()
	return f.keep
}

// begin forgets the exchange before.
func (f *flight) begin() {
	f.rule, f.chosen, f.up = nil, nil, nil
	f.keep, f.answered, f.responded, f.ended = false, false, false, false
	f.tried = f.tried[:0]
	f.body.reset()
	f.seen = Exchange{Socket: f.c.socket.name, Client: f.c.client, Scheme: f.c.scheme}
}

// borrowBuffers gets what the exchange reads and writes through. It does so once
// the head is there, since a client can take its time for that.
func (f *flight) borrowBuffers() {
	f.resFrom = f.c.server.bodies.get()
	f.outFrom = f.c.server.outputs.get()
	f.res = newInput(*f.resFrom)
	f.out = (*f.outFrom)[:0]
}

// releaseBuffers gives the buffers back, if that was not done before.
func (f *flight) releaseBuffers() {
	if f.resFrom == nil {
		return
	}
	f.c.server.bodies.put(f.resFrom)
	f.c.server.outputs.put(f.outFrom)
	f.resFrom, f.outFrom = nil, nil
	f.res, f.out = input{}, nil
}

// start notes what the head says.
func (f *flight) start() {
	r := f.request
	now := time.Now()
	f.deadline = now.Add(forever)
	f.attemptBy = f.deadline
	f.keep = r.KeepAlive && !f.c.draining.Load()
	f.continued = !r.Expect100
	f.body.start()

	f.seen.Start = now
	f.seen.Method = r.Method
	f.seen.Protocol = "HTTP/1.1"
	if r.Minor == 0 {
		f.seen.Protocol = "HTTP/1.0"
	}
}

// refuseHead answers a head that could not be read, if there is a point in it.
func (f *flight) refuseHead(err error) {
	f.seen.Start = time.Now()
	if bad, ok := errors.AsType[*h1.Error](err); ok {
		f.answerStatus(bad.Status, CauseBadRequest)
	} else if isTimeout(err) && !f.c.draining.Load() {
		f.answerStatus(http.StatusRequestTimeout, CauseClientStalled)
	} else {
		return
	}
	f.observe()
	f.c.linger()
}

// decide finds the Rule and does what it says.
func (f *flight) decide() {
	if cause := f.normalise(); cause != CauseNone {
		f.answer(cause)
		return
	}
	if m := f.request.Method; m == http.MethodConnect || m == http.MethodTrace {
		// A tunnel to anywhere and an echo of credentials are not for a gateway.
		f.answerStatus(http.StatusMethodNotAllowed, CauseBadRequest)
		return
	}
	f.rule = f.c.socket.table().Match(f.c.socket.name, &f.match)
	if f.rule == nil {
		f.answer(CauseNoRoute)
		return
	}
	f.seen.Listener, f.seen.Route = f.rule.Listener, f.rule.Route

	action := &f.rule.Action
	if action.RequestTimeout > 0 {
		f.deadline = f.seen.Start.Add(action.RequestTimeout)
	}
	switch {
	case f.body.tooLarge():
		f.answer(CauseBodyTooLarge)
	case action.Status != 0:
		f.answerStatus(action.Status, CauseNone)
	case action.Redirect != nil:
		f.redirect(action.Redirect)
	default:
		f.forward()
	}
}

// normalise fills what the Table matches.
func (f *flight) normalise() Cause {
	r := f.request
	host, ok := router.NormalizeHost(r.Host)
	if !ok && r.Host != "" { // HTTP/1.0 may come without
		return CauseBadRequest
	}
	path := "/"
	if r.Path != "*" && r.Method != http.MethodConnect {
		if path, ok = router.NormalizePath(r.Path); !ok {
			return CauseBadRequest
		}
	}
	f.match = router.Request{Method: r.Method, Host: host, Path: path, Query: r.Query, Fields: f.believed()}
	f.seen.Host, f.seen.Path = host, path
	f.seen.Client = f.clientAddress()
	if f.settings.Observe != nil {
		f.seen.UserAgent, _ = router.Lookup(r.Fields, "User-Agent")
	}
	return CauseNone
}

// finish ends the exchange on the downstream side: what is left of the request
// body is read or given up, and the connection is ready for the next request.
func (f *flight) finish() {
	if !f.ended {
		f.keep = false
	}
	f.observe()
	if f.keep {
		f.body.settle()
	}
	if f.ended && !f.keep && f.sendsOn() {
		f.c.linger()
	}
}

// sendsOn reports whether the client may still be sending: the rest of its body,
// or requests behind this one, since it does not expect us to close.
func (f *flight) sendsOn() bool {
	if f.seen.Status == http.StatusSwitchingProtocols {
		return false
	}
	return !f.body.complete() || f.request.KeepAlive
}

func (f *flight) observe() {
	if f.settings.Observe == nil {
		return
	}
	if f.seen.Duration == 0 {
		f.seen.Duration = time.Since(f.seen.Start)
	}
	f.seen.Received = f.body.received.Load()
	f.settings.Observe(&f.seen)
}

// write sends f.out and then p to the client.
func (f *flight) write(p []byte) Cause {
	if len(f.out) > 0 {
		if len(p) > 0 && len(p) <= cap(f.out)-len(f.out) {
			f.out = append(f.out, p...)
			p = nil
		}
		if cause := f.send(f.out); cause != CauseNone {
			return cause
		}
		f.out = f.out[:0]
	}
	if len(p) > 0 {
		return f.send(p)
	}
	return CauseNone
}

func (f *flight) send(p []byte) Cause {
	c := f.c
	c.writeBy.within(time.Now(), f.settings.BodyTimeout, f.deadline)
	_, err := c.conn.Write(p)
	switch {
	case err == nil:
		return CauseNone
	case !isTimeout(err):
		return CauseClientGone
	case time.Now().Before(f.deadline):
		return CauseClientStalled
	default:
		return CauseTimeout
	}
}

// idempotent reports whether a method may be repeated (RFC 9110 §9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}
