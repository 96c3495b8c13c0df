package acme

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/lintel-dev/lintel/internal/retryafter"
)

const (
	// requestTimeout is for one request to a CA; they answer slowly under load.
	requestTimeout = 30 * time.Second
	// pollInterval is how often a CA that names no interval is asked how an order stands.
	pollInterval = 500 * time.Millisecond
	// pollTimeout is how long the CA may take to validate, and to issue.
	pollTimeout = 3 * time.Minute
	// maxSkew is how far our clock may be from the CA's.
	maxSkew = time.Hour
	// maxRefusal bounds what is kept of a refusal.
	maxRefusal = 64 << 10
)

// caTransport returns a transport that trusts these roots, in PEM, or the system's if
// there are none.
func caTransport(roots string) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = requestTimeout
	if roots != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(roots))
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return t
}

// caller carries the requests of one attempt to the CA. It refuses to go on when the
// clocks differ, and once the CA said when to come back (Retry-After) it asks
// nothing more: the library's own retries get the same refusal again.
type caller struct {
	transport http.RoundTripper
	now       func() time.Time

	mu      sync.Mutex // guards what is below
	refusal *refusal
}

// refusal is an answer that says when to come back.
type refusal struct {
	status int
	header http.Header
	body   []byte
	until  time.Time
}

// client returns a client of the CA's for one attempt.
func (c *caller) client(directory, userAgent string) *acme.Client {
	return &acme.Client{
		Directory:    directory,
		HTTPClient:   &http.Client{Transport: c, Timeout: requestTimeout},
		UserAgent:    userAgent,
		PollInterval: pollInterval,
		PollTimeout:  pollTimeout,
	}
}

// RoundTrip implements http.RoundTripper.
func (c *caller) RoundTrip(request *http.Request) (*http.Response, error) {
	c.mu.Lock()
	refused := c.refusal
	c.mu.Unlock()
	if refused != nil {
		if request.Body != nil {
			request.Body.Close()
		}
		return refused.response(request), nil
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	now := c.now()
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		if ahead := now.Sub(date); ahead.Abs() > maxSkew {
			response.Body.Close()
			return nil, &clockError{ahead: ahead}
		}
	}
	if response.StatusCode < 400 {
		return response, nil
	}
	if request.Method == http.MethodHead {
		response.Header.Del("Content-Type") // the library would look for a problem where there is no body
	}
	wait, ok := retryafter.Of(response.Header, now)
	if !ok {
		return response, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	refused = &refusal{status: response.StatusCode, header: response.Header.Clone(), body: body, until: now.Add(wait)}
	c.mu.Lock()
	c.refusal = refused
	c.mu.Unlock()
	return refused.response(request), nil
}

func (r *refusal) response(request *http.Request) *http.Response {
	header := r.header.Clone()
	header.Del("Replay-Nonce") // each is good once
	header.Del("Content-Length")
	return &http.Response{
		Status: strconv.Itoa(r.status) + " " + http.StatusText(r.status), StatusCode: r.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(r.body)), ContentLength: int64(len(r.body)), Request: request,
	}
}

// comeBack returns when the CA wants to be asked again; zero if it did not say.
func (c *caller) comeBack() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal == nil {
		return time.Time{}
	}
	return c.refusal.until
}
