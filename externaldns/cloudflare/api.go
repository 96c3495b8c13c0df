package cloudflare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/externaldns"
)

const (
	// callTimeout is for one request, whose answer may have 5,000 records.
	callTimeout = 30 * time.Second
	maxAnswer   = 32 << 20
	// limitWindow is how long all requests are refused after too many, unless the answer
	// says how long.
	limitWindow = 5 * time.Minute
)

// api makes requests, within the budget that Options.Reserve leaves.
type api struct {
	options Options

	mu     sync.Mutex
	opens  time.Time // no request before
	reason error
}

// apiError is an answer that is not a success.
type apiError struct {
	status int
	reason string
}

func (e *apiError) Error() string { return e.reason }

// transient tells whether nobody knows what became of a request, or it may pass later.
func (e *apiError) transient() bool {
	return e.status >= http.StatusInternalServerError || e.status == http.StatusTooManyRequests ||
		e.status == http.StatusUnauthorized || e.status == http.StatusForbidden || e.status == http.StatusNotFound
}

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

type pageInfo struct {
	Total int `json:"total_count"`
}

// call sends a request, and reads the result of a success.
func (a *api) call(ctx context.Context, method, path string, body, result any) (pageInfo, error) {
	if err := a.wait(); err != nil {
		return pageInfo{}, err
	}
	token, err := a.options.Token()
	if err != nil {
		return pageInfo{}, fmt.Errorf("read the API token of Cloudflare: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var content io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return pageInfo{}, fmt.Errorf("write request: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.options.URL+path, content)
	if err != nil {
		return pageInfo{}, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := a.options.Client.Do(request)
	if err != nil {
		return pageInfo{}, fmt.Errorf("ask Cloudflare: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return pageInfo{}, fmt.Errorf("read answer of Cloudflare: %w", err)
	}
	a.observe(response)
	return a.decode(response, answer, result)
}

func (a *api) decode(response *http.Response, answer []byte, result any) (pageInfo, error) {
	var envelope struct {
		Success bool
		Errors  []failure
		Result  json.RawMessage
		Info    pageInfo `json:"result_info"`
	}
	parseErr := json.Unmarshal(answer, &envelope) // an answer of a proxy is no JSON
	if response.StatusCode == http.StatusOK && parseErr == nil && envelope.Success {
		if err := json.Unmarshal(envelope.Result, result); err != nil {
			return pageInfo{}, fmt.Errorf("read answer of Cloudflare: %w", err)
		}
		return envelope.Info, nil
	}
	refused := &apiError{status: response.StatusCode, reason: "Cloudflare answers " + response.Status}
	if len(envelope.Errors) > 0 {
		refused.reason = "Cloudflare says: " + envelope.Errors[0].String()
	}
	switch response.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		refused.reason += "; the API token must be valid, and have the permissions Zone Read and DNS Edit for the zone"
	case http.StatusTooManyRequests:
		return pageInfo{}, &externaldns.WaitError{After: retryAfter(response.Header, limitWindow), Err: refused}
	case http.StatusServiceUnavailable:
		if response.Header.Get("Retry-After") != "" {
			return pageInfo{}, &externaldns.WaitError{After: retryAfter(response.Header, 0), Err: refused}
		}
	}
	return pageInfo{}, refused
}

func retryAfter(h http.Header, standard time.Duration) time.Duration {
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		return max(0, time.Until(at))
	}
	return standard
}

// errBudget is why no request is made though one could be.
var errBudget = errors.New("the rest of the API's limit on requests is left to others")

// observe closes the api for as long as the answer says, if it is a refusal, or if it
// says that what may still be used is not more than the reserve. The header is like
// "default";r=50;t=30: requests left, and seconds until there are more.
func (a *api) observe(response *http.Response) {
	var pause time.Duration
	reason := errBudget
	if response.StatusCode == http.StatusTooManyRequests {
		pause, reason = retryAfter(response.Header, limitWindow), errors.New("Cloudflare answered "+response.Status)
	} else if left, reset, ok := parseRateLimit(response.Header.Get("Ratelimit")); ok && left <= a.options.Reserve {
		pause = time.Duration(reset) * time.Second
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if pause > 0 {
		a.opens, a.reason = time.Now().Add(pause), reason
	}
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

// wait returns an error while no request may be made.
func (a *api) wait() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if left := time.Until(a.opens); left > 0 {
		return &externaldns.WaitError{After: left, Err: a.reason}
	}
	return nil
}
