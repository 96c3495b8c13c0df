package kube

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-dev/lintel/gateway"
)

// The durations of locks. A holder that cannot renew gives up before anybody else may
// think that it is dead.
const (
	lockDuration = 15 * time.Second
	lockDeadline = 10 * time.Second
	lockRenewal  = 3 * time.Second
	// lockRetry is how often a lock that somebody else holds is tried.
	lockRetry = time.Second
)

// lock is a Lease that one holder at a time has.
type lock struct {
	storage  *CertificateStorage
	name     string
	identity string

	// What was seen of another holder, by our own clock: clocks of nodes differ.
	seen   string // resource version
	seenAt time.Time
}

// Lock waits until nobody else holds key, which can be part of an object's name, or until
// ctx ends. Who died while holding it is succeeded after lockDuration. held ends with ctx,
// and when the lock is lost; unlock gives it back.
func (s *CertificateStorage) Lock(ctx context.Context, key string) (held context.Context, unlock func(), err error) {
	l := &lock{storage: s, name: s.prefix + "-acme-" + key, identity: s.identity + "_" + rand.Text()[:8]}
	var lease *coordinationv1.Lease
	said := false
	for {
		lease, err = l.try(ctx)
		if lease != nil {
			break
		}
		if err != nil && !said && ctx.Err() == nil {
			said = true
			s.log.Warn("Lease not accessible: no certificate is ordered until it is; grant get, create, update and delete on leases of coordination.k8s.io",
				"namespace", s.namespace, "name", l.name, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("lock Lease %s/%s: %w", s.namespace, l.name, ctx.Err())
		case <-time.After(lockRetry):
		}
	}
	held, end := context.WithCancel(ctx)
	renewed := make(chan *coordinationv1.Lease, 1)
	go func() { renewed <- l.renew(held, end, lease) }()
	return held, sync.OnceFunc(func() {
		end()
		l.release(context.WithoutCancel(ctx), <-renewed)
	}), nil
}

// try returns the Lease if it is ours now, and nil if somebody else has it.
func (l *lock) try(ctx context.Context) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, storageRequest)
	defer cancel()
	api := l.storage.client.CoordinationV1().Leases(l.storage.namespace)
	lease, err := api.Get(ctx, l.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Name: l.name, Labels: map[string]string{gateway.LabelManagedBy: gateway.ManagedByLintel},
		}}
		lease.Spec.AcquireTime = new(metav1.NowMicro())
		lease, err = api.Create(ctx, l.hold(lease), metav1.CreateOptions{FieldManager: fieldManager})
		return lost(lease, err)
	}
	if err != nil {
		return nil, err
	}
	if lease.ResourceVersion != l.seen {
		l.seen, l.seenAt = lease.ResourceVersion, time.Now()
	}
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder != "" && time.Since(l.seenAt) < lockDuration {
		return nil, nil
	}
	lease.Spec.AcquireTime = new(metav1.NowMicro())
	lease, err = api.Update(ctx, l.hold(lease), metav1.UpdateOptions{FieldManager: fieldManager})
	return lost(lease, err)
}

// lost turns the answer that somebody else was faster into none.
func lost(lease *coordinationv1.Lease, err error) (*coordinationv1.Lease, error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return lease, nil
}

// hold notes in a Lease that it is ours from now on.
func (l *lock) hold(lease *coordinationv1.Lease) *coordinationv1.Lease {
	lease.Spec.HolderIdentity = &l.identity
	lease.Spec.LeaseDurationSeconds = new(int32(lockDuration / time.Second))
	lease.Spec.RenewTime = new(metav1.NowMicro())
	return lease
}

// renew keeps the Lease ours until ctx ends, and calls end when it is lost. It returns the
// Lease as it is, nil when it is not ours.
func (l *lock) renew(ctx context.Context, end context.CancelFunc, lease *coordinationv1.Lease) *coordinationv1.Lease {
	defer end()
	renewed := time.Now()
	tick := time.NewTicker(lockRenewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return lease
		case <-tick.C:
		}
		bounded, cancel := context.WithDeadline(ctx, renewed.Add(lockDeadline))
		at := time.Now()
		next, err := l.prolong(bounded, lease)
		cancel()
		switch {
		case err == nil:
			lease, renewed = next, at
		case ctx.Err() != nil:
			return lease
		case apierrors.IsConflict(err) || apierrors.IsNotFound(err), time.Since(renewed) >= lockDeadline:
			l.storage.log.Warn("lock lost", "namespace", l.storage.namespace, "lease", l.name, "err", err)
			return nil
		}
	}
}

// prolong renews a Lease once. A conflict may be one with a renewal of ours whose answer was lost.
func (l *lock) prolong(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	api := l.storage.client.CoordinationV1().Leases(l.storage.namespace)
	next, err := api.Update(ctx, l.hold(lease.DeepCopy()), metav1.UpdateOptions{FieldManager: fieldManager})
	if !apierrors.IsConflict(err) {
		return next, err
	}
	current, readErr := api.Get(ctx, l.name, metav1.GetOptions{})
	if readErr != nil {
		return nil, readErr
	}
	if !l.holds(current) {
		return nil, err
	}
	return api.Update(ctx, l.hold(current), metav1.UpdateOptions{FieldManager: fieldManager})
}

// holds reports whether a Lease is ours.
func (l *lock) holds(lease *coordinationv1.Lease) bool {
	return lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity == l.identity
}

// release deletes a Lease of ours, unless somebody has it by now.
func (l *lock) release(ctx context.Context, lease *coordinationv1.Lease) {
	if lease == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storageRequest)
	defer cancel()
	api := l.storage.client.CoordinationV1().Leases(l.storage.namespace)
	current, err := api.Get(ctx, l.name, metav1.GetOptions{}) // a renewal that was cut off may have changed its version
	if err != nil || !l.holds(current) {
		return
	}
	// Whoever waits succeeds a holder that could not do this.
	_ = api.Delete(ctx, l.name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &current.UID, ResourceVersion: &current.ResourceVersion}})
}
