package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
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
	client kubernetes.Interface
	events chan Event
}

// eventBacklog is how many Events may wait; more are dropped: they are a courtesy.
const eventBacklog = 256

// NewEventWriter returns an EventWriter that keeps Events until Run.
func NewEventWriter(config *rest.Config, store *Store) (*EventWriter, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	return &EventWriter{store: store, client: client, events: make(chan Event, eventBacklog)}, nil
}

// Write notes an Event; it never blocks.
func (w *EventWriter) Write(e Event) {
	select {
	case w.events <- e:
	default:
	}
}

// Run writes Events until ctx ends; the error is always nil.
func (w *EventWriter) Run(ctx context.Context) error {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: w.client.CoreV1().Events("")})
	recorder := broadcaster.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: gateway.ManagedByLintel})
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.events:
			kind := corev1.EventTypeNormal
			if e.Warning {
				kind = corev1.EventTypeWarning
			}
			recorder.Event(w.reference(e.Object), kind, e.Reason, e.Message)
		}
	}
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
