package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	fakeedge "github.com/lintel-dev/lintel/conformance/edge"
	"github.com/lintel-dev/lintel/conformance/instance"
	programs "github.com/lintel-dev/lintel/conformance/process"
)

// tunnelHome is a folder of manifests with a Gateway that is reached through a tunnel, and a
// FAKE of Cloudflare's edge.
type tunnelHome struct {
	*testing.T
	edge   *fakeedge.Edge
	tunnel uuid.UUID
	folder string
	http   uint16
	log    lockedBuffer
}

func newTunnelHome(t *testing.T) *tunnelHome {
	t.Helper()
	ports, err := programs.FreePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	h := &tunnelHome{T: t, edge: fakeedge.ForTest(t, fakeedge.Options{}), tunnel: uuid.New(), folder: t.TempDir(), http: ports[0]}
	showIfFailed(t, &h.log)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host, " for ", r.Header.Get("X-Forwarded-For"), " by ", r.Header.Get("X-Forwarded-Proto"))
	}))
	t.Cleanup(origin.Close)
	h.write("app.yaml", instance.Together(instance.Class, `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  hostnames: [app.example.com]
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: app, port: 80}]}]
`, instance.Service("app", origin.Listener.Addr().String())))
	h.gateway("home")
	h.declare("")
	h.secret(h.edge.Allow(h.tunnel))
	return h
}

func (h *tunnelHome) gateway(tunnel string) {
	h.write("gateway.yaml", fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: lintel
  infrastructure: {parametersRef: {group: lintel.dev, kind: Tunnel, name: %s}}
  listeners: [{name: http, port: %d, protocol: HTTP}]
`, tunnel, h.http))
}

// declare writes the Tunnel, with more fields of its spec.
func (h *tunnelHome) declare(more string) {
	var addresses []string
	for _, a := range h.edge.Addresses() {
		addresses = append(addresses, a.String())
	}
	h.write("tunnel.yaml", fmt.Sprintf(`apiVersion: lintel.dev/v1alpha1
kind: Tunnel
metadata: {name: home}
spec:
  credentials: {token: {name: home}}
  edge: {addresses: ["%s"], ca: {name: edge}}
%s`, strings.Join(addresses, `", "`), more))
}

// secret writes the token, and the CA of the fake edge.
func (h *tunnelHome) secret(token string) {
	h.write("secret.yaml", fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: home}
stringData: {token: %q}
---
apiVersion: v1
kind: Secret
metadata: {name: edge}
data: {ca.crt: %s}
`, token, base64.StdEncoding.EncodeToString(h.edge.RootsPEM)))
}

func (h *tunnelHome) write(name, text string) {
	h.Helper()
	replaceFile(h.T, filepath.Join(h.folder, name), text)
}

func (h *tunnelHome) run(args ...string) (p *process, stop func()) {
	h.Helper()
	return testRun{log: &h.log}.start(h.T, append([]string{"--manifests=" + h.folder, "--admin-address="}, args...)...)
}

// status is what `lintel tunnel status` says.
func (h *tunnelHome) status(admin string) string {
	h.Helper()
	var out strings.Builder
	if err := tunnelReport().show(h.Context(), adminClient("tcp", admin), "table", &out); err != nil {
		h.Error(err)
	}
	return out.String()
}

func (h *tunnelHome) connected(n int) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), testTimeout)
	defer cancel()
	if err := h.edge.Wait(ctx, h.tunnel, n); err != nil {
		h.Fatal(err)
	}
}

// ask sends a request of an end user through the edge.
func (h *tunnelHome) ask(path string) (string, error) {
	client := &http.Client{Transport: h.edge.RoundTripper(h.tunnel), Timeout: 10 * time.Second}
	return answerText(client, "https://app.example.com"+path)
}

func answerText(client *http.Client, url string) (string, error) {
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(body), err
}

func (h *tunnelHome) await(what string, holds func() error) {
	h.Helper()
	untilNil(h.T, what, holds)
}

func (h *tunnelHome) answers() {
	h.Helper()
	h.await("an answer through the tunnel", func() error {
		text, err := h.ask("/")
		if err == nil && text != "app.example.com for 203.0.113.7 by https" {
			err = fmt.Errorf("the answer is %q", text)
		}
		return err
	})
}

func TestTunnelLeadsToTheGateway(t *testing.T) {
	t.Parallel()
	h := newTunnelHome(t)
	admin := instance.FreeAddress(t)
	_, stop := h.run("--admin-address=" + admin)
	h.connected(4)
	h.answers()
	h.await("lintel tunnel status", func() error {
		if text := h.status(admin); !strings.Contains(text, "default/home") || strings.Count(text, "HTTP2") != 4 {
			return errors.New(text)
		}
		return nil
	})
	for _, want := range []string{`lintel_tunnel_connections{tunnel="default/home"} 4`, `lintel_tunnel_registrations_total{tunnel="default/home"} 4`} {
		if metrics, err := answerText(http.DefaultClient, "http://"+admin+"/metrics"); err != nil || !strings.Contains(metrics, want) {
			t.Errorf("no %s: %v", want, err)
		}
	}
	local, err := answerText(h.localClient(), "http://app.example.com/")
	if err != nil || !strings.HasPrefix(local, "app.example.com") {
		t.Errorf("on the local network: %q, %v", local, err)
	}

	h.declare("  localSockets: Closed\n  protocol: QUIC\n")
	h.await("no local socket", func() error {
		if _, err := answerText(h.localClient(), "http://app.example.com/"); err == nil {
			return errors.New("there still is one")
		}
		return nil
	})
	h.answers()
	h.await("QUIC", func() error {
		for _, c := range h.edge.Connections(h.tunnel) {
			if c.Protocol != "quic" {
				return fmt.Errorf("a connection by %s", c.Protocol)
			}
		}
		return nil
	})
	h.answers()
	stop()
	if n := len(h.edge.Connections(h.tunnel)); n > 0 {
		t.Errorf("%d connections are left", n)
	}
}

