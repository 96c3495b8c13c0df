package cloudflare

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/internal/retryafter"
)

// Error is an answer that is not a success.
type Error struct {
	Status int // of HTTP
	Code   int // Cloudflare's own number of the error; 0 if the answer has none
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// Lasting tells whether the same request would fail again: whether something must be
// mended first, at Cloudflare or where the request comes from.
func (e *Error) Lasting() bool {
	return e.Status < http.StatusInternalServerError && e.Status != http.StatusTooManyRequests && e.Status != http.StatusRequestTimeout
}

// Denied tells whether the token is the reason.
func (e *Error) Denied() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.Code == codeToken
}

// codeToken is of a token that is not even one by its looks, which is answered with 400.
const codeToken = 6003

// WaitError says that the API asked to be left alone.
type WaitError struct {
	After time.Duration
	Err   error
}

// Error implements error.
func (e *WaitError) Error() string {
	return fmt.Sprintf("%v; no request for %v", e.Err, e.After.Round(time.Second))
}

func (e *WaitError) Unwrap() error { return e.Err }

// failure is an error as the API says it.
type failure struct {
	Code    int
	Message string
	Chain   []failure `json:"error_chain"`
}

// String is the message with its number, of the innermost that there are.
func (f failure) String() string {
	if len(f.Chain) > 0 {
		return f.Chain[0].String()
	}
	return fmt.Sprintf("%s (%d)", strings.TrimSuffix(f.Message, "."), f.Code)
}

// refusal is the error of an answer that is not a success.
func (a *API) refusal(response *http.Response, failures []failure) error {
	refused := &Error{Status: response.StatusCode, Reason: "Cloudflare answers " + response.Status}
	if len(failures) > 0 {
		refused.Code, refused.Reason = failures[0].Code, "Cloudflare says: "+failures[0].String()
	}
	if refused.Denied() && a.options.Needs != "" {
		refused.Reason += "; the API token must be valid, and have the permissions " + a.options.Needs
	}
	switch response.StatusCode {
	case http.StatusTooManyRequests:
		return &WaitError{After: pauseOf(response.Header), Err: refused}
	case http.StatusServiceUnavailable:
		if wait, ok := retryafter.Of(response.Header, time.Now()); ok {
			return &WaitError{After: wait, Err: refused}
		}
	}
	return refused
}
