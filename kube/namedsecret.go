package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/internal/latest"
)

// namedSecrets are Secrets of any type that are watched by their names: all of a cluster's
// would be too many, and none of our business.
type namedSecrets struct {
	want *latest.Box[[]types.NamespacedName]

	mu      sync.RWMutex // guards watched
	watched map[types.NamespacedName]*namedSecret
}

// namedSecret is one that is watched.
type namedSecret struct {
	informer cache.SharedIndexInformer
	stop     context.CancelFunc
	read     atomic.Bool // that it is there, or not, is known
}

func newNamedSecrets() *namedSecrets {
	return &namedSecrets{want: latest.New[[]types.NamespacedName](), watched: make(map[types.NamespacedName]*namedSecret)}
}

// FollowSecrets says which Secrets have to be in Snapshots, whatever their types. It never
// blocks. Snapshot.SecretsRead tells which were looked for.
func (s *Store) FollowSecrets(names []types.NamespacedName) { s.secrets.want.Put(names) }

// followSecrets opens and closes watches as names come and go, until ctx ends.
func (s *Store) followSecrets(ctx context.Context, g *errgroup.Group) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.secrets.want.Full():
			if err := s.secrets.replace(ctx, g, s, s.secrets.want.Take()); err != nil {
				return err
			}
		}
	}
}

func (n *namedSecrets) replace(ctx context.Context, g *errgroup.Group, s *Store, names []types.NamespacedName) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.watched, func(name types.NamespacedName, w *namedSecret) bool {
		gone := !slices.Contains(names, name)
		if gone {
			w.stop()
		}
		return gone
	})
	for _, name := range names {
		if n.watched[name] != nil {
			continue
		}
		watched, err := s.watchSecret(ctx, g, name)
		if err != nil {
			return err
		}
		n.watched[name] = watched
	}
	return nil
}

// watchSecret opens the watch of one Secret, as goroutines of g.
func (s *Store) watchSecret(ctx context.Context, g *errgroup.Group, name types.NamespacedName) (*namedSecret, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &namedSecret{stop: stop}
	listWatch := typed[*corev1.Secret, *corev1.SecretList]{
		client: func(c clients, ns string) lister[*corev1.SecretList] { return c.kubernetes.CoreV1().Secrets(ns) },
		fields: fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name).String(),
	}.listWatch(s.clients, name.Namespace, v1)
	w.informer = cache.NewSharedIndexInformerWithOptions(listWatch, &corev1.Secret{}, cache.SharedIndexInformerOptions{ObjectDescription: "Secret " + name.String()})
	said := false // used by the informer's goroutine alone
	failed := func(_ context.Context, _ *cache.Reflector, err error) {
		if apierrors.IsForbidden(err) && !said {
			said = true
			s.log.Warn("Secret not readable: grant get, list and watch", "namespace", name.Namespace, "name", name.Name, "err", err)
			s.noteRead(w)
		}
	}
	registration, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { s.changes.objects() },
		UpdateFunc: func(was, is any) {
			if secretDiffers(was.(*corev1.Secret), is.(*corev1.Secret)) {
				s.changes.objects()
			}
		},
		DeleteFunc: func(any) { s.changes.objects() },
	})
	if err == nil {
		err = w.informer.SetWatchErrorHandlerWithContext(failed)
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("watch Secret %s: %w", name, err)
	}
	g.Go(func() error {
		w.informer.RunWithContext(ctx)
		return nil
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-registration.HasSyncedChecker().Done():
			s.noteRead(w)
		}
		return nil
	})
	return w, nil
}

func (s *Store) noteRead(w *namedSecret) {
	if !w.read.Swap(true) {
		s.changes.objects()
	}
}

// fill adds the Secrets to a Snapshot.
func (n *namedSecrets) fill(snapshot *gateway.Snapshot) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	snapshot.SecretsRead = make(map[types.NamespacedName]bool, len(n.watched))
	for name, w := range n.watched {
		if !w.read.Load() {
			continue
		}
		snapshot.SecretsRead[name] = true
		for _, o := range w.informer.GetStore().List() {
			snapshot.Secrets = append(snapshot.Secrets, o.(*corev1.Secret))
		}
	}
}
