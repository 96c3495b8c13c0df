package h2spec

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/conformance/instance"
)

// lintelPath is relative to this folder unless absolute.
var lintelPath = flag.String("lintel", "", "path of the lintel to test; `make h2spec` gives it")

const (
	// buildTimeout is for a first build of h2spec, which downloads its modules.
	buildTimeout = 5 * time.Minute
	runTimeout   = 5 * time.Minute
)

// accepted are the cases that may fail, with the reason.
func accepted(over Transport) map[string]string {
	if over == TLS {
		return nil
	}
	return map[string]string{
		"http2/3.5 Sends invalid connection preface": "the port speaks HTTP/1.1 too (RFC 9113 section 3.3): what is no " +
			"preface is a malformed HTTP/1.1 request, which is answered with 400 before the connection is closed",
	}
}

// TestLintel runs every case against a running lintel, cleartext and over TLS, in both
// lanes. It prints "N passed, N skipped, N failed" for each.
func TestLintel(t *testing.T) {
	if *lintelPath == "" {
		t.Skip("run by `make h2spec`")
	}
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	h2spec, err := Build(ctx, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, lane := range []string{"on", "off"} {
		addresses := startLintel(t, "--express-lane="+lane)
		for _, over := range []Transport{Cleartext, TLS} {
			t.Run(fmt.Sprintf("%s, express lane %s", over, lane), func(t *testing.T) { testCases(t, h2spec, over, addresses[over]) })
		}
	}
}

// testCases runs every case against one address.
func testCases(t *testing.T, h2spec string, over Transport, address string) {
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	report, err := Run(ctx, h2spec, address, over)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %v", over, report)
	for _, f := range report.Failed {
		name := f.Section + " " + f.Case
		if reason := accepted(over)[name]; reason != "" {
			t.Logf("%s: accepted: %s", name, reason)
			continue
		}
		t.Errorf("%s\n%s", name, f.Reason)
	}
}

// startLintel serves one backend over both transports, with these settings, and returns
// the addresses.
func startLintel(t *testing.T, flags ...string) map[Transport]string {
	t.Helper()
	backend := startBackend(t)
	plain, secure := instance.FreeAddress(t), instance.FreeAddress(t)
	folder := t.TempDir()
	certificate, key := encodeCertificate(t)
	text := instance.Together(instance.Gateway(plain, secure), route, instance.Service("backend", backend.Listener.Addr().String()), instance.Certificate(certificate, key))
	if err := os.WriteFile(filepath.Join(folder, "gateway.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	instance.Start(t, *lintelPath, folder, flags...)
	return map[Transport]string{Cleartext: plain, TLS: secure}
}

// startBackend answers every request that is complete with some hundred bytes:
// cases that count bytes of DATA need a few.
func startBackend(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("lintel ", 100))
	}))
	t.Cleanup(server.Close)
	return server
}

// encodeCertificate borrows the certificate that package httptest has for 127.0.0.1.
func encodeCertificate(t *testing.T) (certificate, key []byte) {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	pair := server.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

const route = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: backend, port: 80}]}]
`
