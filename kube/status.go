package kube

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/internal/latest"
)

const (
	// statusWorkers write side by side: a write is mostly waiting.
	statusWorkers = 4
	// A write that failed is tried again after retryFirst, then twice as long and so
	// on up to retryLast.
	retryFirst = 50 * time.Millisecond
	retryLast  = 30 * time.Second
	// driftInterval is how often every status is compared again, in case somebody
	// else wrote over ours.
	driftInterval = 5 * time.Minute
)

// StatusWriterOptions are what a StatusWriter needs.
type StatusWriterOptions struct {
	Config *rest.Config
	// Store is where current statuses are read.
	Store *Store
	// ControllerName is that of our entries in the status of Routes.
	ControllerName string
	// Log receives writes that the API server refuses: nil discards.
	Log *slog.Logger
}

// StatusWriter writes wanted statuses to the API server: only the parts that belong
// to our controller, and only where they differ. Its methods may be called from any
// goroutine.
type StatusWriter struct {
	store      *Store
	controller gatewayv1.GatewayController
	log        *slog.Logger
	kinds      map[string]statusKind
	newest     *latest.Box[[]*gateway.Status]
	denials    *denials

	mu sync.Mutex // guards the following
	// want is the newest, by object.
	want map[gateway.ObjectRef]*gateway.Status
	// released are the last wants of objects that are wanted no longer.
	released map[gateway.ObjectRef]*gateway.Status
	// written is the resource version of our last write, until the Store has seen it.
	written map[gateway.ObjectRef]string
}

// NewStatusWriter returns a StatusWriter that does nothing until Run.
func NewStatusWriter(o StatusWriterOptions) (*StatusWriter, error) {
	c, err := newClients(o.Config)
	if err != nil {
		return nil, err
	}
	w := &StatusWriter{
		store:      o.Store,
		controller: gatewayv1.GatewayController(o.ControllerName),
		log:        o.Log,
		kinds:      statusKinds(c),
		newest:     latest.New[[]*gateway.Status](),
		denials:    newDenials(),
		want:       make(map[gateway.ObjectRef]*gateway.Status),
		released:   make(map[gateway.ObjectRef]*gateway.Status),
		written:    make(map[gateway.ObjectRef]string),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	return w, nil
}

// Apply replaces the wanted statuses; it never blocks. From then on they are
// read-only. A Status that is the same pointer as before is known to be unchanged.
func (w *StatusWriter) Apply(statuses []*gateway.Status) { w.newest.Put(statuses) }

// Run writes the newest wanted statuses until ctx ends, those of a Run before included.
// Writes that fail are tried again; the error is always nil.
func (w *StatusWriter) Run(ctx context.Context) error {
	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[gateway.ObjectRef](retryFirst, retryLast))
	g, ctx := errgroup.WithContext(ctx)
	for range statusWorkers {
		g.Go(func() error {
			for w.work(ctx, queue) {
			}
			return nil
		})
	}
	g.Go(func() error {
		defer queue.ShutDown()
		w.distribute(ctx, queue)
		return nil
	})
	return g.Wait()
}

// distribute queues objects whose wanted status changed, and at times all: those of
// released that are left could not be cleaned up.
func (w *StatusWriter) distribute(ctx context.Context, queue workqueue.TypedInterface[gateway.ObjectRef]) {
	drift := time.NewTicker(driftInterval)
	defer drift.Stop()
	select {
	case <-w.newest.Full():
		w.replace(w.newest.Take())
	default:
	}
	for refs := w.all(); ; {
		for _, ref := range refs {
			queue.Add(ref)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.newest.Full():
			refs = w.replace(w.newest.Take())
		case <-drift.C:
			refs = w.all()
		}
	}
}

// replace takes over new wants and returns the objects that they change.
func (w *StatusWriter) replace(statuses []*gateway.Status) []gateway.ObjectRef {
	want := make(map[gateway.ObjectRef]*gateway.Status, len(statuses))
	w.mu.Lock()
	defer w.mu.Unlock()
	var changed []gateway.ObjectRef
	for _, s := range statuses {
		want[s.Object] = s
		if w.want[s.Object] != s {
			changed = append(changed, s.Object)
			delete(w.released, s.Object)
		}
	}
	for ref, was := range w.want {
		if want[ref] == nil {
			changed = append(changed, ref)
			w.released[ref] = was
		}
	}
	w.want = want
	return changed
}

