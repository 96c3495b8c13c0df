package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/record/util"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

// Event is something that happened to an object, for people who describe it.
type Event struct {
	Object  gateway.ObjectRef
	Warning bool
	Reason  string // one word, "CertificateIssued"
	Message string
}

// EventWriter writes Events. Equal ones within a while are counted in one, and many for one
// object are held back.
type EventWriter struct {
	store  *Store
	events typedcorev1.EventInterface
	wake   chan struct{} // holds a token while Events wait

	mu      sync.Mutex // guards what follows
	queue   []Event
	waiting map[gateway.ObjectRef]int // how many of them are an object's
}

const (
	// eventBacklog is how many Events of one object may wait; more are dropped: they are a
	// courtesy.
	eventBacklog = 16
	// eventTries is how often an Event is sent before it is dropped, and eventRetry the time
	// between.
	eventTries = 6
	eventRetry = 5 * time.Second
)

// NewEventWriter returns an EventWriter that keeps Events until Run.
func NewEventWriter(config *rest.Config, store *Store) (*EventWriter, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	return &EventWriter{store: store, events: client.CoreV1().Events(""), wake: make(chan struct{}, 1), waiting: make(map[gateway.ObjectRef]int)}, nil
}

// Write notes an Event; it never blocks.
func (w *EventWriter) Write(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting[e.Object] >= eventBacklog {
		return
	}
	w.waiting[e.Object]++
	w.queue = append(w.queue, e)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns what waits.
func (w *EventWriter) take() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.queue
	w.queue = nil
	clear(w.waiting)
	return events
}

// Run writes Events until ctx ends; the error is always nil.
func (w *EventWriter) Run(ctx context.Context) error {
	correlator := record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{})
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		}
		for _, e := range w.take() {
			if ctx.Err() != nil {
				return nil
			}
			w.record(ctx, correlator, w.object(e))
		}
	}
}

// object is an Event as an object of Kubernetes.
func (w *EventWriter) object(e Event) *corev1.Event {
	o := &corev1.Event{
		InvolvedObject: *w.reference(e.Object), Type: corev1.EventTypeNormal, Reason: e.Reason, Message: e.Message,
		Source: corev1.EventSource{Component: gateway.ManagedByLintel}, ReportingController: gateway.ManagedByLintel,
		FirstTimestamp: metav1.Now(), Count: 1,
	}
	if e.Warning {
		o.Type = corev1.EventTypeWarning
	}
	o.LastTimestamp = o.FirstTimestamp
	o.Namespace = cmp.Or(e.Object.Namespace, metav1.NamespaceDefault)
	o.Name = util.GenerateEventName(e.Object.Name, o.FirstTimestamp.UnixNano())
	return o
}

// record sends an Event, or adds it to one that is there. It waits for an API server that is
// away.
func (w *EventWriter) record(ctx context.Context, correlator *record.EventCorrelator, e *corev1.Event) {
	result, err := correlator.EventCorrelate(e)
	if err != nil || result.Skip {
		return
	}
	for try := 1; ; try++ {
		var recorded *corev1.Event
		recorded, err = w.send(ctx, result)
		if err == nil {
			correlator.UpdateState(recorded)
			return
		}
		if status := apierrors.APIStatus(nil); errors.As(err, &status) || try == eventTries {
			break // it was refused
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(eventRetry):
		}
	}
	w.store.log.Debug("Event not written", "object", e.InvolvedObject.Name, "namespace", e.InvolvedObject.Namespace, "reason", e.Reason, "err", err)
}

func (w *EventWriter) send(ctx context.Context, result *record.EventCorrelateResult) (*corev1.Event, error) {
	if result.Event.Count > 1 {
		recorded, err := w.events.PatchWithEventNamespaceWithContext(ctx, result.Event, result.Patch)
		if !apierrors.IsNotFound(err) {
			return recorded, err
		}
	}
	result.Event.ResourceVersion = "" // the one before is gone
	return w.events.CreateWithEventNamespaceWithContext(ctx, result.Event)
}

// reference names an object as Events do, with its UID if it is there.
func (w *EventWriter) reference(ref gateway.ObjectRef) *corev1.ObjectReference {
	r := &corev1.ObjectReference{APIVersion: gatewayv1.GroupVersion.String(), Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
	switch ref.Kind {
	case "Ingress":
		r.APIVersion = "networking.k8s.io/v1"
	case "Service":
		r.APIVersion = "v1"
	case dnsapi.KindDNSEndpoint:
		r.APIVersion = dnsapi.GroupVersion().String()
	case v1alpha1.KindTunnel:
		r.APIVersion = v1alpha1.GroupVersion().String()
	}
	if o := w.store.object(ref); o != nil {
		r.UID = o.GetUID()
	}
	return r
}
