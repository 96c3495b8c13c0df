package acme_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/pebble"
	edgetls "github.com/lintel-dev/lintel/tls"
	"github.com/lintel-dev/lintel/tls/acme"
)

// patience is how long a test waits for what has to come.
const patience = time.Minute

// brief is a profile for certificates that are renewed while a test looks on.
const (
	brief         = "brief"
	briefLifetime = 45 * time.Second
)

// world is what all tests share: a CA, the DNS that it asks, and a host that it
// connects to, for every name.
type world struct {
	ca      *pebble.Server
	dns     *cloudflare.Server
	answers *answers
	roots   *x509.CertPool // that certificates chain to
	zones   atomic.Int64   // that were named
}

// shared is the world of this test run.
var shared *world

func TestMain(m *testing.M) {
	if place := os.Getenv(childEnv); place != "" {
		os.Exit(child(place))
	}
	// Tests here wait for a CA and for the DNS, and compute little.
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // a build may take minutes
	defer cancel()
	shared, err = newWorld(ctx)
	if err != nil {
		return 1, err
	}
	code = m.Run()
	shared.answers.close()
	return code, errors.Join(shared.ca.Stop(), shared.dns.Stop())
}

func newWorld(ctx context.Context) (*world, error) {
	w := &world{answers: newAnswers(), roots: x509.NewCertPool()}
	var err error
	if w.dns, err = cloudflare.Start(ctx, cloudflare.Options{RequestLimit: -1}); err != nil {
		return nil, err
	}
	w.ca, err = pebble.Start(ctx, w.caOptions())
	if err != nil {
		return nil, err
	}
	issuers, err := w.ca.Issuers(ctx)
	w.roots.AppendCertsFromPEM(issuers)
	return w, err
}

func (w *world) caOptions() pebble.Options {
	return pebble.Options{
		DNS: w.dns.DNS, HTTPPort: w.answers.port(w.answers.plain), TLSPort: w.answers.port(w.answers.secure), BadNonces: 20,
		Profiles: map[string]time.Duration{"default": 90 * 24 * time.Hour, brief: briefLifetime},
		Log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
}

// answers is a host that answers challenges on two ports, as replicas do.
type answers struct {
	plain, secure net.Listener
	store         edgetls.Store
	server        *http.Server
	ended         sync.WaitGroup

	mu         sync.Mutex
	challenges map[acme.Challenge]struct{}
}

func newAnswers() *answers {
	a := &answers{challenges: map[acme.Challenge]struct{}{}}
	for _, l := range []*net.Listener{&a.plain, &a.secure} {
		var err error
		if *l, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			panic(err)
		}
	}
	a.server = &http.Server{Handler: a, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	a.ended.Go(func() { _ = a.server.Serve(a.plain) })
	a.ended.Go(func() {
		config := &tls.Config{GetCertificate: a.store.For("any"), NextProtos: []string{"acme-tls/1"}}
		_ = a.server.Serve(tls.NewListener(a.secure, config))
	})
	return a
}

func (a *answers) close() {
	_ = a.server.Close()
	a.ended.Wait()
}

func (a *answers) port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	host, _, _ := net.SplitHostPort(r.Host)
	for c := range a.challenges {
		if c.Type == acme.ChallengeHTTP01 && c.Path() == r.URL.Path && c.Identifier == host {
			_, _ = io.WriteString(w, c.KeyAuthorization)
			return
		}
	}
	http.NotFound(w, r)
}

// follow returns a function that answers what a Directory presents.
func (a *answers) follow() func([]acme.Challenge) {
	var mine []acme.Challenge
	return func(now []acme.Challenge) {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, c := range mine {
			delete(a.challenges, c)
		}
		mine = now
		for _, c := range mine {
			a.challenges[c] = struct{}{}
		}
		var handshakes []edgetls.Challenge
		for c := range a.challenges {
			if c.Type == acme.ChallengeTLSALPN01 {
				handshakes = append(handshakes, edgetls.Challenge{Identifier: c.Identifier, KeyAuthorization: c.KeyAuthorization})
			}
		}
		if err := a.store.ApplyChallenges(handshakes); err != nil {
			panic(err)
		}
	}
}

// zoneName names a zone that no other test has, nor the same one when it is run again: orders are
// counted by it.
func (w *world) zoneName(t *testing.T) string {
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	return fmt.Sprintf("%.50s-%d.test", name, w.zones.Add(1)) // a label has 63 bytes at most
}

