// Package pebble runs Pebble (https://github.com/letsencrypt/pebble), a small ACME
// server by the makers of Let's Encrypt, for tests on this machine.
//
//	ca := pebble.ForTest(t, pebble.Options{DNS: "127.0.0.1:5353"})
//	// ca.Directory is the URL for an ACME client that trusts ca.Roots;
//	// ca.Orders() says what was ordered.
//
// The program is built from the Go module proxy, out of a module of its own
// (program/), once, and cached. It validates for real, forgets everything when it
// ends, rejects some good nonces as a busy CA would, and makes a new root at every
// start. In front of it stands a small proxy of ours, which counts what clients ask
// for and can answer in Pebble's stead, to play a CA in trouble (Intercept).
package pebble

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
	"github.com/lintel-dev/lintel/conformance/process"
)

// Options says how a CA behaves. The zero value is a CA that asks the system's DNS.
type Options struct {
	// DNS is the address, HOST:PORT, of the server that Pebble asks over TCP when it
	// validates; it must answer with the records at the end of a CNAME itself. Empty
	// is the system's resolver.
	DNS string
	// HTTPPort and TLSPort are where Pebble connects to for HTTP-01 and TLS-ALPN-01;
	// zero is a port that nobody listens on.
	HTTPPort, TLSPort int
	// Profiles are names and the lifetimes of their certificates, in whole seconds;
	// nil is "default" with 90 days and "shortlived" with 6. A client that asks for
	// none gets any.
	Profiles map[string]time.Duration
	// ExternalAccounts are key ids and base64url HMAC keys. Without any, accounts need
	// no external account binding (RFC 8555 section 7.3.4); with some, all do.
	ExternalAccounts map[string]string
	// BadNonces is the share of good nonces that are rejected, in percent. Zero is
	// Pebble's own 5; negative is none.
	BadNonces int
	// ReuseAuthorizations is how often, in percent, an order gets a valid authorization
	// of an earlier one. Zero is never, unlike Pebble's own 50.
	ReuseAuthorizations int
	// AlternateChains is how many chains there are beside the first, each with a root
	// of its own, for clients that prefer one.
	AlternateChains int
	// Blocked are domains for which the CA refuses orders (rejectedIdentifier).
	Blocked []string
	// Log hears about a build that takes long; nil discards.
	Log *slog.Logger
}

// Server is a running CA.
type Server struct {
	// Directory is the URL of the ACME directory.
	Directory string
	// Roots is, in PEM, the certificate that clients of Directory trust. It has
	// nothing to do with the certificates that are issued.
	Roots []byte

	dir        string
	process    *process.Process
	front      *front
	management string // URL
	client     *http.Client
}

// ForTest starts a CA that stops when the test ends, and fails the test when that
// is not possible. The end of Pebble's log is in the output of a test that failed.
func ForTest(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Pebble's log:\n%s", binary.Tail(s.logPath()))
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start builds Pebble unless it is cached, starts it, and returns when it answers.
// The caller ends it with Stop; ctx bounds the start alone.
func Start(ctx context.Context, o Options) (*Server, error) {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	builder, err := binary.NewBuilder(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	path, err := builder.Build(ctx, binary.Program{
		Name: "pebble", Module: "../pebble/program", // seen from conformance/cluster
		Package: "github.com/letsencrypt/pebble/v2/cmd/pebble",
	})
	if err != nil {
		return nil, err
	}
	const attempts = 3 // a free port may be taken before Pebble listens on it
	for attempt := 1; ; attempt++ {
		s, err := startOnce(ctx, path, o)
		if err == nil || attempt == attempts || ctx.Err() != nil {
			return s, err
		}
	}
}

// startOnce leaves nothing behind when it fails.
func startOnce(ctx context.Context, path string, o Options) (*Server, error) {
	dir, err := os.MkdirTemp("", "lintel-pebble-")
	if err != nil {
		return nil, fmt.Errorf("start pebble: make folder: %w", err)
	}
	s := &Server{dir: dir}
	if err := s.start(ctx, path, o); err != nil {
		return nil, errors.Join(fmt.Errorf("start pebble: %w", err), s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, path string, o Options) error {
	identity, err := newIdentity()
	if err != nil {
		return err
	}
	s.Roots = identity.rootPEM
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.Roots)
	s.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 16,
	}}
	ports, err := process.FreePorts(ctx, 4)
	if err != nil {
		return err
	}
	config, err := s.writeConfiguration(o, ports, identity)
	if err != nil {
		return err
	}
	args := []string{"-config", config}
	if o.DNS != "" {
		args = append(args, "-dnsserver", o.DNS)
	}
	if s.process, err = process.Start(process.Program{Name: "pebble", Path: path, Args: args, Env: environment(o), Log: s.logPath()}); err != nil {
		return err
	}
	s.management = "https://" + local(ports[1])
	if err := s.waitReady(ctx, "https://"+local(ports[0])+string(Directory)); err != nil {
		return err
	}
	if s.front, err = newFront(ctx, local(ports[0]), s.client.Transport, identity.certificate); err != nil {
		return err
	}
	s.Directory = "https://" + s.front.address + string(Directory)
	return nil
}

func (s *Server) logPath() string { return filepath.Join(s.dir, "pebble.log") }

// waitReady returns when Pebble answers, or an error when it has ended.
func (s *Server) waitReady(ctx context.Context, url string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := s.get(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-s.process.Done():
			return s.process.Failure()
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Stop ends the CA and removes its files.
func (s *Server) Stop() error {
	if s.front != nil {
		s.front.close()
	}
	if s.process != nil {
		s.process.Stop()
	}
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove files: %w", err)
	}
	return nil
}

// Issuers returns the roots that issued certificates chain to, in PEM, that of the
// first chain first.
func (s *Server) Issuers(ctx context.Context) ([]byte, error) {
	var roots []byte
	for i := 0; ; i++ {
		root, err := s.get(ctx, s.management+"/roots/"+strconv.Itoa(i))
		var status statusError
		switch {
		case errors.As(err, &status) && status == http.StatusNotFound && i > 0:
			return roots, nil
		case err != nil:
			return nil, fmt.Errorf("get root %d: %w", i, err)
		}
		roots = append(roots, root...)
	}
}

// SetRenewalInfo makes the CA suggest a window for the renewal of a certificate,
// given in PEM (RFC 9773).
func (s *Server) SetRenewalInfo(ctx context.Context, certificate []byte, from, to time.Time) error {
	info, err := json.Marshal(map[string]any{"suggestedWindow": map[string]time.Time{"start": from.UTC(), "end": to.UTC()}})
	if err != nil {
		return fmt.Errorf("set renewal information: %w", err)
	}
	body, err := json.Marshal(map[string]string{"Certificate": string(certificate), "ARIResponse": string(info)})
	if err != nil {
		return fmt.Errorf("set renewal information: %w", err)
	}
	if _, err := s.send(ctx, http.MethodPost, s.management+"/set-renewal-info/", bytes.NewReader(body)); err != nil {
		return fmt.Errorf("set renewal information: %w", err)
	}
	return nil
}

func (s *Server) get(ctx context.Context, url string) ([]byte, error) {
	return s.send(ctx, http.MethodGet, url, http.NoBody)
}

func (s *Server) send(ctx context.Context, method, url string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = statusError(response.StatusCode)
	}
	return content, err
}

type statusError int

func (e statusError) Error() string { return "HTTP status " + strconv.Itoa(int(e)) }
