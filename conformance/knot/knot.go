// Package knot runs Knot DNS (https://www.knot-dns.cz), an authoritative name server,
// for tests on this machine: zones that are changed by dynamic updates (RFC 2136) and
// read by transfers (RFC 5936), both with a TSIG key (RFC 8945).
//
//	server := knot.ForTest(t, knot.Options{Zones: []string{"example.test"}})
//	// server.Address answers over UDP and TCP; server.Key is what updates need.
//
// The program is the distribution's: `apt-get install knot`.
package knot

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
	"github.com/lintel-dev/lintel/conformance/process"
)

// Options says what is served.
type Options struct {
	Zones []string
	// NoTransfer refuses transfers of zones, as many servers do.
	NoTransfer bool
}

// Key is a TSIG key.
type Key struct {
	Name      string // with a dot at its end
	Algorithm string // as DNS writes it, "hmac-sha256."
	Secret    string // base64
}

// Server is a running name server.
type Server struct {
	Address string // 127.0.0.1:PORT, UDP and TCP
	Key     Key

	dir     string
	process *process.Process
}

// errMissing is returned where Knot DNS is not installed.
var errMissing = errors.New("knotd is not installed; `apt-get install knot` does that")

// ForTest starts a server that stops when the test ends. Where Knot DNS is not
// installed the test is skipped, or fails if EXTERNAL_TESTS is "require".
func ForTest(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if errors.Is(err, errMissing) {
		process.Missing(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of Knot DNS:\n%s", binary.Tail(s.logPath()))
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start starts a server, and returns when it answers for every zone. The caller ends
// it with Stop; ctx bounds the start alone.
func Start(ctx context.Context, o Options) (*Server, error) {
	path, err := find()
	if err != nil {
		return nil, err
	}
	const attempts = 3 // a free port may be taken before Knot listens on it
	for attempt := 1; ; attempt++ {
		s, err := startOnce(ctx, path, o)
		if err == nil || attempt == attempts || ctx.Err() != nil {
			return s, err
		}
	}
}

// find looks where distributions put daemons, too: that is not in everybody's PATH.
func find() (string, error) {
	for _, name := range []string{"knotd", "/usr/sbin/knotd", "/usr/local/sbin/knotd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errMissing
}

// startOnce leaves nothing behind when it fails.
func startOnce(ctx context.Context, path string, o Options) (*Server, error) {
	dir, err := os.MkdirTemp("", "lintel-knot-")
	if err != nil {
		return nil, fmt.Errorf("start Knot DNS: make folder: %w", err)
	}
	s := &Server{dir: dir}
	if err := s.start(ctx, path, o); err != nil {
		return nil, errors.Join(fmt.Errorf("start Knot DNS: %w", err), s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, path string, o Options) error {
	ports, err := process.FreePorts(ctx, 1)
	if err != nil {
		return err
	}
	port := strconv.Itoa(int(ports[0]))
	s.Address = "127.0.0.1:" + port
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	s.Key = Key{Name: "lintel-test.", Algorithm: dns.HmacSHA256, Secret: base64.StdEncoding.EncodeToString(secret)}
	configuration := filepath.Join(s.dir, "knot.conf")
	if err := os.WriteFile(configuration, []byte(s.configuration(port, o)), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	for _, zone := range o.Zones {
		file := filepath.Join(s.dir, strings.TrimSuffix(zone, ".")+".zone")
		if err := os.WriteFile(file, []byte(zoneFile(zone)), 0o600); err != nil {
			return fmt.Errorf("write zone: %w", err)
		}
	}
	if s.process, err = process.Start(process.Program{Name: "knotd", Path: path, Args: []string{"--config", configuration}, Log: s.logPath()}); err != nil {
		return err
	}
	for _, zone := range o.Zones {
		if err := s.waitReady(ctx, zone); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) configuration(port string, o Options) string {
	actions := "transfer, update"
	if o.NoTransfer {
		actions = "update"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `server:
  rundir: %[1]q
  listen: 127.0.0.1@%[2]s
  udp-workers: 1
  tcp-workers: 2
  background-workers: 1
log:
  - target: stdout
    any: info
database:
  storage: %[1]q
key:
  - id: %[3]s
    algorithm: hmac-sha256
    secret: %[4]s
acl:
  - id: keyed
    key: %[3]s
    action: [%[5]s]
template:
  - id: default
    storage: %[1]q
    file: "%%s.zone"
    acl: keyed
    semantic-checks: off
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
`, s.dir, port, strings.TrimSuffix(s.Key.Name, "."), s.Key.Secret, actions)
	for _, zone := range o.Zones {
		fmt.Fprintf(&b, "  - domain: %s\n", zone)
	}
	return b.String()
}

// zoneFile is a zone without records but those that it must have.
func zoneFile(zone string) string {
	return fmt.Sprintf(`$ORIGIN %s
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
`, dns.Fqdn(zone))
}

func (s *Server) logPath() string { return filepath.Join(s.dir, "knotd.log") }

// waitReady returns when a zone is served, or an error when the server has ended.
func (s *Server) waitReady(ctx context.Context, zone string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := s.ask(ctx, zone, dns.TypeSOA)
		if err == nil && answer.Rcode == dns.RcodeSuccess && len(answer.Answer) == 1 {
			return nil
		}
		select {
		case <-s.process.Done():
			return s.process.Failure()
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Stop ends the server and removes its files.
func (s *Server) Stop() error {
	if s.process != nil {
		s.process.Stop()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove files: %w", err)
	}
	return nil
}
