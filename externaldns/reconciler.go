package externaldns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/internal/latest"
)

const (
	// DefaultInterval is how often zones are read when nothing is known to have changed.
	DefaultInterval = time.Minute
	// rest is the time between two rounds, in which changes gather.
	rest = 2 * time.Second
	// Rounds that fail are tried again after a time that grows between these.
	firstRetry = 2 * time.Second
	lastRetry  = 5 * time.Minute
)

// Options of a Reconciler. Provider and Rules.Registry must be set.
type Options struct {
	Provider Provider
	// Rules hold for all that is wanted. Rules.Released is the Reconciler's own.
	Rules Rules
	// MarkKey returns the key that marks are encrypted with, 32 bytes as they are or in
	// base64. It is called for each round, so that nothing has to wait for it. Nil leaves it
	// to Rules.Registry.
	MarkKey  func() (string, error)
	Interval time.Duration // zero is DefaultInterval
	// DryRun says that nothing is written.
	DryRun bool
	Log    *slog.Logger // nil discards
	// Changed is called after States changed, and Observe after each round. Neither may
	// block; nil is nobody.
	Changed func()
	Observe func(Round)
}

// Round is one comparison of what is wanted with what there is.
type Round struct {
	At     time.Time
	DryRun bool
	Err    error // nil when everything that can be was done
	Plan   *Plan // nil when the zones can't even be listed
}

// Reconciler keeps the records of a Provider as they are wanted.
type Reconciler struct {
	options Options
	want    *latest.Box[[]Record]
	release *latest.Box[struct{}] // full when released was set
	memory  *memory

	mu       sync.Mutex // guards what follows
	states   map[StateKey]State
	held     string // HeldID of the last round
	released string
}

// New returns a Reconciler, which does nothing before Run.
func New(o Options) *Reconciler {
	o.Interval = cmp.Or(o.Interval, DefaultInterval)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Observe == nil {
		o.Observe = func(Round) {}
	}
	return &Reconciler{options: o, want: latest.New[[]Record](), release: latest.New[struct{}](), memory: newMemory(), states: map[StateKey]State{}}
}

// Apply says what is wanted from now on. It never blocks, and may be called at any
// time by one goroutine; the records must not change any more.
func (r *Reconciler) Apply(want []Record) {
	r.memory.remember(want) // by those that do not run, too: they may run when it is gone
	r.want.Put(want)
}

// Release lets the deletions pass that wait under Plan.HeldID, and no others.
func (r *Reconciler) Release(heldID string) {
	r.mu.Lock()
	r.released = heldID
	r.mu.Unlock()
	r.release.Put(struct{}{})
}

// Held returns Plan.HeldID of deletions that wait for Release; empty when none do.
func (r *Reconciler) Held() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// Plan reads the zones, and says what would be done. It writes nothing, and is safe
// beside Run if the Provider is.
func (r *Reconciler) Plan(ctx context.Context, want []Record) (*Plan, error) {
	rules, err := r.rules()
	if err != nil {
		return nil, err
	}
	r.memory.remember(want)
	read, err := readZones(ctx, r.options.Provider, rules.Domains, r.memory.about(rules.Registry))
	if err != nil {
		return nil, err
	}
	plan, _ := read.plan(r.options.Provider, want, rules)
	return plan, read.err()
}

// Run keeps records as wanted until ctx ends, and returns nil then. Before the first
// Apply it touches nothing. It may be called again when it has returned.
func (r *Reconciler) Run(ctx context.Context) error {
	var want []Record
	select {
	case <-ctx.Done():
		return nil
	case <-r.want.Full():
		want = r.want.Take()
	}
	defer func() { r.want.Return(want) }()
	failures := 0
	for ctx.Err() == nil {
		round := r.Reconcile(ctx, want)
		if ctx.Err() != nil {
			break
		}
		r.options.Observe(round)
		wait := r.options.Interval
		early := rest // at which a change is taken up
		if round.Err == nil {
			failures = 0
		} else {
			failures++
			wait = backOff(failures)
			var leave *WaitError
			if errors.As(round.Err, &leave) {
				wait = max(wait, leave.After)
				early = wait
			}
			r.options.Log.Warn("DNS records are not all as wanted", "error", round.Err, "retry", wait.Round(time.Second))
		}
		if !sleep(ctx, min(early, wait)) {
			break
		}
		want = r.await(ctx, want, wait-min(early, wait))
	}
	return nil
}

