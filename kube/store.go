package kube

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/gateway"
)

// StoreOptions are what a Store needs.
type StoreOptions struct {
	Config *rest.Config
	// Namespaces are those to watch; none watches all. Cluster-scoped kinds are
	// watched in any case.
	Namespaces []string
	// DNSEndpoints watches them, where their CRD is installed.
	DNSEndpoints bool
	// Log receives what a person should know: nil discards.
	Log *slog.Logger
}

// Store keeps a copy of the objects that matter, and tells when they change. While
// the API server is away, the last known objects stay. Its methods may be called
// from any goroutine; what they return is read-only.
type Store struct {
	clients    clients
	namespaces []string // {""} is all
	log        *slog.Logger
	kinds      []*kind
	changes    *changes
	outage     outage
	look       chan struct{} // holds one token while discovery is to be asked soon
	secrets    *namedSecrets

	discovered atomic.Bool // every CRD was looked for at least once
	ready      chan struct{}
	readyOnce  sync.Once // closes ready

	mu   sync.RWMutex // guards open and crds
	open map[string]openKind
	crds map[string]gateway.CRD // of the Gateway API
}

// openKind is a kind that is being watched.
type openKind struct {
	version string
	feeds   []*feed // one, or one a namespace
	stop    context.CancelFunc
}

// NewStore returns a Store that is empty until Run.
func NewStore(o StoreOptions) (*Store, error) {
	c, err := newClients(o.Config)
	if err != nil {
		return nil, err
	}
	s := &Store{
		clients:    c,
		namespaces: []string{metav1.NamespaceAll},
		log:        o.Log,
		kinds:      kinds(),
		changes:    newChanges(),
		look:       make(chan struct{}, 1),
		secrets:    newNamedSecrets(),
		ready:      make(chan struct{}),
		open:       make(map[string]openKind),
		crds:       make(map[string]gateway.CRD),
	}
	if o.DNSEndpoints {
		s.kinds = append(s.kinds, dnsKinds()...)
	}
	if len(o.Namespaces) > 0 {
		s.namespaces = slices.Compact(slices.Sorted(slices.Values(o.Namespaces)))
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Run watches the API server until ctx ends. A Store runs once. Errors are those of
// this program alone: an API server that is away or refuses is tried again.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, k := range s.kinds {
		if !k.resource.Empty() {
			continue
		}
		if err := s.start(ctx, g, k, k.versions[0]); err != nil {
			return err
		}
	}
	g.Go(func() error { return s.watchCRDs(ctx) })
	g.Go(func() error { return s.followCRDs(ctx, g) })
	g.Go(func() error { return s.followSecrets(ctx, g) })
	return g.Wait()
}

// start opens the feeds of a kind, in one of its versions, as goroutines of g.
func (s *Store) start(ctx context.Context, g *errgroup.Group, k *kind, version string) error {
	namespaces := s.namespaces
	if k.scope == clusterWide {
		namespaces = []string{metav1.NamespaceAll}
	}
	ctx, stop := context.WithCancel(ctx)
	opened := openKind{version: version, stop: stop}
	for _, namespace := range namespaces {
		f, err := newFeed(s, k, source{namespace, version})
		if err != nil {
			stop()
			return err
		}
		opened.feeds = append(opened.feeds, f)
	}
	s.mu.Lock()
	s.open[k.name] = opened
	s.mu.Unlock()
	for _, f := range opened.feeds {
		g.Go(func() error {
			f.informer.RunWithContext(ctx)
			return nil
		})
		g.Go(func() error {
			select {
			case <-ctx.Done():
			case <-f.handled.Done():
				f.synced.Store(true)
				s.changes.objects()
				f.announced.Store(true)
				s.settle()
			}
			return nil
		})
	}
	return nil
}

// end closes the feeds of a kind and forgets its objects.
func (s *Store) end(k *kind) {
	s.mu.Lock()
	opened := s.open[k.name]
	delete(s.open, k.name)
	s.mu.Unlock()
	opened.stop()
	s.changes.objects()
}

// openVersion is that in which a kind is being watched, "" if it is not.
func (s *Store) openVersion(k *kind) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.open[k.name].version
}

// settle makes the Store ready when every kind that can be read was read once.
func (s *Store) settle() {
	if !s.discovered.Load() {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, opened := range s.open {
		for _, f := range opened.feeds {
			if !f.announced.Load() && !f.missed.Load() {
				return
			}
		}
	}
	s.readyOnce.Do(func() { close(s.ready) })
}

// Wait blocks until every kind that is installed and permitted was read once, and
// something changed since the last Wait, and returns what: status-only changes,
// heartbeats and the like do not count. The only error is that of ctx. One
// goroutine at a time may wait.
func (s *Store) Wait(ctx context.Context) (gateway.Change, error) {
	select {
	case <-ctx.Done():
		return gateway.Change{}, ctx.Err()
	case <-s.ready:
	}
	select {
	case <-ctx.Done():
		return gateway.Change{}, ctx.Err()
	case <-s.changes.some:
		return s.changes.take(), nil
	}
}

// Snapshot returns the objects of this moment; Settings and Observed are zero.
func (s *Store) Snapshot() *gateway.Snapshot {
	snapshot := &gateway.Snapshot{}
	s.mu.RLock()
	defer s.mu.RUnlock()
	snapshot.CRDs = slices.Collect(maps.Values(s.crds))
	for _, k := range s.kinds {
		for _, f := range s.open[k.name].feeds {
			if k.fill != nil && f.synced.Load() {
				k.fill(snapshot, f.informer.GetStore().List())
			}
		}
	}
	s.secrets.fill(snapshot)
	return snapshot
}

// EndpointSlices returns those of a Service, in any order.
func (s *Store) EndpointSlices(service types.NamespacedName) []*discoveryv1.EndpointSlice {
	var slices []*discoveryv1.EndpointSlice
	for _, f := range s.feedsOf("EndpointSlice", service.Namespace) {
		found, err := f.informer.GetIndexer().ByIndex(byService, service.String())
		if err != nil {
			panic(err) // the index is missing: a mistake in this package
		}
		for _, o := range found {
			slices = append(slices, o.(*discoveryv1.EndpointSlice))
		}
	}
	return slices
}

// feedsOf returns the feeds in which objects of a kind and namespace are.
func (s *Store) feedsOf(kind, namespace string) []*feed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var feeds []*feed
	for _, f := range s.open[kind].feeds {
		if f.namespace == metav1.NamespaceAll || f.namespace == namespace {
			feeds = append(feeds, f)
		}
	}
	return feeds
}

// all returns every object of some kinds, in any order.
func (s *Store) all(kinds ...string) iter.Seq[any] {
	return func(yield func(any) bool) {
		for _, kind := range kinds {
			s.mu.RLock()
			feeds := s.open[kind].feeds
			s.mu.RUnlock()
			for _, f := range feeds {
				for _, o := range f.informer.GetStore().List() {
					if !yield(o) {
						return
					}
				}
			}
		}
	}
}

// watches reports whether objects of a kind and namespace would be in the Store.
func (s *Store) watches(kind, namespace string) bool { return len(s.feedsOf(kind, namespace)) > 0 }

// object returns one object, or nil.
func (s *Store) object(ref gateway.ObjectRef) metav1.Object {
	key := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}.String()
	if ref.Namespace == "" {
		key = ref.Name
	}
	for _, f := range s.feedsOf(ref.Kind, ref.Namespace) {
		if o, ok, _ := f.informer.GetStore().GetByKey(key); ok {
			return o.(metav1.Object)
		}
	}
	return nil
}
