//go:build smoke

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/conformance/instance"
	edgetls "github.com/lintel-dev/lintel/tls"
)

const (
	smokeBinary   = "../../bin/lintel"
	smokeRequests = 20_000
	smokeChanges  = 50
	// smokeEffect is how long a change may take to be seen on a busy machine; the
	// test logs what it took.
	smokeEffect = 5 * time.Second
)

// TestSmoke drives bin/lintel with wrk, over HTTP and HTTPS, while its routes,
// endpoints and certificates change. No request may fail.
func TestSmoke(t *testing.T) {
	s := startSmoke(t)
	plain := startWrk(t, "http://"+s.plain+"/")
	secure := startWrk(t, "https://"+s.secure+"/")
	var slowest time.Duration
	for i := range smokeChanges {
		slowest = max(slowest, s.change(t, i))
	}
	s.until(t, time.Minute, func() bool { return s.served.Load() >= smokeRequests })
	total := 0
	for _, w := range []*wrk{plain, secure} {
		r := w.stop(t)
		total += r.requests
		if r.failures != 0 {
			t.Errorf("%s: %d failures\n%s", w.url, r.failures, &w.out)
		}
	}
	if total < smokeRequests {
		t.Errorf("only %d requests were answered", total)
	}
	t.Logf("%d requests and %d changes, the slowest seen after %v", total, smokeChanges, slowest.Round(time.Millisecond))
	s.lintel.Stop(t)
}

// smoke is a running bin/lintel, its manifests and its two backends.
type smoke struct {
	folder        string
	plain, secure string // addresses
	backends      [2]string
	served        atomic.Int64
	lintel        *instance.Instance
}

func startSmoke(t *testing.T) *smoke {
	t.Helper()
	s := &smoke{folder: t.TempDir()}
	for i := range s.backends {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			s.served.Add(1)
			fmt.Fprint(w, i)
		}))
		t.Cleanup(backend.Close)
		s.backends[i] = strings.TrimPrefix(backend.URL, "http://")
	}
	s.plain, s.secure = instance.FreeAddress(t), instance.FreeAddress(t)
	s.write(t, "gateway.yaml", instance.Together(instance.Gateway(s.plain, s.secure), smokeService))
	s.writeRoute(t, 0)
	s.writeEndpoints(t, 0)
	s.writeCertificate(t)

	s.lintel = instance.Start(t, smokeBinary, s.folder)
	return s
}

// change changes one thing and returns how long it took to be seen.
func (s *smoke) change(t *testing.T, i int) time.Duration {
	t.Helper()
	var seen func() bool
	var start time.Time
	switch i % 3 {
	case 0:
		start = s.writeRoute(t, i)
		seen = func() bool { header, _ := s.get(t); return header == strconv.Itoa(i) }
	case 1:
		// Both, or the first alone, or the second alone.
		start = s.writeEndpoints(t, i/3)
		seen = func() bool { return s.reached(t) == i/3%3 }
	default:
		before := s.serial(t)
		start = s.writeCertificate(t)
		seen = func() bool { return s.serial(t) != before }
	}
	s.until(t, smokeEffect, seen)
	return time.Since(start)
}

func (s *smoke) get(t *testing.T) (header, body string) {
	t.Helper()
	response, err := http.Get("http://" + s.plain + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("got %d, %v", response.StatusCode, err)
	}
	return response.Header.Get("X-Change"), text.String()
}

// reached says what backends answer: 0 for both, 1 for the first, 2 for the second.
func (s *smoke) reached(t *testing.T) int {
	t.Helper()
	seen := map[string]bool{}
	for range 20 {
		_, body := s.get(t)
		seen[body] = true
	}
	switch {
	case len(seen) == 2:
		return 0
	case seen["0"]:
		return 1
	default:
		return 2
	}
}

// serial returns that of the certificate that a new handshake gets.
func (s *smoke) serial(t *testing.T) string {
	t.Helper()
	conn, err := tls.Dial("tcp", s.secure, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // Signs itself.
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// until waits for a condition.
func (s *smoke) until(t *testing.T, limit time.Duration, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-s.lintel.Exited():
			t.Fatal("lintel exited")
		case <-ctx.Done():
			t.Fatalf("not seen within %v", limit)
		}
	}
}

// write replaces a file as a whole and returns when.
func (s *smoke) write(t *testing.T, name, text string) time.Time {
	t.Helper()
	replaceFile(t, filepath.Join(s.folder, name), text)
	return time.Now()
}

func (s *smoke) writeRoute(t *testing.T, change int) time.Time {
	t.Helper()
	return s.write(t, "route.yaml", fmt.Sprintf(smokeRoute, change))
}

func (s *smoke) writeEndpoints(t *testing.T, change int) time.Time {
	t.Helper()
	var text strings.Builder
	for i, address := range s.backends {
		ready := change%3 == 0 || change%3 == i+1
		fmt.Fprintf(&text, smokeEndpoints, i, portOf(address), ready)
	}
	return s.write(t, "endpoints.yaml", text.String())
}

func (s *smoke) writeCertificate(t *testing.T) time.Time {
	t.Helper()
	certPEM, keyPEM, err := edgetls.SelfSigned([]string{"127.0.0.1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return s.write(t, "certificate.yaml", instance.Certificate(certPEM, keyPEM))
}

const smokeService = `apiVersion: v1
kind: Service
metadata: {name: backend}
spec: {ports: [{name: http, port: 80}]}
`

const smokeRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route}
spec:
  parentRefs: [{name: web}]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: X-Change, value: "%d"}]}
    backendRefs: [{name: backend, port: 80}]
`

const smokeEndpoints = `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: backend-%d, labels: {kubernetes.io/service-name: backend}}
addressType: IPv4
ports: [{name: http, port: %s}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: %t}}]
`

func portOf(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}
