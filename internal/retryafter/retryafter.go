// Package retryafter reads when a server wants to be asked again.
package retryafter

import (
	"net/http"
	"strconv"
	"time"
)

// Of returns how long the header field Retry-After, seconds or a date (RFC 9110 §10.2.3),
// asks to wait from now: zero for a date that has passed. It is not ok if there is no such
// field, or if it is neither.
func Of(header http.Header, now time.Time) (wait time.Duration, ok bool) {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now)), true
	}
	return 0, false
}
