package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/internal/latest"
)

// rewriteInterval is how soon an object is written again though nothing else is wanted:
// whoever changes what we write (an admission webhook, say) does so at once, and we
// would go on with him forever.
const rewriteInterval = time.Minute

// InfrastructureWriterOptions are what an InfrastructureWriter needs.
type InfrastructureWriterOptions struct {
	Config *rest.Config
	// Store is where current objects are read.
	Store *Store
	// Log receives what is written, and what cannot be: nil discards.
	Log *slog.Logger
}

// InfrastructureWriter keeps a Service, with EndpointSlices, for each Gateway that wants
// one. It touches no object that is not owned by the Gateway. Its methods may be called
// from any goroutine.
type InfrastructureWriter struct {
	store     *Store
	clients   clients
	log       *slog.Logger
	newest    *latest.Box[[]gateway.Infrastructure]
	conflicts *latest.Answers[gateway.ObjectRef]

	// The rest belongs to Run.
	want map[objectKey]generated
	// gone are those that are wanted no longer and not deleted yet.
	gone map[objectKey]types.UID // of the Gateway
	// written is what was written last.
	written map[objectKey]writtenObject
	said    map[objectKey]string // the last failure that was logged
}

// objectKey names a Service or an EndpointSlice.
type objectKey struct {
	kind string
	types.NamespacedName
}

// generated is an object that is wanted.
type generated struct {
	gateway types.UID
	of      gateway.ObjectRef // the Gateway
	object  object
	digest  string
}

// conflictError says that an object of the wanted name is not ours to write.
type conflictError struct{ key objectKey }

func (e *conflictError) Error() string {
	return fmt.Sprintf("%s %s exists and is not the Gateway's: delete it, or give the Gateway another name", e.key.kind, e.key.NamespacedName)
}

type writtenObject struct {
	digest string
	at     time.Time
}

// NewInfrastructureWriter returns an InfrastructureWriter that does nothing until Run.
func NewInfrastructureWriter(o InfrastructureWriterOptions) (*InfrastructureWriter, error) {
	c, err := newClients(o.Config)
	if err != nil {
		return nil, err
	}
	w := &InfrastructureWriter{
		store: o.Store, clients: c, log: o.Log, newest: latest.New[[]gateway.Infrastructure](), conflicts: latest.NewAnswers[gateway.ObjectRef](),
		want: make(map[objectKey]generated), gone: make(map[objectKey]types.UID),
		written: make(map[objectKey]writtenObject), said: make(map[objectKey]string),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	return w, nil
}

// Apply replaces what is wanted; it never blocks. From then on it is read-only.
func (w *InfrastructureWriter) Apply(want []gateway.Infrastructure) { w.newest.Put(want) }

// Changes can be read once after Conflicts has changed.
func (w *InfrastructureWriter) Changes() <-chan struct{} { return w.conflicts.Changed() }

// Conflicts returns why Gateways do not get what they want, as far as Run has tried: its
// name is somebody else's. The map is the caller's.
func (w *InfrastructureWriter) Conflicts() map[gateway.ObjectRef]string { return w.conflicts.All() }

// Run makes the objects what is wanted until ctx ends. What fails is tried again; the
// error is always nil. It may be called again when it has returned.
func (w *InfrastructureWriter) Run(ctx context.Context) error {
	select { // the want of a Run before may be old
	case <-w.newest.Full():
		w.replace(w.newest.Take())
	default:
	}
	retry := time.NewTimer(0)
	defer retry.Stop()
	pause := retryFirst
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.newest.Full():
			w.replace(w.newest.Take())
			pause = retryFirst
		case <-retry.C:
		}
		if w.reconcileAll(ctx) {
			retry.Reset(pause)
			pause = min(2*pause, retryLast)
			continue
		}
		pause = retryFirst
		if w.early() {
			retry.Reset(rewriteInterval)
		} else {
			retry.Reset(driftInterval)
		}
	}
}

// replace takes over a new want.
func (w *InfrastructureWriter) replace(all []gateway.Infrastructure) {
	want := make(map[objectKey]generated)
	gateways := make(map[types.UID]bool, len(all))
	for i := range all {
		gateways[all[i].UID] = true
		if all[i].None() {
			continue
		}
		for _, object := range generate(&all[i]) {
			key := keyOf(object)
			want[key] = generated{gateway: all[i].UID, of: all[i].Gateway, object: object, digest: object.GetAnnotations()[digestAnnotation]}
			delete(w.gone, key)
		}
	}
	for key, was := range w.want {
		if _, still := want[key]; !still {
			w.gone[key] = was.gateway
		}
	}
	// What was written before this process began.
	for o := range w.store.all("Service", "EndpointSlice") {
		o, ok := o.(object)
		if !ok || !gateways[ownerOf(o)] {
			continue
		}
		if _, wanted := want[keyOf(o)]; !wanted {
			w.gone[keyOf(o)] = ownerOf(o)
		}
	}
	w.want = want
}

