package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The durations of the Lease are those of Kubernetes' own controllers. Only writers
// wait for them: every replica serves.
const (
	// leaseDuration is how long a replica that no longer renews is believed to lead.
	leaseDuration = 15 * time.Second
	// leaseDeadline is when a leader that cannot renew stops to write: before others
	// may start.
	leaseDeadline = 10 * time.Second
	// leaseRetry is how often the leader renews, and the others try, who pause by chance
	// up to 1.2 times longer than that.
	leaseRetry = 2 * time.Second
	// leaseRequest bounds one request, so that a slow one does not use up the deadline.
	leaseRequest = leaseDeadline / 2
)

// LeaderOptions are what a Leader needs.
type LeaderOptions struct {
	Config *rest.Config
	// Namespace and Name are those of the Lease. Replicas with the same Lease elect
	// one leader.
	Namespace, Name string
	// Identity tells this replica from all others, and from itself before a restart.
	Identity string
	// Log receives who leads: nil discards.
	Log *slog.Logger
}

// Leader runs parts only while this replica holds a Lease. A part that stops because
// another replica leads is run again later: it then has to act on the newest want.
type Leader struct {
	lock *lease
	log  *slog.Logger
}

// NewLeader returns a Leader that does nothing until Run.
func NewLeader(o LeaderOptions) (*Leader, error) {
	// Renewals must not wait behind a burst of status writes: a client of their own,
	// with a limit of its own.
	config := rest.CopyConfig(o.Config)
	config.Timeout = leaseRequest
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Leader{
		log: log,
		lock: &lease{
			log: log,
			Interface: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name},
				Client:     client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: o.Identity},
			},
		},
	}, nil
}

// Run stands for election until ctx ends, and runs parts whenever this replica
// leads. When ctx ends the parts are stopped first and waited for, and then the Lease
// is released, so that another replica leads by its next try. An error is one of
// a part.
func (l *Leader) Run(ctx context.Context, parts ...func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := l.stand(ctx, parts); err != nil {
			return err
		}
	}
	return nil
}

// stand runs one election: until the Lease is lost, or ctx ends.
func (l *Leader) stand(ctx context.Context, parts []func(context.Context) error) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var term term
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          l.lock,
		LeaseDuration: leaseDuration, RenewDeadline: leaseDeadline, RetryPeriod: leaseRetry,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				l.log.Info("leading: this replica writes statuses", "lease", l.lock.Describe())
				if !term.run(leading, parts) {
					end() // a part failed: another replica may do better
				}
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != "" && identity != l.lock.Identity() {
					l.log.Info("another replica leads and writes statuses", "lease", l.lock.Describe(), "leader", identity)
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("stand for election: %w", err)
	}
	elector.Run(ctx)
	err = term.stop()
	if elector.IsLeader() {
		l.release(context.WithoutCancel(ctx))
	}
	return err
}

// release gives the Lease up, so that others need not wait until it ends. The elector
// would do so too (ReleaseOnCancel), but before the parts have stopped.
func (l *Leader) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaseRequest)
	defer cancel()
	record, _, err := l.lock.Get(ctx)
	if err != nil || record.HolderIdentity != l.lock.Identity() {
		return
	}
	now := metav1.Now()
	err = l.lock.Update(ctx, resourcelock.LeaderElectionRecord{
		LeaseDurationSeconds: 1, AcquireTime: now, RenewTime: now, LeaderTransitions: record.LeaderTransitions,
	})
	if err == nil {
		l.log.Info("leading no longer: Lease released", "lease", l.lock.Describe())
	}
}

// term is the time in which this replica leads, once at most.
type term struct {
	mu    sync.Mutex // guards the following
	over  bool
	end   context.CancelFunc // nil while the parts have not started
	ended chan struct{}
	err   error
}

// run runs the parts until stop, or until ctx ends. It reports whether they ended
// well.
func (t *term) run(ctx context.Context, parts []func(context.Context) error) bool {
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		return true
	}
	ctx, t.end = context.WithCancel(ctx)
	t.ended = make(chan struct{})
	t.mu.Unlock()

	group, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		group.Go(func() error { return part(ctx) })
	}
	t.err = group.Wait() // read after ended is closed
	close(t.ended)
	return t.err == nil
}

// stop ends the parts, waits for them and returns the error of one. From then on run
// does nothing.
func (t *term) stop() error {
	t.mu.Lock()
	t.over = true
	end, ended := t.end, t.ended
	t.mu.Unlock()
	if end == nil {
		return nil
	}
	end()
	<-ended
	return t.err
}

// lease says once that the Lease is not accessible, and once that it is again: the
// elector tries forever.
type lease struct {
	resourcelock.Interface
	log *slog.Logger
	// failing is used by one election at a time, whose calls come one after another.
	failing bool
}

func (l *lease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if apierrors.IsNotFound(err) { // it will be created
		return record, raw, err
	}
	return record, raw, l.say(err)
}

func (l *lease) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.say(l.Interface.Create(ctx, record))
}

func (l *lease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.say(l.Interface.Update(ctx, record))
}

func (l *lease) say(err error) error {
	switch {
	case errors.Is(err, context.Canceled) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err): // another was faster
	case err == nil && l.failing:
		l.failing = false
		l.log.Info("Lease accessible again", "lease", l.Describe())
	case err != nil && !l.failing:
		l.failing = true
		l.log.Warn("Lease not accessible: statuses are not written until it is; grant get, create and update on leases of coordination.k8s.io, or turn leader-election off where only one replica runs",
			"lease", l.Describe(), "err", err)
	}
	return err
}
