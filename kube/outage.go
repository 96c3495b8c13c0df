package kube

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// isOutage tells a server that does not answer from the ordinary ends of a watch
// and from answers that are errors.
func isOutage(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return false
	}
	return utilnet.IsConnectionRefused(err) || utilnet.IsTimeout(err) || utilnet.IsConnectionReset(err) ||
		apierrors.ReasonForError(err) == "" || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}

// outage says once that the API server is away, and once that it is back, though
// every informer notices.
type outage struct {
	mu    sync.Mutex // guards since
	since time.Time  // zero while there is none
}

func (o *outage) begin(log *slog.Logger, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = time.Now()
		log.Warn("API server does not answer; the last known state stays", "err", err)
	}
}

func (o *outage) end(log *slog.Logger) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		log.Info("API server answers again", "seconds", int(time.Since(o.since).Seconds()))
		o.since = time.Time{}
	}
}
