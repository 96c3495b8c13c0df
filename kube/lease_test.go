package kube

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/gateway"
)

// replica is a StatusWriter that runs while its Leader leads.
type replica struct {
	*fixture
	name   string
	writer *StatusWriter
	log    *lines
	stop   func()
}

func (f *fixture) replica(name string, store *Store, config *rest.Config, parts ...func(context.Context) error) *replica {
	f.Helper()
	r := &replica{fixture: f, name: name, writer: f.writer(store), log: &lines{}}
	leader := must(NewLeader(LeaderOptions{
		Config: config, Namespace: f.namespace, Name: "lintel", Identity: name, Log: slog.New(slog.NewTextHandler(r.log, nil)),
	}))(f)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- leader.Run(ctx, append(parts, r.writer.Run)...) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.Errorf("Leader.Run: %v", err)
		}
	})
	f.Cleanup(r.stop)
	return r
}

// message is what the status of Route "r" says: the name of the replica that wrote it.
func (f *fixture) message() string {
	if p := f.httpRoute("r").Status.Parents; len(p) == 1 {
		return p[0].Conditions[0].Message
	}
	return ""
}

func (f *fixture) holder() string {
	l, err := f.clients.kubernetes.CoordinationV1().Leases(f.namespace).Get(f.Context(), "lintel", metav1.GetOptions{})
	if err != nil || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// TestLeaderWritesAlone has two replicas want a status each. Only the leader's is
// written, whatever the other wants, and the other's newest when the leader stops.
func TestLeaderWritesAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	route := f.createHTTPRoute("r", "g")
	store, _ := f.runStore(StoreOptions{})
	f.wait(store)
	want := func(r *replica, message string) { r.writer.Apply([]*gateway.Status{routeStatus(route, message)}) }

	a := f.replica("a", store, f.plane.Config)
	f.eventually("a leads", func() bool { return f.holder() == "a" })
	b := f.replica("b", store, f.plane.Config)
	want(b, "b: an old want")
	want(a, "a")
	f.eventually("a's status is written", func() bool { return f.message() == "a" })
	f.eventually("b knows that a leads", func() bool { return b.log.count("another replica leads", "leader=a") == 1 })
	want(b, "b")
	want(a, "a again")
	f.eventually("a's new status is written", func() bool { return f.message() == "a again" })

	start := time.Now()
	a.stop()
	if f.holder() == "a" {
		t.Error("a has stopped, and has not given back the Lease")
	}
	if got := f.message(); got != "a again" && got != "b" { // b may have it by now
		t.Errorf("while a stopped, %q was written", got)
	}
	f.eventually("b's newest status is written", func() bool { return f.message() == "b" })
	if took := time.Since(start); took >= leaseDuration {
		t.Errorf("hand-over took %v, as if the Lease had not been given back", took)
	}

	a = f.replica("a", store, f.plane.Config)
	f.eventually("a knows that b leads", func() bool { return a.log.count("another replica leads", "leader=b") == 1 })
	want(a, "a")
	want(b, "b again")
	f.eventually("b still writes", func() bool { return f.message() == "b again" })
}

// TestLeaderThatIsCutOff loses its way to the API server. It stops to write before
// another replica starts, and stands again when the way is back.
func TestLeaderThatIsCutOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store, _ := f.runStore(StoreOptions{})
	f.wait(store)
	wire := &wire{}
	config := rest.CopyConfig(f.plane.Config)
	config.Dial = wire.dial

	var writing writers
	a := f.replica("a", store, config, writing.part("a"))
	f.eventually("a leads", func() bool { return f.holder() == "a" && writing.is("a") })
	b := f.replica("b", store, f.plane.Config, writing.part("b"))
	wire.cut()
	f.eventually("a stopped by itself", func() bool { return writing.is("") })
	if f.holder() != "a" {
		t.Error("the Lease changed hands before a stopped")
	}
	f.eventually("b took over", func() bool { return f.holder() == "b" && writing.is("b") })
	if a.log.count("Lease not accessible") != 1 {
		t.Errorf("a logs %s", a.log)
	}
	wire.mend()
	f.eventually("a finds b", func() bool { return a.log.count("another replica leads", "leader=b") == 1 })
	b.stop()
	f.eventually("a leads again", func() bool { return f.holder() == "a" && writing.is("a") })
	if writing.most() > 1 {
		t.Error("two replicas led at once")
	}
}

// TestLeaderWithoutPermission says once what to grant, and leads when it is granted.
func TestLeaderWithoutPermission(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store, _ := f.runStore(StoreOptions{})
	r := f.replica("a", store, f.as("nobody"))
	f.eventually("the log says what to grant", func() bool { return r.log.count("grant get, create and update on leases") == 1 })
}

// TestLeaderReportsPart ends with the error of a part, and releases the Lease.
func TestLeaderReportsPart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	leader := must(NewLeader(LeaderOptions{Config: f.plane.Config, Namespace: f.namespace, Name: "lintel", Identity: "a"}))(f)
	fault := errors.New("broken")
	if err := leader.Run(t.Context(), func(context.Context) error { return fault }); !errors.Is(err, fault) {
		t.Errorf("Run: %v, want the error of the part", err)
	}
	if h := f.holder(); h != "" {
		t.Errorf("%q holds the Lease", h)
	}
}

func TestNamespace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	err := os.WriteFile(path, []byte(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1"}}]
contexts: [{name: x, context: {cluster: c, namespace: edge}}]
current-context: x
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if got := Namespace(path); got != "edge" {
		t.Errorf("namespace of the kubeconfig is %q, want edge", got)
	}
	t.Setenv("KUBECONFIG", path)
	if got := Namespace(""); got != "edge" {
		t.Errorf("namespace of $KUBECONFIG is %q, want edge", got)
	}
	t.Setenv("POD_NAMESPACE", "lintel")
	if got := Namespace(""); got != "lintel" {
		t.Errorf("namespace of the Pod is %q, want lintel", got)
	}
}

// writers are those that write at the moment.
type writers struct {
	mu    sync.Mutex // guards the following
	names map[string]bool
	max   int
}

// part is one that runs while its replica leads.
func (w *writers) part(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		w.mu.Lock()
		if w.names == nil {
			w.names = make(map[string]bool)
		}
		w.names[name] = true
		w.max = max(w.max, len(w.names))
		w.mu.Unlock()
		<-ctx.Done()
		w.mu.Lock()
		delete(w.names, name)
		w.mu.Unlock()
		return nil
	}
}

// is reports whether name, or "" for nobody, writes alone.
func (w *writers) is(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return name == "" && len(w.names) == 0 || len(w.names) == 1 && w.names[name]
}

func (w *writers) most() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.max
}

// wire carries connections until it is cut.
type wire struct {
	mu    sync.Mutex // guards the following
	isCut bool
	conns []net.Conn
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		return nil, errors.New("the wire is cut")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err == nil {
		w.conns = append(w.conns, conn)
	}
	return conn, err
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for _, c := range w.conns {
		c.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = false
}