// localClient comes by the Gateway's own socket.
func (h *tunnelHome) localClient() *http.Client {
	transport := &http.Transport{DisableKeepAlives: true}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", h.http))
	}
	return &http.Client{Transport: transport, Timeout: 5 * time.Second}
}

// TestTokenIsReplacedUnderLoad replaces the token, deletes its Secret and puts it back, while
// requests come in: all of them are answered.
func TestTokenIsReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	h := newTunnelHome(t)
	h.run()
	h.connected(4)
	h.answers()
	load := h.load()
	before := h.edge.Connections(h.tunnel)[0].Connector
	h.secret(h.edge.Allow(h.tunnel))
	h.await("a new connector", func() error {
		all := h.edge.Connections(h.tunnel)
		for _, c := range all {
			if c.Connector == before || len(all) != 4 {
				return fmt.Errorf("%d connections, one is by the old connector", len(all))
			}
		}
		return nil
	})
	if err := os.Remove(filepath.Join(h.folder, "secret.yaml")); err != nil {
		t.Fatal(err)
	}
	h.await("the log tells", func() error {
		if !strings.Contains(h.log.String(), "Secret default/home not found") {
			return errors.New("nothing of the Secret")
		}
		return nil
	})
	h.connected(4)
	h.secret(h.edge.Allow(h.tunnel))
	h.await("the mistake is gone", func() error {
		if !strings.Contains(h.log.String(), "mistake is gone") {
			return errors.New("it is not")
		}
		return nil
	})
	h.connected(4)
	load.end(t)
}

// load is requests through the edge.
type load struct {
	stop     context.CancelFunc
	done     sync.WaitGroup
	mu       sync.Mutex
	requests int
	failures []error
}

func (h *tunnelHome) load() *load {
	return loadOf(h.T, func() error { _, err := h.ask("/"); return err })
}

func loadOf(t *testing.T, ask func() error) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	for range 4 {
		l.done.Go(func() {
			for ctx.Err() == nil {
				err := ask()
				l.mu.Lock()
				if l.requests++; err != nil {
					l.failures = append(l.failures, err)
				}
				l.mu.Unlock()
				rest(ctx, 2*time.Millisecond)
			}
		})
	}
	return l
}

func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.done.Wait()
	if len(l.failures) > 0 {
		t.Errorf("%d of %d requests failed, first: %v", len(l.failures), l.requests, l.failures[0])
	}
	t.Logf("%d requests", l.requests)
}

func TestMistakesOfATunnelAreTold(t *testing.T) {
	t.Parallel()
	h := newTunnelHome(t)
	h.secret("v1.0-not-a-tunnel-token")
	h.gateway("hone")
	_, stop := h.run()
	h.await("the missing Tunnel", h.said("Tunnel default/hone not found"))
	h.gateway("home")
	h.await("the bad token", h.said("it is not base64"))
	h.secret(h.edge.Allow(uuid.New()))
	h.await("a tunnel that is somebody else's is connected", h.said("tunnel connected"))
	h.declare("  protocols: QUIC\n")
	h.await("the field that is none", h.said(`did you mean \"protocol\"?`))
	stop()
}

func (h *tunnelHome) said(text string) func() error {
	return func() error {
		if !strings.Contains(h.log.String(), text) {
			return fmt.Errorf("the log does not say %q", text)
		}
		return nil
	}
}

// replace changes a file.
func (h *tunnelHome) replace(name, from, to string) {
	h.Helper()
	text, err := os.ReadFile(filepath.Join(h.folder, name))
	if err != nil || !strings.Contains(string(text), from) {
		h.Fatalf("%q in\n%s: %v", from, text, err)
	}
	h.write(name, strings.ReplaceAll(string(text), from, to))
}

// TestTunnelAsksForAccess: with spec.access a request without an assertion of Access is refused, and
// without it again it is not.
func TestTunnelAsksForAccess(t *testing.T) {
	t.Parallel()
	h := newTunnelHome(t)
	admin := instance.FreeAddress(t)
	h.run("--admin-address=" + admin)
	h.connected(4)
	h.answers()
	h.declare("  access: {teamDomain: home.cloudflareaccess.com, audiences: [app]}\n")
	h.await("requests are refused", func() error {
		if _, err := h.ask("/"); err == nil || err.Error() != "403 Forbidden" {
			return fmt.Errorf("the answer is %w", err)
		}
		return nil
	})
	if _, err := answerText(h.localClient(), "http://app.example.com/"); err != nil {
		t.Errorf("on the local network: %v", err)
	}
	h.await("errors are counted", func() error {
		metrics, err := answerText(http.DefaultClient, "http://"+admin+"/metrics")
		if err == nil && !strings.Contains(metrics, `lintel_tunnel_request_errors_total{cause="no access",tunnel="default/home"}`) {
			err = errors.New("they are not")
		}
		return err
	})
	h.declare("")
	h.answers()
}

// TestExampleOfATunnelLacksItsTokenAlone keeps examples/tunnel in order.
func TestExampleOfATunnelLacksItsTokenAlone(t *testing.T) {
	settings := settingsOf(t)
	var out strings.Builder
	if err := check("../../examples/tunnel", gatewaySettings(&settings), &out); !errors.Is(err, errReported) {
		t.Error(err)
	}
	if said := out.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "Tunnel default/home: spec.credentials: read tunnel token") {
		t.Errorf("lintel check says:\n%s", said)
	}
}
