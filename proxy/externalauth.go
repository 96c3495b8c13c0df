package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

const (
	// maxAuthTime bounds how long an authorization server may take: a person may wait as
	// long, and hardly longer.
	maxAuthTime = 10 * time.Second
	// maxAuthBody bounds what is read of a server's response, in bytes: a page that asks for
	// a password.
	maxAuthBody = 64 << 10
)

// authSettings are the Server's for questions to authorization servers, which nobody
// observes.
func (s *Server) authSettings() Settings {
	settings := s.settings
	settings.Observe = nil
	settings.ResponseHeaderTimeout = min(settings.ResponseHeaderTimeout, maxAuthTime)
	settings.BodyTimeout = min(settings.BodyTimeout, maxAuthTime)
	return settings
}

// authorization is a question to an authorization server: the downstream of a flight of
// its own, which another flight waits for.
type authorization struct {
	parent *flight
	flight flight
	client exchange.Client
	body   []byte
	handed bool // the body
	failed exchange.Cause

	// Of the response. Everything stays valid.
	status  int // 0 for none
	fields  []router.Field
	content []byte
	long    bool // there is more content than is kept
	trailer []router.Field
}

var errAuthBody = errors.New("the response of the authorization server is too long")

// authorize implements Exchange.Ask.
func (f *flight) authorize(auth *router.ExternalAuth) (refusal exchange.Answer, granted bool) {
	var body []byte
	if auth.MaxBody > 0 && f.Request.Framing != h1.NoBody {
		var cause exchange.Cause
		if body, cause = f.whole(auth.MaxBody); cause != exchange.CauseNone {
			return refuseFor(cause), false
		}
	}
	c := &authorization{parent: f, client: *f.Client, body: body}
	c.client.Protocol = ""
	c.flight.init(f.server, c, &c.client)
	c.flight.Settings = &f.server.asking
	c.flight.begin()
	if auth.Protocol == router.AuthGRPC {
		return c.check(auth)
	}
	c.flight.Question(&f.Exchange, auth, len(body))
	switch c.ask(); c.status {
	case 0:
		return c.failure(), false
	case http.StatusOK:
		f.Grant(auth, c.fields)
		return exchange.Answer{}, true
	}
	return exchange.Refuse(c.status, c.fields, c.content), false
}

// refuseFor is the answer to a request that nobody is asked about, or that nobody waits for.
func refuseFor(cause exchange.Cause) exchange.Answer {
	answer := cause.Answer()
	if answer.Status == 0 {
		answer.Status = http.StatusServiceUnavailable // which nobody gets
	}
	return answer
}

// check asks by a call of gRPC.
func (c *authorization) check(auth *router.ExternalAuth) (refusal exchange.Answer, granted bool) {
	f := c.parent
	c.body = f.Check(auth, c.body)
	c.flight.GRPCQuestion(&f.Exchange, auth, c.body, time.Until(c.by()))
	if c.ask(); c.status != http.StatusOK || c.long {
		return c.failure(), false
	}
	refusal, granted, err := f.Checked(auth, c.fields, c.trailer, c.content)
	if err != nil {
		return c.failure(), false
	}
	return refusal, granted
}

// by is when the server has to have answered.
func (c *authorization) by() time.Time {
	return earlier(c.parent.Deadline(), time.Now().Add(maxAuthTime))
}

// ask sends the question, and waits for the response.
func (c *authorization) ask() {
	f := &c.flight
	f.deadline = c.by()
	f.attemptBy = f.deadline
	f.continued = true
	f.forward()
	f.Observe(0, time.Now())
	switch {
	case c.long:
		c.content = nil // a part of it says nothing
	case f.Report.Cause != exchange.CauseNone:
		c.status, c.failed = 0, f.Report.Cause
	}
}

// failure is the answer where the server has not answered.
func (c *authorization) failure() exchange.Answer {
	switch {
	case c.parent.gone():
		return refuseFor(exchange.CauseClientGone)
	case !time.Now().Before(c.parent.Deadline()):
		return exchange.CauseTimeout.Answer()
	case c.failed == exchange.CauseOverload:
		return c.failed.Answer()
	}
	return exchange.CauseAuthFailed.Answer()
}

// whole reads the body of the request to its end, and keeps it for the upstream. The cause
// says why it cannot be had, as when it is longer than limit.
func (f *flight) whole(limit int) ([]byte, exchange.Cause) {
	if f.Request.Framing == h1.Length && f.Request.Length > int64(limit) {
		return nil, exchange.CauseBodyTooLarge
	}
	if !f.continued {
		f.continued = true
		if cause := f.writeCause(f.down.interim(&h1.Response{Minor: 1, Status: http.StatusContinue})); cause != exchange.CauseNone {
			return nil, cause
		}
	}
	if !f.keep(limit) {
		return nil, exchange.CauseOverload
	}
	f.down.rewind()
	f.body.received.Store(0)
	for {
		data, err := f.down.next()
		f.body.received.Add(int64(len(data)))
		switch size := len(f.replay.tape); {
		case f.replay.lost.Load() || size > limit || f.TooLarge(int64(size)):
			return nil, exchange.CauseBodyTooLarge
		case err == io.EOF:
			return f.replay.tape, exchange.CauseNone
		case err != nil:
			return nil, readCause(err)
		case len(data) > 0:
			continue
		}
		if err := f.down.await(f.Settings.BodyTimeout); err != nil {
			return nil, readCause(err)
		}
	}
}

// The methods of a downstream.

func (c *authorization) next() ([]byte, error) {
	if !c.handed && len(c.body) > 0 {
		c.handed = true
		return c.body, nil
	}
	return nil, io.EOF
}

func (c *authorization) head(res *h1.Response, _ time.Time) error {
	c.status, c.fields = res.Status, exchange.EndToEnd(res)
	return nil
}

func (c *authorization) write(p []byte) error {
	if len(c.content)+len(p) > maxAuthBody {
		c.long = true
		return errAuthBody
	}
	c.content = append(c.content, p...)
	return nil
}

func (c *authorization) end(trailers []h1.Field) error {
	c.trailer = h1.CloneFields(trailers)
	return nil
}

// answer notes that there was no response.
func (c *authorization) answer(a exchange.Answer, _ time.Time) error {
	c.flight.Report.Status, c.flight.Report.Cause = a.Status, a.Cause
	return nil
}

func (c *authorization) await(time.Duration) error  { return nil }
func (c *authorization) trailers() []h1.Field       { return nil }
func (c *authorization) complete() bool             { return c.handed || len(c.body) == 0 }
func (c *authorization) rewind()                    { c.handed = false }
func (c *authorization) replayable() bool           { return true }
func (c *authorization) interrupt()                 {}
func (c *authorization) resume() bool               { return true }
func (c *authorization) bound(time.Time)            {}
func (c *authorization) interim(*h1.Response) error { return nil }
func (c *authorization) flush() error               { return nil }
func (c *authorization) gone() bool                 { return c.parent.gone() }
func (c *authorization) draining() bool             { return false }
func (c *authorization) finish()                    {}
func (c *authorization) abort(exchange.Cause)       {}
func (c *authorization) upgrade(*h1.Response) (net.Conn, []byte, error) {
	return nil, nil, exchange.ErrNotAgreed
}
