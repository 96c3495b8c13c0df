package externaldns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// inMemory is a Provider of a world, as small as one can be.
type inMemory struct {
	t     *testing.T
	world *world

	mu     sync.Mutex // guards what follows
	err    error      // of everything
	reads  int
	writes int
}

func (p *inMemory) Zones(context.Context) ([]Zone, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.world.zones, p.err
}

func (p *inMemory) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *inMemory) Records(_ context.Context, zone Zone, _ []Key) ([]Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads++
	for _, there := range p.world.read() {
		if there.Zone == zone {
			return there.Records, p.err
		}
	}
	return nil, p.err
}

func (p *inMemory) Adjust(r Record) (Record, error) { return r, nil }

func (p *inMemory) Apply(_ context.Context, zone Zone, changes []Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, change := range changes {
		for _, e := range change.Edits {
			p.writes++
			p.world.edit(p.t, zone, e)
		}
	}
	return p.err
}

// pass lets time pass, and everybody do what is due.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// running starts a Reconciler in a bubble of synctest, and returns what ends it.
func running(t *testing.T, p *inMemory, o Options) (*Reconciler, func()) {
	o.Provider, o.Rules.Registry = p, registry(t, RegistryOptions{})
	r := New(o)
	return r, leading(t, r)
}

// leading runs a Reconciler, until the function that it returns is called.
func leading(t *testing.T, r *Reconciler) func() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestNothingIsTouchedBeforeItIsKnownWhatIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &inMemory{t: t, world: newWorld(marked(t, "lintel", a("www.example.com", "192.0.2.1"))...)}
		_, stop := running(t, p, Options{})
		pass(time.Hour)
		stop()
		if p.reads+p.writes != 0 {
			t.Errorf("%d reads and %d writes", p.reads, p.writes)
		}
	})
}

func TestASteadyStateIsReadOnceAnIntervalAndNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &inMemory{t: t, world: newWorld()}
		changed := 0
		r, stop := running(t, p, Options{Changed: func() { changed++ }})
		defer stop()
		want := []Record{a("www.example.com", "192.0.2.1")}
		r.Apply(want)
		synctest.Wait()
		if p.writes != 2 || r.States()[keyOf(want[0])].Stage != Ready {
			t.Fatalf("%d writes, states %+v", p.writes, r.States())
		}
		before := p.reads
		for range 60 { // a Build that changes nothing comes again and again
			pass(10 * time.Second)
			r.Apply(slices.Clone(want))
		}
		pass(time.Second)
		if rounds := (p.reads - before) / len(p.world.zones); rounds != 10 || p.writes != 2 || changed != 1 {
			t.Errorf("in 10 minutes: %d rounds, %d writes, %d changes of states", rounds, p.writes-2, changed)
		}
	})
}

// A replica may lead, lose that, and lead again, while nothing changes that is wanted.
func TestWhoLeadsAgainGoesOnWithWhatIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &inMemory{t: t, world: newWorld()}
		r, stop := running(t, p, Options{})
		r.Apply([]Record{a("www.example.com", "192.0.2.1")})
		synctest.Wait()
		stop()
		clear(p.world.records) // and nobody has led
		defer leading(t, r)()
		pass(rest)
		if len(p.world.records) != 2 {
			t.Errorf("%d records, not the one that is wanted and its mark", len(p.world.records))
		}
	})
}

func TestChangesAreTakenUpSoonAndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &inMemory{t: t, world: newWorld()}
		r, stop := running(t, p, Options{})
		defer stop()
		var want []Record
		for i := range 50 {
			want = append(want, a(fmt.Sprintf("h%02d.example.com", i), "192.0.2.1"))
			r.Apply(slices.Clone(want))
			pass(10 * time.Millisecond)
		}
		pass(2 * rest)
		if len(p.world.records) != 100 || p.reads > 3*len(p.world.zones) {
			t.Errorf("%d records after %d reads", len(p.world.records), p.reads)
		}
	})
}

func TestAFailingProviderIsAskedLessAndLessAndRecoveryIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &inMemory{t: t, world: newWorld(), err: errors.New("out of order")}
		rounds := 0
		r, stop := running(t, p, Options{Observe: func(Round) { rounds++ }})
		defer stop()
		want := []Record{a("www.example.com", "192.0.2.1")}
		r.Apply(want)
		pass(time.Hour)
		if rounds < 10 || rounds > 40 {
			t.Errorf("%d rounds in an hour", rounds)
		}
		if state := r.States()[keyOf(want[0])]; state.Stage != Failed || state.Reason != "list zones: out of order" {
			t.Errorf("%+v", state)
		}
		p.fail(nil)
		pass(lastRetry)
		if state := r.States()[keyOf(want[0])]; state.Stage != Ready {
			t.Errorf("recovered: %+v", state)
		}
		p.fail(&WaitError{After: time.Hour, Err: errors.New("too many requests")})
		pass(2 * time.Minute)
		before := rounds
		r.Apply(nil) // not even for a change
		pass(50 * time.Minute)
		if rounds != before {
			t.Errorf("%d rounds while it was to wait", rounds-before)
		}
	})
}

func TestHeldDeletionsPassWhenTheyAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &inMemory{t: t, world: newWorld()}
		r, stop := running(t, p, Options{Rules: Rules{Brake: DefaultBrake()}})
		defer stop()
		var want []Record
		for i := range 10 {
			want = append(want, a(fmt.Sprintf("h%02d.example.com", i), "192.0.2.1"))
		}
		r.Apply(want)
		pass(rest)
		r.Apply(nil)
		pass(time.Hour)
		if r.Held() == "" || len(p.world.records) != 20 {
			t.Fatalf("held %q, %d records", r.Held(), len(p.world.records))
		}
		r.Release(r.Held())
		pass(2 * rest)
		if r.Held() != "" || len(p.world.records) != 0 {
			t.Errorf("released: held %q, %d records", r.Held(), len(p.world.records))
		}
	})
}

func TestADryRunSaysWhatItWouldDo(t *testing.T) {
	p := &inMemory{t: t, world: newWorld()}
	r := New(Options{Provider: p, Rules: Rules{Registry: registry(t, RegistryOptions{})}, DryRun: true})
	want := a("www.example.com", "192.0.2.1")
	if round := r.Reconcile(t.Context(), []Record{want}); round.Err != nil || len(round.Plan.Create) != 1 || p.writes != 0 {
		t.Errorf("%+v, %d writes", round, p.writes)
	}
	if state := r.States()[keyOf(want)]; state.Stage != Planned {
		t.Errorf("%+v", state)
	}
}
