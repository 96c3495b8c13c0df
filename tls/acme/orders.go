package acme

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"
)

const (
	// attentionInterval is how often each certificate is looked at, at least: what is
	// stored may be changed by others.
	attentionInterval = 10 * time.Minute
	// mendInterval is how often somebody may have mended what failed: a secret, say.
	mendInterval = 20 * time.Second
	// clockInterval is how often the clock is read, at least: it may be set, and a
	// machine may sleep, while timers go on as if nothing had happened.
	clockInterval = 30 * time.Second
	// looksAtOnce bounds the questions to the storage at a time.
	looksAtOnce = 32
	// ordersAtOnce bounds the orders under way at a time, and questions to CAs.
	ordersAtOnce  = 8
	defaultSettle = 2 * time.Second
)

// Orders gets the certificates that are wanted. Its methods are safe for concurrent
// use; Run is called by one goroutine at a time, again when another replica led meanwhile.
type Orders struct {
	options Options
	issuers map[string]*issuer
	wake    chan struct{} // holds a token when Run has something to see
	looks   chan struct{} // one for each that reads from the storage
	slots   chan struct{} // one for each that speaks to a CA
	turns   turns

	mu      sync.Mutex // guards what is below
	want    map[Name]Certificate
	recheck map[Name]struct{} // to be looked at at once
	states  map[Name]State
}

// New returns an Orders that wants nothing yet. An error says which issuer cannot
// work, and why.
func New(options Options) (*Orders, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Changed == nil {
		options.Changed = func() {}
	}
	if options.Settle == 0 {
		options.Settle = defaultSettle
	}
	options.Backoff = options.Backoff.orDefault()
	o := &Orders{
		options: options,
		issuers: make(map[string]*issuer),
		wake:    make(chan struct{}, 1),
		looks:   make(chan struct{}, looksAtOnce),
		slots:   make(chan struct{}, ordersAtOnce),
		want:    make(map[Name]Certificate),
		recheck: make(map[Name]struct{}),
		states:  make(map[Name]State),
	}
	for _, settings := range options.Issuers {
		if _, twice := o.issuers[settings.Name]; twice {
			return nil, fmt.Errorf("issuer %q: there are two of this name", settings.Name)
		}
		i, err := newIssuer(settings)
		if err != nil {
			return nil, err
		}
		o.issuers[settings.Name] = i
	}
	return o, nil
}

// Apply replaces the certificates that are wanted. Those not wanted any more are
// left as they are, and an order for them ends. It never blocks; of several with the
// same Name the last counts.
func (o *Orders) Apply(want []Certificate) {
	next := make(map[Name]Certificate, len(want))
	for _, c := range want {
		next[c.Name] = c.normal()
	}
	o.mu.Lock()
	was := o.want
	o.want = next
	before := len(o.states)
	maps.DeleteFunc(o.states, func(name Name, _ State) bool { _, wanted := next[name]; return !wanted })
	changed := len(o.states) != before
	for name, c := range next {
		state, known := o.states[name]
		// What is there is not what is wanted now.
		other := state.Stage == Ready && !slices.Equal(was[name].Names, c.Names)
		if known && state.Issuer == c.Issuer && !other {
			continue
		}
		state.Issuer = c.Issuer
		if !known || other {
			state.Stage = Pending
		}
		o.states[name] = state
		changed = true
	}
	o.mu.Unlock()
	o.poke()
	if changed {
		o.options.Changed()
	}
}

// Recheck makes Run look soon at what is stored under name: somebody else changed or
// removed it. It never blocks.
func (o *Orders) Recheck(name Name) {
	o.mu.Lock()
	o.recheck[name] = struct{}{}
	o.mu.Unlock()
	o.poke()
}

// States returns how each wanted certificate stands. The map is the caller's.
func (o *Orders) States() map[Name]State {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.states)
}

