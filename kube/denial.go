package kube

import (
	"log/slog"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lintel-dev/lintel/gateway"
)

// isDenied reports an answer that changes when permissions do: they may be applied
// later than this program.
func isDenied(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// denials says once a kind that its statuses may not be written, and once that all
// of them are, though every object is tried.
type denials struct {
	mu sync.Mutex // guards objects
	// objects are those denied, by kind. A kind without any has no entry.
	objects map[string]map[gateway.ObjectRef]bool
}

func newDenials() *denials { return &denials{objects: make(map[string]map[gateway.ObjectRef]bool)} }

func (d *denials) begin(log *slog.Logger, ref gateway.ObjectRef, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.objects[ref.Kind] == nil {
		d.objects[ref.Kind] = make(map[gateway.ObjectRef]bool)
		log.Warn("status not writable; trying again", "kind", ref.Kind, "namespace", ref.Namespace, "name", ref.Name, "err", err)
	}
	d.objects[ref.Kind][ref] = true
}

func (d *denials) end(log *slog.Logger, ref gateway.ObjectRef) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.objects[ref.Kind][ref] {
		return
	}
	delete(d.objects[ref.Kind], ref)
	if len(d.objects[ref.Kind]) == 0 {
		delete(d.objects, ref.Kind)
		log.Info("status writable again", "kind", ref.Kind)
	}
}
