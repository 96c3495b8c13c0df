package proxy

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// status is what the client is answered when an exchange fails for cause; 0 when
// it cannot be answered.
func (cause Cause) status() int {
	switch cause {
	case CauseBadRequest:
		return http.StatusBadRequest
	case CauseNoRoute:
		return http.StatusNotFound
	case CauseNoBackend:
		return http.StatusInternalServerError
	case CauseNoEndpoint:
		return http.StatusServiceUnavailable
	case CauseBodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case CauseClientStalled:
		return http.StatusRequestTimeout
	case CauseConnectRefused, CauseUpstreamReset, CauseUpstreamInvalid:
		return http.StatusBadGateway
	case CauseConnectTimeout, CauseTimeout:
		return http.StatusGatewayTimeout
	}
	return 0
}

// answer ends the exchange with the status of a cause, or by closing the
// connection when a response has begun or nobody is there to read one.
func (f *flight) answer(cause Cause) {
	status := cause.status()
	if f.answered || status == 0 {
		f.seen.Cause = cause
		f.keep = false
		return
	}
	switch cause {
	case CauseBadRequest, CauseBodyTooLarge, CauseClientStalled:
		f.keep = false // where the next request begins is unknown, or far
	}
	f.answerStatus(status, cause)
}

// answerStatus answers with a status and a line of text that says it.
func (f *flight) answerStatus(status int, cause Cause) {
	f.seen.Cause = cause
	f.respond(status, "")
}

// redirect answers with the Location of a Redirect.
func (f *flight) redirect(r *router.Redirect) {
	f.respond(r.Status, r.Location(&f.match, f.rule.Match.Path))
}

// respond writes a response of our own.
func (f *flight) respond(status int, location string) {
	f.answered = true
	f.seen.Status = status
	f.deadline = f.seen.Start.Add(forever) // it may have passed, and this is why
	if !f.body.canSettle() {
		f.keep = false
	}
	reason := http.StatusText(status)
	if reason == "" {
		reason = "Status"
	}
	dst := h1.AppendStatusLine(f.out[:0], status, reason)
	dst = h1.AppendField(dst, "Date", f.c.server.date.now(time.Now()))
	if location != "" {
		dst = h1.AppendField(dst, "Location", location)
	}
	bodiless := status == http.StatusNoContent || status == http.StatusNotModified
	size := len("000 ") + len(reason) + len("\n")
	if !bodiless {
		dst = h1.AppendField(dst, "Content-Type", "text/plain; charset=utf-8")
		dst = h1.AppendLength(dst, int64(size))
	}
	dst = f.appendPersistence(dst)
	dst = h1.AppendCRLF(dst)
	if !bodiless && f.seen.Method != http.MethodHead {
		dst = append(dst, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10), ' ')
		dst = append(dst, reason...)
		dst = append(dst, '\n')
		f.seen.Sent = int64(size)
	}
	f.out = dst
	if cause := f.write(nil); cause != CauseNone {
		f.seen.Cause = cause
		return
	}
	f.ended = true
}

// appendPersistence tells the client whether the connection goes on.
func (f *flight) appendPersistence(dst []byte) []byte {
	if f.c.draining.Load() {
		f.keep = false
	}
	switch {
	case !f.keep:
		return h1.AppendField(dst, "Connection", "close")
	case f.request.Minor == 0:
		return h1.AppendField(dst, "Connection", "keep-alive")
	}
	return dst
}

// dateClock renders the Date field (RFC 9110 §6.6.1) once a second.
type dateClock struct {
	current atomic.Pointer[renderedDate]
}

type renderedDate struct {
	second int64
	text   string
}

func (d *dateClock) now(t time.Time) string {
	second := t.Unix()
	if r := d.current.Load(); r != nil && r.second == second {
		return r.text
	}
	r := &renderedDate{second: second, text: t.UTC().Format(http.TimeFormat)}
	d.current.Store(r)
	return r.text
}