// backOff grows with each failure, and differs between replicas and zones.
func backOff(failures int) time.Duration {
	wait := min(lastRetry, firstRetry<<min(failures-1, 10))
	return wait/2 + rand.N(wait/2+1) //nolint:gosec // jitter is no secret
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// await returns what is wanted next, when that changed or when the time is over.
func (r *Reconciler) await(ctx context.Context, want []Record, d time.Duration) []Record {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return want
		case <-r.release.Full():
			return want
		case <-r.want.Full():
			if next := r.want.Take(); !slices.EqualFunc(want, next, func(a, b Record) bool { return reflect.DeepEqual(a, b) }) {
				return next
			}
		case <-timer.C:
			return want
		}
	}
}

// Reconcile reads, plans and writes once. It is what Run does again and again, and
// must not be called beside it.
func (r *Reconciler) Reconcile(ctx context.Context, want []Record) Round {
	round := Round{At: time.Now(), DryRun: r.options.DryRun}
	rules, err := r.rules()
	var read reading
	if err == nil {
		r.memory.remember(want)
		read, err = readZones(ctx, r.options.Provider, rules.Domains, r.memory.about(rules.Registry))
	}
	if err != nil {
		round.Err = err
		r.publish(unreachable(want, err), r.Held())
		return round
	}
	r.memory.forget(want, read, rules.Registry)
	plan, unread := read.plan(r.options.Provider, want, rules)
	round.Plan, round.Err = plan, read.err()
	failed := map[Key]error{}
	if !r.options.DryRun {
		for _, zone := range plan.Zones() {
			err := r.write(ctx, zone, failed)
			round.Err = errors.Join(round.Err, err)
		}
	}
	if plan.HeldID != "" && plan.HeldID != r.Held() {
		r.options.Log.Warn("too many DNS records would be deleted at once; they wait to be released", "records", len(plan.Held), "owned", plan.Owned, "release", plan.HeldID)
	}
	r.publish(read.states(want, plan, unread, failed, round), plan.HeldID)
	return round
}

// rules are those of now.
func (r *Reconciler) rules() (Rules, error) {
	rules := r.options.Rules
	r.mu.Lock()
	rules.Released = r.released
	r.mu.Unlock()
	if r.options.MarkKey == nil {
		return rules, nil
	}
	key, err := r.options.MarkKey()
	if err != nil {
		return Rules{}, fmt.Errorf("read the key of marks: %w", err)
	}
	rules.Registry, err = rules.Registry.encrypted(key)
	return rules, err
}

// write changes a zone, and notes which records failed.
func (r *Reconciler) write(ctx context.Context, zone ZoneChanges, failed map[Key]error) error {
	err := r.options.Provider.Apply(ctx, zone.Zone, zone.Changes)
	if err == nil {
		r.options.Log.Info("changed DNS records", "zone", zone.Name, "names", len(zone.Changes))
		return nil
	}
	var some Failures
	partly := errors.As(err, &some)
	for i, change := range zone.Changes {
		reason, hit := some[i]
		if !partly {
			reason, hit = err, true
		}
		for _, e := range change.Edits {
			if hit && e.New != nil {
				failed[e.New.Key()] = reason
			}
		}
	}
	return fmt.Errorf("change zone %s: %w", zone.Name, err)
}

func unreachable(want []Record, err error) map[StateKey]State {
	result := map[StateKey]State{}
	for _, record := range want {
		result[keyOf(record.Canonical())] = State{Stage: Failed, Cause: CauseOf(err), Reason: err.Error(), Unread: true}
	}
	return result
}

// publish sets what States returns.
func (r *Reconciler) publish(states map[StateKey]State, held string) {
	r.mu.Lock()
	same := reflect.DeepEqual(r.states, states) && r.held == held
	r.states, r.held = states, held
	r.mu.Unlock()
	if !same {
		r.options.Changed()
	}
}
