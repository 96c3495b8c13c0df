package kube

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// source is where the objects of a feed come from.
type source struct {
	namespace string // "" is all
	version   string
}

// feed is one informer: one kind, in one namespace or in all.
type feed struct {
	*kind
	source
	informer cache.SharedIndexInformer
	handled  cache.DoneChecker

	// synced: the first list is complete; from then on its objects are in Snapshots.
	synced atomic.Bool
	// announced: that it is synced was noted as a change.
	announced atomic.Bool
	// forbidden: the API server refuses; the informer keeps trying.
	forbidden atomic.Bool
	// missed: it has refused for so long that nobody waits for the kind.
	missed atomic.Bool
}

// missedAfter is how long the API server must refuse a kind for the others to be served without: one
// that just started refuses everything until it has read its roles, and what we do without some
// objects, such as deleting DNS records, does harm. The informer tries twice or more until then.
const missedAfter = 5 * time.Second

// newFeed returns a feed that reports to s. It never writes to the API server.
func newFeed(s *Store, k *kind, from source) (*feed, error) {
	f := &feed{kind: k, source: from}
	f.informer = cache.NewSharedIndexInformerWithOptions(k.listWatch(s.clients, from.namespace, from.version), k.example,
		cache.SharedIndexInformerOptions{Indexers: k.indexers, ObjectDescription: k.name})
	if err := f.informer.SetTransform(k.transform); err != nil {
		return nil, fmt.Errorf("watch %s: %w", k.name, err)
	}
	if err := f.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			s.failed(f, err)
		}
	}); err != nil {
		return nil, fmt.Errorf("watch %s: %w", k.name, err)
	}
	registration, err := f.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { s.saw(f, nil, o.(metav1.Object)) },
		UpdateFunc: func(was, is any) { s.saw(f, was.(metav1.Object), is.(metav1.Object)) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if was, ok := o.(metav1.Object); ok {
				s.saw(f, was, nil)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", k.name, err)
	}
	f.handled = registration.HasSyncedChecker()
	return f, nil
}

// saw is told every event: was is nil for a new object, is for a deleted one.
func (s *Store) saw(f *feed, was, is metav1.Object) {
	if f.forbidden.CompareAndSwap(true, false) {
		s.log.Info("kind readable again", "kind", f.name, "namespace", f.namespace)
	}
	if was != nil && is != nil && !f.matters(was, is) {
		return
	}
	if f.fill == nil {
		for _, slice := range []metav1.Object{was, is} {
			if slice != nil {
				s.changes.service(serviceOf(slice))
			}
		}
		return
	}
	if f.synced.Load() { // the first list is one change, when it is complete
		s.changes.objects()
	}
}

// failed is told why a list or a watch ended.
func (s *Store) failed(f *feed, err error) {
	switch {
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		if f.forbidden.CompareAndSwap(false, true) {
			s.log.Warn("kind not readable: grant get, list and watch", "kind", f.name, "namespace", f.namespace, "err", err)
			time.AfterFunc(missedAfter, func() {
				if f.forbidden.Load() {
					f.missed.Store(true)
					s.settle()
				}
			})
		}
	case apierrors.IsNotFound(err) && !f.resource.Empty():
		s.lookAgain()
	case isOutage(err):
		s.outage.begin(s.log, err)
	}
}
