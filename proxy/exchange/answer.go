package exchange

import (
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// retryAfter is how many seconds a client is asked to wait under overload: shorter
// would keep it up, and longer would outlast most.
const retryAfter = "1"

// Answer is what the client is told when an exchange fails for cause; the zero
// Answer when nobody is there to be told.
func (cause Cause) Answer() Answer {
	return Answer{Status: cause.status(), Cause: cause}
}

func (cause Cause) status() int {
	switch cause {
	case CauseBadRequest:
		return http.StatusBadRequest
	case CauseNoAccess:
		return http.StatusForbidden
	case CauseNoRoute:
		return http.StatusNotFound
	case CauseMisdirected:
		return http.StatusMisdirectedRequest
	case CauseNoBackend:
		return http.StatusInternalServerError
	case CauseNoEndpoint, CauseOverload, CauseCircuit, CauseAuthFailed, CauseRetryBudget:
		return http.StatusServiceUnavailable
	case CauseBodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case CauseClientStalled:
		return http.StatusRequestTimeout
	case CauseConnectRefused, CauseUpstreamTLS, CauseUpstreamReset, CauseUpstreamInvalid:
		return http.StatusBadGateway
	case CauseConnectTimeout, CauseTimeout:
		return http.StatusGatewayTimeout
	}
	return 0
}

// Ends reports whether an answer for cause ends the connection: where the next
// request begins is unknown, or far.
func (cause Cause) Ends() bool {
	switch cause {
	case CauseBadRequest, CauseBodyTooLarge, CauseClientStalled:
		return true
	}
	return false
}

// Answered notes that the client is given a, and returns what a response's head
// says of it: the fields but for those of framing, and the body, which is empty
// where there can be none. Both are valid until the next call. The status is the one
// that Report has now: gRPC has its own.
func (x *Exchange) Answered(a Answer, now time.Time) (fields []router.Field, body []byte) {
	x.Report.Status, x.Report.Cause = a.Status, a.Cause
	fields = append(x.fields[:0], router.Field{Name: "Date", Value: x.Dates.At(now)})
	if a.Location != "" {
		fields = append(fields, router.Field{Name: "Location", Value: a.Location})
	}
	if x.Settings.Explain && a.Cause != CauseNone {
		fields = append(fields, router.Field{Name: "X-Lintel-Cause", Value: string(a.Cause)})
	}
	if a.Cause == CauseOverload || a.Cause == CauseCircuit {
		fields = append(fields, router.Field{Name: "Retry-After", Value: retryAfter})
	}
	if c := x.cors(); c != nil {
		fields = x.appendCORS(fields, c)
		if a.preflight {
			fields = x.appendPreflight(fields, c)
		}
	}
	fields = x.appendAltSvc(fields)
	x.scratch = x.scratch[:0]
	if media := x.grpcMedia(); media != "" {
		x.Report.Status = http.StatusOK
		x.fields = appendGRPC(fields, media, &a)
		return x.fields, nil
	}
	if a.Refusal != nil {
		x.fields = append(fields, a.Refusal.Fields...)
		return x.fields, a.Refusal.Body
	}
	if hasContent(a.Status) {
		fields = append(fields, router.Field{Name: "Content-Type", Value: "text/plain; charset=utf-8"})
		if a.Body != "" {
			x.fields, x.scratch = fields, append(x.scratch, a.Body...)
			return fields, x.scratch
		}
		x.scratch = append(x.scratch, byte('0'+a.Status/100), byte('0'+a.Status/10%10), byte('0'+a.Status%10), ' ')
		x.scratch = append(x.scratch, reasonOf(a.Status)...)
		x.scratch = append(x.scratch, '\n')
	}
	x.fields = fields
	return fields, x.scratch
}

// AppendAnswer appends a response of our own, body and all, and notes that it is
// given.
func (x *Exchange) AppendAnswer(dst []byte, a Answer, now time.Time) []byte {
	fields, body := x.Answered(a, now)
	status := x.Report.Status
	dst = h1.AppendStatusLine(dst, status, reasonOf(status))
	for i := range fields {
		dst = h1.AppendField(dst, fields[i].Name, fields[i].Value)
	}
	if len(body) > 0 || status == http.StatusOK || a.Refusal != nil && hasContent(status) {
		dst = h1.AppendLength(dst, int64(len(body)))
	}
	dst = x.appendPersistence(dst)
	dst = h1.AppendCRLF(dst)
	if x.Report.Method != http.MethodHead {
		dst = append(dst, body...)
		x.Report.Sent = int64(len(body))
	}
	return dst
}

// hasContent reports whether a response with this status may have a body (RFC 9110 §6.4.1).
func hasContent(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

func reasonOf(status int) string {
	if reason := http.StatusText(status); reason != "" {
		return reason
	}
	return "Status"
}

// appendPersistence tells the client whether the connection goes on.
func (x *Exchange) appendPersistence(dst []byte) []byte {
	switch {
	case !x.Keep:
		return h1.AppendField(dst, "Connection", "close")
	case x.Request.Minor == 0:
		return h1.AppendField(dst, "Connection", "keep-alive")
	}
	return dst
}
