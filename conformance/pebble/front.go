package pebble

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Step is what a client asks the CA for: the start of a path of Pebble's.
type Step string

// The steps to a certificate.
const (
	Directory     Step = "/dir"
	NewNonce      Step = "/nonce-plz"
	NewAccount    Step = "/sign-me-up"
	NewOrder      Step = "/order-plz"
	GetOrder      Step = "/my-order/"
	Authorization Step = "/authZ/"
	Challenge     Step = "/chalZ/"
	Finalize      Step = "/finalize-order/"
	Certificate   Step = "/certZ/"
	RenewalInfo   Step = "/draft-ietf-acme-ari-03/renewalInfo/"
)

// Order is one that the CA accepted.
type Order struct {
	URL     string
	Names   []string // in the CA's order
	Profile string
	At      time.Time
}

// Interceptor may answer a request in Pebble's stead, and says whether it did. It
// may also wait, or end a process, before it lets the request pass. It is called by
// several goroutines at a time.
type Interceptor func(http.ResponseWriter, *http.Request) (answered bool)

// Refuse returns an Interceptor that answers with a problem document (RFC 8555
// section 6.7). Kind is what follows "urn:ietf:params:acme:error:", like
// "rateLimited" or "serverInternal"; retryAfter, in whole seconds, is left out
// when it is zero.
func Refuse(status int, kind string, retryAfter time.Duration) Interceptor {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		if retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{ // who does not listen needs no answer
			"type": "urn:ietf:params:acme:error:" + kind, "detail": "refused for a test: " + kind, "status": status,
		})
		return true
	}
}

// front is the proxy before Pebble.
type front struct {
	address string
	server  *http.Server
	proxy   *httputil.ReverseProxy
	ended   chan struct{}

	mu           sync.Mutex
	orders       []Order
	calls        map[Step]int
	interceptors map[Step]Interceptor
}

func newFront(ctx context.Context, pebble string, transport http.RoundTripper, certificate tls.Certificate) (*front, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	f := &front{address: listener.Addr().String(), calls: map[Step]int{}, interceptors: map[Step]Interceptor{}, ended: make(chan struct{})}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: pebble})
			r.Out.Host = r.In.Host // of which Pebble makes its URLs
		},
		Transport:      transport,
		ModifyResponse: f.record,
		ErrorLog:       log.New(io.Discard, "", 0), // a client sees the 502
	}
	f.server = &http.Server{
		Handler: f, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	go func() {
		defer close(f.ended)
		_ = f.server.ServeTLS(listener, "", "") // until close
	}()
	return f, nil
}

func (f *front) close() {
	_ = f.server.Close() // nobody is served anymore
	<-f.ended
}

// ServeHTTP counts a request, and hands it to an Interceptor or to Pebble.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	step := stepOf(r.URL.Path)
	f.mu.Lock()
	f.calls[step]++
	intercept := f.interceptors[step]
	f.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	f.proxy.ServeHTTP(w, r)
}

// record notes an order that Pebble accepted.
func (f *front) record(response *http.Response) error {
	if stepOf(response.Request.URL.Path) != NewOrder || response.StatusCode != http.StatusCreated {
		return nil
	}
	content, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	response.Body = io.NopCloser(bytes.NewReader(content))
	var body struct {
		Profile     string
		Identifiers []struct{ Value string }
	}
	if err := json.Unmarshal(content, &body); err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	order := Order{URL: response.Header.Get("Location"), Profile: body.Profile, At: time.Now()}
	for _, identifier := range body.Identifiers {
		order.Names = append(order.Names, identifier.Value)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = append(f.orders, order)
	return nil
}

func stepOf(path string) Step {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return Step(path[:i+1]) // all but the id
	}
	return Step(path)
}

// Orders returns the orders that the CA accepted, oldest first.
func (s *Server) Orders() []Order {
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	return slices.Clone(s.front.orders)
}

// Calls returns how often clients asked for a step, answers of Interceptors and
// rejected nonces included.
func (s *Server) Calls(step Step) int {
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	return s.front.calls[step]
}

// Intercept lets f see every request for a step before Pebble does, instead of
// who saw it before. Nil ends that.
func (s *Server) Intercept(step Step, f Interceptor) {
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	s.front.interceptors[step] = f
}