func (o *Orders) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// set changes a state, unless the certificate is wanted no more.
func (o *Orders) set(name Name, change func(*State)) {
	o.mu.Lock()
	state, wanted := o.states[name]
	before := state
	if wanted {
		change(&state)
		o.states[name] = state
	}
	o.mu.Unlock()
	if state != before {
		o.options.Changed()
	}
}

// job is what Run knows of a certificate. While it is attended to, the goroutine
// that does so owns suggested and trouble; Run owns the rest.
type job struct {
	name   Name
	want   Certificate
	left   time.Time          // since when nobody wants it; zero while it is wanted
	next   time.Time          // when to attend to it
	cancel context.CancelFunc // ends the attention; nil while there is none
	again  bool               // attend to it once more after the attention

	suggested window
	// trouble is how often in a row the storage failed.
	trouble int
}

// attended is the end of a job's attention.
type attended struct {
	job  *job
	next time.Time
	gone bool // nothing is left to do for what nobody wants
}

// Run orders and renews until ctx ends, and returns its error. Orders under way end
// with it; the next to run takes them up.
func (o *Orders) Run(ctx context.Context) error {
	jobs := make(map[Name]*job)
	done := make(chan attended)
	var attending sync.WaitGroup
	defer o.rest()
	defer attending.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before Wait
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-o.wake:
		case <-timer.C:
		case end := <-done:
			end.job.cancel()
			end.job.cancel = nil
			end.job.next = end.next
			if end.job.again {
				end.job.next, end.job.again = time.Time{}, false
			} else if end.gone {
				delete(jobs, end.job.name)
			}
		}
		o.adjust(jobs)
		now := o.options.Now()
		sleep := clockInterval
		for _, j := range jobs {
			if j.cancel != nil {
				continue
			}
			// A longer wait than there is means that the clock was set back.
			if wait := j.next.Sub(now); wait > 0 && wait <= attentionInterval {
				sleep = min(sleep, wait)
				continue
			}
			attention, end := context.WithCancel(ctx)
			j.cancel = end
			want, left := j.want, j.left
			attending.Go(func() {
				end := attended{job: j}
				if left.IsZero() {
					end.next = o.attend(attention, j, want)
				} else {
					end.next, end.gone = o.forget(attention, j.name, left)
				}
				select {
				case done <- end:
				case <-ctx.Done():
				}
			})
		}
		timer.Reset(sleep)
	}
}

// rest forgets what became of orders: after Run somebody else may know more.
func (o *Orders) rest() {
	o.mu.Lock()
	for name, state := range o.states {
		if state.Stage != Ready {
			state.Stage, state.Message, state.Retry = Pending, "", time.Time{}
			o.states[name] = state
		}
	}
	o.mu.Unlock()
	o.options.Changed()
}

// adjust makes the jobs those that are wanted. An order for something else ends.
func (o *Orders) adjust(jobs map[Name]*job) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, j := range jobs {
		if _, wanted := o.want[name]; wanted {
			continue
		}
		if !j.left.IsZero() {
			continue
		}
		j.want, j.left, j.next = Certificate{}, o.options.Now(), time.Time{}
		if j.cancel != nil {
			j.cancel() // its end comes through done
			j.again = true
		}
	}
	for name, c := range o.want {
		j := jobs[name]
		if j == nil {
			j = &job{name: name, want: c}
			jobs[name] = j
		}
		_, again := o.recheck[name]
		j.left = time.Time{}
		if !reflect.DeepEqual(j.want, c) {
			j.want, again = c, true
			if j.cancel != nil {
				j.cancel()
			}
		}
		switch {
		case again && j.cancel != nil:
			j.again = true
		case again:
			j.next = time.Time{}
		}
	}
	clear(o.recheck)
}

// logFor returns a logger that names a certificate.
func (o *Orders) logFor(want Certificate) *slog.Logger {
	return o.options.Log.With("certificate", want.Name.String(), "issuer", want.Issuer)
}
