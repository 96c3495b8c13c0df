package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/conformance/instance"
	"github.com/lintel-dev/lintel/conformance/pebble"
)

// TestCertificatesWithoutCluster gets certificates for manifests, by each challenge that
// Lintel answers itself, and keeps them over a restart.
func TestCertificatesWithoutCluster(t *testing.T) {
	t.Parallel()
	w := newACMEWorld(t)
	folder, storage := t.TempDir(), filepath.Join(t.TempDir(), "state")
	w.must(os.WriteFile(filepath.Join(folder, "gateway.yaml"), fmt.Appendf(nil, acmeManifests, w.plain, w.any, w.any, w.secure), 0o600))
	admin := instance.FreeAddress(t)
	start := func() func() {
		_, stop := w.startLintel("--manifests="+folder, "--acme-storage="+storage, "--admin-address="+admin, "--default-issuer=http")
		return stop
	}
	stop := start()
	byHTTP := w.awaitServed(w.any, "one.example.test")
	byTLS := w.awaitServed(w.secure, "two.example.test")
	if _, err := w.handshake(w.any, "dev.example.test"); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("the certificate that signs itself: %v", err)
	}

	w.await("report", func() string {
		var table bytes.Buffer
		if err := certificateReport().show(t.Context(), adminClient("tcp", admin), "table", &table); err != nil {
			return err.Error()
		}
		for _, want := range []string{"default/one", "one.example.test", "Ready", byHTTP.NotAfter.UTC().Format("2006-01-02 15:04:05Z"), "self-signed"} {
			if !strings.Contains(table.String(), want) {
				return table.String()
			}
		}
		return ""
	})
	metrics := w.body("http://" + admin + "/metrics")
	for _, want := range []string{
		fmt.Sprintf(`lintel_tls_certificate_not_after_seconds{issuer="http",namespace="default",secret="one"} %v`, float64(byHTTP.NotAfter.Unix())),
		`lintel_acme_certificates_total{issuer="alpn"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	var session session
	w.must(w.resume(&session, w.any, "one.example.test"))
	stop()

	start()
	if leaf := w.awaitServed(w.any, "one.example.test"); !leaf.Equal(byHTTP) {
		t.Error("another certificate after the restart")
	}
	if leaf := w.awaitServed(w.secure, "two.example.test"); !leaf.Equal(byTLS) {
		t.Error("another certificate after the restart")
	}
	w.await("session from before the restart", func() string {
		before := session
		if err := w.resume(&before, w.any, "one.example.test"); err != nil {
			return err.Error()
		}
		return ""
	})
	if n := len(w.ca.Orders()); n != 2 {
		t.Errorf("%d orders for two certificates", n)
	}
}

// session is a client's memory of one.
type session struct{ state *tls.ClientSessionState }

func (s *session) Get(string) (*tls.ClientSessionState, bool)  { return s.state, s.state != nil }
func (s *session) Put(_ string, state *tls.ClientSessionState) { s.state = state }

// resume does a handshake that takes up a session, or that begins it if there is none.
func (w *acmeWorld) resume(s *session, port uint16, name string) error {
	begins := s.state == nil
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: w.roots, ClientSessionCache: s, MaxVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(w.Context(), "tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	if !begins && !conn.(*tls.Conn).ConnectionState().DidResume {
		return errors.New("a new session")
	}
	return nil
}

// TestSelfSignedUntilReady serves a certificate that signs itself while a CA refuses, since
// the settings say so.
func TestSelfSignedUntilReady(t *testing.T) {
	t.Parallel()
	w := newACMEWorld(t)
	w.ca.Intercept(pebble.NewOrder, pebble.Refuse(http.StatusInternalServerError, "serverInternal", 0))
	folder := t.TempDir()
	w.must(os.WriteFile(filepath.Join(folder, "gateway.yaml"), fmt.Appendf(nil, acmeManifests, w.plain, w.any, w.any, w.secure), 0o600))
	w.startLintel("--manifests="+folder, "--acme-storage="+t.TempDir(), "--admin-address=", "--default-issuer=http", "--self-signed-until-ready=on")
	w.await("a certificate that signs itself", func() string {
		_, err := w.handshake(w.any, "one.example.test")
		var unknown x509.UnknownAuthorityError
		if !errors.As(err, &unknown) || unknown.Cert.DNSNames[0] != "one.example.test" {
			return fmt.Sprint(err)
		}
		return ""
	})
	w.await("orders", func() string { return map[bool]string{false: "none"}[w.ca.Calls(pebble.NewOrder) > 0] })
}

func (w *acmeWorld) body(url string) string {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, url, nil)
	w.must(err)
	response, err := http.DefaultClient.Do(request)
	w.must(err)
	defer response.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(response.Body)
	w.must(err)
	return text.String()
}

// acmeManifests have a port for plain HTTP, two for HTTPS, and one that the CA asks on.
const acmeManifests = instance.Class + `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: lintel
  listeners:
  - {name: http, port: %d, protocol: HTTP}
  - {name: one, port: %d, protocol: HTTPS, hostname: one.example.test, tls: {certificateRefs: [{name: one}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: dev, annotations: {lintel.dev/issuer: self-signed}}
spec:
  gatewayClassName: lintel
  listeners: [{name: dev, port: %d, protocol: HTTPS, hostname: dev.example.test, tls: {certificateRefs: [{name: dev}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: handshakes, annotations: {lintel.dev/issuer: alpn}}
spec:
  gatewayClassName: lintel
  listeners: [{name: two, port: %d, protocol: HTTPS, hostname: two.example.test, tls: {certificateRefs: [{name: two}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirect}
spec:
  parentRefs: [{name: web, sectionName: http}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}]
`