// zone makes a zone for one test, whose names all lead to answers.
func (w *world) zone(t *testing.T) string {
	t.Helper()
	name := w.zoneName(t)
	w.dns.AddZone(name)
	for _, host := range []string{name, "*." + name} {
		if _, err := w.dns.Put(name, cloudflare.Record{Type: "A", Name: host, Content: "127.0.0.1"}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { w.dns.RemoveZone(name) })
	return name
}

// leftovers returns the TXT records of a zone.
func (w *world) leftovers(zone string) []string {
	var left []string
	for _, r := range w.dns.Records(zone) {
		if r.Type == "TXT" {
			left = append(left, r.Name+" "+r.Content)
		}
	}
	return left
}

// orders returns those for names of a zone.
func (w *world) orders(zone string) []pebble.Order { return ordersOf(w.ca, zone) }

func ordersOf(ca *pebble.Server, zone string) []pebble.Order {
	return slices.DeleteFunc(ca.Orders(), func(o pebble.Order) bool {
		return !slices.ContainsFunc(o.Names, func(name string) bool { return strings.HasSuffix(name, zone) })
	})
}

func rootsOf(ca *pebble.Server) func() (string, error) {
	return func() (string, error) { return string(ca.Roots), nil }
}

func token() (string, error) { return cloudflare.Token, nil }

// issuer proves names by the DNS of the world.
func (w *world) issuer(name string) acme.Issuer {
	return acme.Issuer{
		Name: name, Directory: w.ca.Directory, Roots: rootsOf(w.ca), Email: name + "@example.test", Profile: "default",
		Solver: acme.DNS01{Provider: acme.Cloudflare{Token: token, HTTPClient: w.dns.HTTPClient()}, Resolvers: []string{w.dns.DNS}},
	}
}

// options are quick to try again.
func options(t *testing.T, storage acme.Storage, issuers ...acme.Issuer) acme.Options {
	return acme.Options{
		Issuers: issuers, Storage: storage, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), UserAgent: "lintel-test",
		Backoff: acme.Backoff{First: 300 * time.Millisecond, Most: 2 * time.Second}, Settle: -1,
	}
}

func directory(t *testing.T, path string) *acme.Directory {
	t.Helper()
	d, err := acme.NewDirectory(path, shared.answers.follow())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// replica is a running Orders.
type replica struct {
	*acme.Orders
	changed chan struct{}
	end     func()

	mu     sync.Mutex
	stages []string // that certificates went through, each once in a row
}

// start runs an Orders until the test ends, or end is called.
func start(t *testing.T, o acme.Options, want ...acme.Certificate) *replica {
	t.Helper()
	r := &replica{changed: make(chan struct{}, 1)}
	o.Changed = func() {
		r.note()
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	orders, err := acme.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.Orders = orders
	r.mu.Unlock()
	r.Apply(want)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}()
	r.end = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(r.end)
	return r
}

func (r *replica) note() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Orders == nil {
		return
	}
	for _, s := range r.States() {
		if n := len(r.stages); n == 0 || r.stages[n-1] != string(s.Stage) {
			r.stages = append(r.stages, string(s.Stage))
		}
	}
}

func (r *replica) history() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.stages)
}

// until waits for a state of a certificate, and returns it.
func (r *replica) until(t *testing.T, name acme.Name, what string, is func(acme.State) bool) acme.State {
	t.Helper()
	deadline := time.After(patience)
	for {
		if s := r.States()[name]; is(s) {
			return s
		}
		select {
		case <-r.changed:
		case <-deadline:
			t.Fatalf("%s is not %s: %+v", name, what, r.States()[name])
		}
	}
}

func (r *replica) untilReady(t *testing.T, name acme.Name) acme.State {
	t.Helper()
	return r.until(t, name, "ready", func(s acme.State) bool { return s.Stage == acme.Ready })
}

// untilFailed waits for a failure with this in its message.
func (r *replica) untilFailed(t *testing.T, name acme.Name, with string) acme.State {
	t.Helper()
	return r.until(t, name, "failed: "+with, func(s acme.State) bool {
		return s.Stage == acme.Failed && strings.Contains(s.Message, with)
	})
}

// load returns the certificate that is stored, which must fit its key.
func load(t *testing.T, s acme.Storage, name acme.Name) (*x509.Certificate, *acme.Stored) {
	t.Helper()
	stored, err := s.Load(t.Context(), name)
	if err != nil || stored == nil {
		t.Fatalf("load %s: %v, %v", name, stored, err)
	}
	pair, err := tls.X509KeyPair(stored.CertPEM, stored.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf, stored
}

// verify checks a stored chain against the roots of the CA.
func verify(t *testing.T, stored *acme.Stored, roots *x509.CertPool, names ...string) {
	t.Helper()
	between := x509.NewCertPool()
	leafBlock, rest := pem.Decode(stored.CertPEM)
	between.AppendCertsFromPEM(rest)
	leaf, err := x509.ParseCertificate(leafBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
