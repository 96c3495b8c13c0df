package cloudflare

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/internal/retryafter"
)

// limitWindow is how long all requests are refused after too many, unless the answer says
// how long.
const limitWindow = 5 * time.Minute

// errBudget is why no request is made though one could be.
var errBudget = errors.New("the rest of the API's limit on requests is left to others")

// budget knows when requests may be made.
type budget struct {
	reserve int

	mu     sync.Mutex
	opens  time.Time // no request before
	reason error
}

// observe closes the budget for as long as the answer says, if it is a refusal, or if it
// says that what may still be used is not more than the reserve. The header is like
// "default";r=50;t=30: requests left, and seconds until there are more.
func (b *budget) observe(response *http.Response) {
	var pause time.Duration
	reason := errBudget
	if response.StatusCode == http.StatusTooManyRequests {
		pause, reason = pauseOf(response.Header), errors.New("Cloudflare answered "+response.Status)
	} else if left, reset, ok := parseRateLimit(response.Header.Get("Ratelimit")); ok && left <= b.reserve {
		pause = time.Duration(reset) * time.Second
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if pause > 0 {
		b.opens, b.reason = time.Now().Add(pause), reason
	}
}

// wait returns an error while no request may be made.
func (b *budget) wait() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if left := time.Until(b.opens); left > 0 {
		return &WaitError{After: left, Err: b.reason}
	}
	return nil
}

// pauseOf returns how long an answer of too many requests asks to wait.
func pauseOf(h http.Header) time.Duration {
	if wait, ok := retryafter.Of(h, time.Now()); ok {
		return wait
	}
	return limitWindow
}

func parseRateLimit(header string) (left, reset int, ok bool) {
	left, reset = -1, -1
	for field := range strings.SplitSeq(header, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		number, err := strconv.Atoi(value)
		switch {
		case err != nil:
		case key == "r":
			left = number
		case key == "t":
			reset = number
		}
	}
	return left, reset, left >= 0 && reset >= 0
}
