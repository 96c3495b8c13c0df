package cloudflare

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// limitWindow is the time in which a token has its requests.
const limitWindow = 5 * time.Minute

// window counts the requests of a token.
type window struct {
	ends time.Time
	used int
}

// limit counts a request, and tells whether it may pass.
func (s *Server) limit(w http.ResponseWriter, token string) bool {
	if s.options.RequestLimit < 0 {
		return true
	}
	s.mu.Lock()
	now := s.options.Now()
	current := s.windows[token]
	if current == nil || !now.Before(current.ends) {
		current = &window{ends: now.Add(limitWindow)}
		s.windows[token] = current
	}
	current.used++
	left, wait := s.options.RequestLimit-current.used, current.ends.Sub(now)
	s.mu.Unlock()

	seconds := int((wait + time.Second - 1) / time.Second)
	w.Header().Set("Ratelimit", fmt.Sprintf("\"default\";r=%d;t=%d", max(0, left), seconds))
	w.Header().Set("Ratelimit-Policy", fmt.Sprintf("\"default\";q=%d;w=%d", s.options.RequestLimit, int(limitWindow/time.Second)))
	if left >= 0 {
		return true
	}
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	refuse(w, fail(http.StatusTooManyRequests, 971, fmt.Sprintf("More than %d requests per %d seconds reached. Please wait and consider throttling your request speed",
		s.options.RequestLimit, int(limitWindow/time.Second))))
	return false
}
