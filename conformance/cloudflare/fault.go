package cloudflare

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"time"
)

// Interceptor answers a request in place of next, which is the fake itself; it may
// call next too. It is called by several goroutines at a time.
type Interceptor func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Intercept lets f see every request for an endpoint, named by its pattern as in
// Calls, or by "" for all endpoints that have none of their own. Nil ends that.
func (s *Server) Intercept(pattern string, f Interceptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interceptors[pattern] = f
}

// Refuse answers with an error of the API. RetryAfter, in whole seconds, is left out
// when it is zero.
func Refuse(f Failure, status int, retryAfter time.Duration) Interceptor {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		if retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
		}
		f.status = status
		refuse(w, &f)
	}
}

// Break answers 502 with a page of HTML, as Cloudflare's own proxies do when the API
// behind them is away.
func Break(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusBadGateway)
	_, _ = w.Write([]byte("<html><head><title>502 Bad Gateway</title></head></html>\n")) // who does not listen needs no answer
}

// LoseAnswer does what was asked, and then answers 500: the caller cannot know.
func LoseAnswer(w http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), r)
	refuse(w, fail(http.StatusInternalServerError, 10001, "Internal server error"))
}

// Hang gives no answer until the caller gives up.
func Hang(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }

// Times applies f to the first n requests, and lets others pass.
func Times(n int64, f Interceptor) Interceptor {
	var seen atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if seen.Add(1) <= n {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}
