package kube

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/lintel-dev/lintel/conformance/cluster/controlplane"
	"github.com/lintel-dev/lintel/gateway"
)

// testTimeout is how long a test waits for what must happen, on a busy machine too.
const testTimeout = 2 * time.Minute

// apiServer is the one API server of all tests, with every CRD.
var apiServer = sync.OnceValues(func() (*controlplane.ControlPlane, error) {
	c, err := controlplane.Start(context.Background(), controlplane.Options{Log: slog.Default()})
	if err != nil {
		return nil, err
	}
	if err := c.InstallCRDs(context.Background()); err != nil {
		return nil, err
	}
	started.Store("", c)
	return c, nil
})

var started sync.Map // holds what apiServer started

func TestMain(m *testing.M) {
	// client-go reads this before main, so set it and start again.
	const detector = "KUBE_CACHE_MUTATION_DETECTOR"
	if os.Getenv(detector) != "true" {
		if err := syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), detector+"=true")); err != nil {
			fmt.Fprintln(os.Stderr, "start again with", detector, err)
			os.Exit(1)
		}
	}
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	flag.Parse()
	code := m.Run()
	if c, ok := started.Load(""); ok {
		if err := c.(*controlplane.ControlPlane).Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// fixture is an API server with a namespace of the test's own.
type fixture struct {
	*testing.T
	plane     *controlplane.ControlPlane
	clients   clients
	namespace string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an API server")
	}
	plane, err := apiServer()
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClients(plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, plane: plane, clients: c}
	n, err := c.kubernetes.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.namespace = n.Name
	return f
}

// runStore runs a Store until the test ends, and returns it with what it logs.
func (f *fixture) runStore(o StoreOptions) (*Store, *lines) {
	f.Helper()
	log := &lines{}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	if o.Config == nil {
		o.Config = f.plane.Config
	}
	s, err := NewStore(o)
	if err != nil {
		f.Fatal(err)
	}
	f.background(s.Run)
	return s, log
}

// background runs run until the test ends.
func (f *fixture) background(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- run(ctx) }()
	f.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.Errorf("Run: %v", err)
		}
	})
}

// wait calls Wait once.
func (f *fixture) wait(s *Store) gateway.Change {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), testTimeout)
	defer cancel()
	change, err := s.Wait(ctx)
	if err != nil {
		f.Fatalf("nothing changed: %v", err)
	}
	return change
}

// waitUntil waits for changes until the Snapshot is as wanted.
func (f *fixture) waitUntil(s *Store, want string, is func(*gateway.Snapshot) bool) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), testTimeout)
	defer cancel()
	for !is(s.Snapshot()) {
		if _, err := s.Wait(ctx); err != nil {
			f.Fatalf("the Snapshot never had %s: %v", want, err)
		}
	}
}

// eventually repeats a check that nothing announces.
func (f *fixture) eventually(want string, is func() bool) {
	f.Helper()
	deadline := time.After(testTimeout)
	for !is() {
		select {
		case <-deadline:
			f.Fatalf("never happened: %s", want)
		case <-time.After(10 * time.Millisecond): // a check may keep the API server from what is waited for
		}
	}
}

// as returns a client configuration of another user.
func (f *fixture) as(user string) *rest.Config {
	c := rest.CopyConfig(f.plane.Config)
	c.Impersonate.UserName = user
	return c
}

// lines is a log to read.
type lines struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// count returns how many lines contain all words.
func (l *lines) count(words ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
lines:
	for line := range strings.Lines(l.b.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// must returns the result of a call that has to succeed.
func must[T any](v T, err error) func(t *fixture) T {
	return func(t *fixture) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