func keyOf(o object) objectKey {
	return objectKey{kindOf(o), types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
}

// early reports whether something may have to be written again soon.
func (w *InfrastructureWriter) early() bool {
	for _, was := range w.written {
		if time.Since(was.at) < rewriteInterval {
			return true
		}
	}
	return false
}

// reconcileAll reports whether something failed.
func (w *InfrastructureWriter) reconcileAll(ctx context.Context) (failed bool) {
	conflicts := make(map[gateway.ObjectRef]string)
	reconcile := func(kind string) {
		for key, want := range w.want {
			if key.kind != kind {
				continue
			}
			var err error
			if _, taken := conflicts[want.of]; taken {
				err = w.remove(ctx, key, want.gateway) // it would be an EndpointSlice of the Service that is not ours
			} else {
				err = w.reconcile(ctx, key, want)
			}
			if conflict, ok := errors.AsType[*conflictError](err); ok {
				conflicts[want.of] = conflict.Error()
			}
			failed = w.note(ctx, key, err) || failed
		}
	}
	reconcile("Service")
	reconcile("EndpointSlice")
	if ctx.Err() == nil {
		w.conflicts.Set(conflicts)
	}
	for key, gateway := range w.gone {
		err := w.remove(ctx, key, gateway)
		if failed = w.note(ctx, key, err) || failed; err == nil {
			delete(w.gone, key)
			delete(w.written, key)
		}
	}
	return failed
}

// note logs a failure, once, and reports whether another try makes sense.
func (w *InfrastructureWriter) note(ctx context.Context, key objectKey, err error) (again bool) {
	if err == nil || ctx.Err() != nil {
		delete(w.said, key)
		return false
	}
	if w.said[key] != err.Error() {
		w.said[key] = err.Error()
		w.log.Warn("object of a Gateway not written", "kind", key.kind, "namespace", key.Namespace, "name", key.Name, "err", err)
	}
	return true
}

// reconcile makes one object what is wanted.
func (w *InfrastructureWriter) reconcile(ctx context.Context, key objectKey, want generated) error {
	if !w.store.watches(key.kind, key.Namespace) {
		return nil
	}
	api := w.clients.objects(key)
	current := w.current(key)
	last := w.written[key]
	if (current == nil || !isGenerated(current, want)) && last.digest == want.digest && time.Since(last.at) < rewriteInterval {
		return nil // the Store may be behind, or somebody changes it back
	}
	if current == nil {
		err := api.create(ctx, want.object)
		if !apierrors.IsAlreadyExists(err) {
			return w.wrote(key, want, err)
		}
		if current, err = api.get(ctx, key.Name); err != nil {
			return fmt.Errorf("read %s: %w", key.kind, err)
		}
	}
	if owner := ownerOf(current); owner != want.gateway {
		return &conflictError{key}
	}
	if isGenerated(current, want) {
		return nil
	}
	return w.wrote(key, want, api.update(ctx, merged(current, want.object)))
}

// wrote remembers a write that succeeded.
func (w *InfrastructureWriter) wrote(key objectKey, want generated, err error) error {
	if err != nil {
		return fmt.Errorf("write %s: %w", key.kind, err)
	}
	w.written[key] = writtenObject{digest: want.digest, at: time.Now()}
	w.log.Debug("object of a Gateway written", "kind", key.kind, "namespace", key.Namespace, "name", key.Name)
	return nil
}

// remove deletes an object that a Gateway no longer wants, if it still is the Gateway's.
// When the Gateway is deleted, Kubernetes does so too.
func (w *InfrastructureWriter) remove(ctx context.Context, key objectKey, gateway types.UID) error {
	current := w.current(key)
	if current == nil || ownerOf(current) != gateway {
		return nil
	}
	uid := current.GetUID()
	err := w.clients.objects(key).remove(ctx, key.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return wrap("delete "+key.kind, err)
}

// current returns the object as the Store has it, or nil.
func (w *InfrastructureWriter) current(key objectKey) object {
	o, _ := w.store.object(gateway.ObjectRef{Kind: key.kind, Namespace: key.Namespace, Name: key.Name}).(object)
	return o
}