func (w *StatusWriter) all() []gateway.ObjectRef {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Keys(w.want)), maps.Keys(w.released))
}

// work reconciles the next object of the queue; false when there will be none.
func (w *StatusWriter) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[gateway.ObjectRef]) bool {
	ref, shutdown := queue.Get()
	if shutdown {
		return false
	}
	defer queue.Done(ref)
	err := w.reconcile(ctx, ref)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		queue.Forget(ref)
		w.denials.end(w.log, ref)
	case isDenied(err):
		w.denials.begin(w.log, ref, err)
		queue.AddRateLimited(ref)
	case isRefusal(err): // the same write would be refused again
		queue.Forget(ref)
		w.log.Warn("status refused", "kind", ref.Kind, "namespace", ref.Namespace, "name", ref.Name, "err", err)
	default:
		queue.AddRateLimited(ref)
	}
	return true
}

// isRefusal reports an answer that another try does not change.
func isRefusal(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// reconcile makes the status of one object what is wanted. Whatever needs another
// try is an error.
func (w *StatusWriter) reconcile(ctx context.Context, ref gateway.ObjectRef) error {
	kind, ok := w.kinds[ref.Kind]
	if !ok {
		return nil
	}
	w.mu.Lock()
	released := w.released[ref]
	w.mu.Unlock()
	current, err := w.current(ctx, kind, ref)
	for attempt := 1; err == nil; attempt++ {
		err = w.write(ctx, kind, ref, current)
		if !apierrors.IsConflict(err) || attempt == 2 { // then with a pause
			break
		}
		current, err = kind.get(ctx, ref)
	}
	if apierrors.IsNotFound(err) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released[ref] == released { // not one that was released during the write
		delete(w.released, ref)
	}
	return nil
}

// current returns the object as the Store has it, or as the API server has it when
// the Store has not seen our last write yet. A deleted object is a NotFound error.
func (w *StatusWriter) current(ctx context.Context, kind statusKind, ref gateway.ObjectRef) (metav1.Object, error) {
	object := w.store.object(ref)
	w.mu.Lock()
	written := w.written[ref]
	behind := object != nil && written != "" && isOlder(object.GetResourceVersion(), written)
	if !behind {
		delete(w.written, ref)
	}
	w.mu.Unlock()
	switch {
	case object == nil:
		return nil, apierrors.NewNotFound(gatewayv1.Resource(ref.Kind), ref.Name)
	case behind:
		return kind.get(ctx, ref)
	default:
		return object, nil
	}
}

// isOlder compares resource versions. Where they cannot be compared, the answer is
// no, and a write to an old version ends as a conflict.
func isOlder(x, y string) bool {
	order, err := resourceversion.CompareResourceVersion(x, y)
	return err == nil && order < 0
}

// write patches current unless it has the wanted status.
func (w *StatusWriter) write(ctx context.Context, kind statusKind, ref gateway.ObjectRef, current metav1.Object) error {
	want := w.wanted(kind, ref, current)
	if want == nil || want.UID != "" && want.UID != current.GetUID() {
		return nil // deleted and created anew: the next want is for the new one
	}
	m := merger{controller: w.controller, now: metav1.Now(), generation: want.Generation, isSiblings: w.isSiblings}
	status := kind.merge(m, current, want)
	if len(status) == 0 {
		return nil
	}
	patch, err := mergePatch(current, status)
	if err != nil {
		return err
	}
	result, err := kind.patch(ctx, ref, patch)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written[ref] = result.GetResourceVersion()
	return nil
}

func (w *StatusWriter) wanted(kind statusKind, ref gateway.ObjectRef, current metav1.Object) *gateway.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	if want := w.want[ref]; want != nil {
		return want
	}
	if was := w.released[ref]; was != nil {
		return kind.released(current, was)
	}
	return nil
}
