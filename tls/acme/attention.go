package acme

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// ariInterval is how often a CA that names no interval is asked when to renew.
const ariInterval = 6 * time.Hour

// backoffParts of its lifetime is the longest wait between tries to renew a certificate.
const backoffParts = 20

// look is what is known of a certificate at one moment.
type look struct {
	held     *held // nil if there is none, or none that can serve
	progress *progress
	why      string    // it has to be ordered; "" while it need not be
	due      time.Time // when it has to be ordered
	differs  bool      // the certificate is not what is wanted
	renews   time.Time // zero while there is none
}

// attend looks after one certificate: it says how it stands, orders it when it has
// to be, and returns when to look again. It never panics on what is stored, and
// everything that fails is in the State.
func (o *Orders) attend(ctx context.Context, j *job, want Certificate) time.Time {
	name := want.Name
	i := o.issuers[want.Issuer]
	if mistake := want.mistake(i); mistake != "" {
		o.set(name, func(s *State) {
			*s = State{Stage: Failed, Issuer: want.Issuer, Message: mistake, NotAfter: s.NotAfter, Renews: s.Renews}
		})
		return o.soon()
	}
	seen, err := o.look(ctx, j, want, i)
	if err != nil {
		return o.troubled(ctx, j, want, err)
	}
	now := o.options.Now()
	if seen.due.After(now) && seen.differs {
		j.trouble = 0
		o.set(want.Name, func(s *State) {
			*s = State{Stage: Pending, Issuer: want.Issuer, Message: seen.why + ", and one was ordered a moment ago", NotAfter: seen.notAfter(), Renews: seen.renews}
		})
		return earlier(seen.due, o.soon())
	}
	if seen.due.After(now) {
		j.trouble = 0
		o.ready(want, seen)
		if i.suggests(j, seen.held, now) {
			o.askRenewal(ctx, j, seen.held, i)
			if seen, err = o.look(ctx, j, want, i); err != nil {
				return o.troubled(ctx, j, want, err)
			}
			o.ready(want, seen)
		}
		return earlier(seen.due, o.soon())
	}
	if retry := seen.progress.retry(attemptPrint(want, i), i, o.options.Backoff); retry.After(now) {
		j.trouble = 0
		o.waiting(want, seen, retry)
		return earlier(retry, now.Add(mendInterval))
	}
	if err := o.order(ctx, j, want, i); err != nil {
		return o.troubled(ctx, j, want, err)
	}
	return o.options.Now() // once more, to see what came of it
}

func (o *Orders) soon() time.Time { return o.options.Now().Add(attentionInterval) }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// look reads what is stored and says whether the certificate has to be ordered.
func (o *Orders) look(ctx context.Context, j *job, want Certificate, i *issuer) (look, error) {
	leave, err := enter(ctx, o.looks)
	if err != nil {
		return look{}, err
	}
	defer leave()
	stored, err := o.options.Storage.Load(ctx, want.Name)
	if err != nil {
		return look{}, fmt.Errorf("read certificate: %w", err)
	}
	if stored != nil && !stored.Owned {
		return look{}, ErrForeign
	}
	p, err := loadProgress(ctx, o.options.Storage, want.Name)
	if err != nil {
		return look{}, err
	}
	if p.turnBack(o.options.Now()) {
		if err := p.save(ctx, o.options.Storage, want.Name); err != nil {
			return look{}, err
		}
	}
	seen := look{progress: p, why: "there is none yet"}
	if stored == nil {
		return seen, nil
	}
	if seen.held, err = read(stored); err != nil {
		seen.why = err.Error()
		return seen, nil
	}
	seen.renews = seen.held.renews(want, j.suggested)
	seen.why, seen.due = "it is time to renew it", seen.renews
	if differs := seen.held.differs(want, i); differs != "" {
		seen.why, seen.due, seen.differs = differs, time.Time{}, true
		// One that was ordered just now rests a little: what is wanted may keep changing.
		rest := o.options.Backoff.First / changedSooner
		if now := o.options.Now(); !seen.held.issued.After(now) {
			seen.due = seen.held.issued.Add(rest)
		}
	}
	return seen, nil
}

// ready says how a certificate stands for which nothing has to be done.
func (o *Orders) ready(want Certificate, seen look) {
	o.set(want.Name, func(s *State) {
		*s = State{Stage: Ready, Issuer: want.Issuer, NotAfter: seen.held.leaf.NotAfter, Renews: seen.renews}
	})
}

// waiting says why the next attempt does not begin yet.
func (o *Orders) waiting(want Certificate, seen look, retry time.Time) {
	state := State{Stage: Failed, Issuer: want.Issuer, Message: seen.progress.Message, Retry: retry, NotAfter: seen.notAfter(), Renews: seen.renews}
	switch {
	case seen.progress.Unfinished >= unfinishedAttempts:
		state.Message = "several orders in a row were cut off before their end"
	case seen.progress.Failures == 0:
		state.Stage, state.Message, state.Retry = Pending, "something else was being ordered a moment ago", time.Time{}
	}
	o.set(want.Name, func(s *State) { *s = state })
}

func (l look) notAfter() time.Time {
	if l.held == nil {
		return time.Time{}
	}
	return l.held.leaf.NotAfter
}

// troubled says that the storage failed, or has what is not ours, and returns when
// to look again.
func (o *Orders) troubled(ctx context.Context, j *job, want Certificate, err error) time.Time {
	if ctx.Err() != nil {
		return time.Time{} // nothing is wrong but that we have to stop
	}
	if errors.Is(err, ErrForeign) {
		o.set(want.Name, func(s *State) {
			*s = State{Stage: Foreign, Issuer: want.Issuer, Message: ErrForeign.Error()}
		})
		return o.soon()
	}
	j.trouble++
	retry := o.options.Now().Add(o.options.Backoff.wait(j.trouble))
	o.logFor(want).Warn("storage of certificates failed", "error", err)
	o.set(want.Name, func(s *State) {
		s.Stage, s.Message, s.Retry = Failed, words(err), retry
	})
	return earlier(retry, o.soon())
}

// forgetAfter is how long the order of a certificate that nobody wants is kept, at least: who
// takes an object away may be about to put it back, and must not order anew each time.
const forgetAfter = time.Hour

// forget removes the order of a certificate that nobody wants any more since left, once a CA
// would let it be ordered again. It returns when to look again, or that there is none.
func (o *Orders) forget(ctx context.Context, name Name, left time.Time) (next time.Time, gone bool) {
	p, err := loadProgress(ctx, o.options.Storage, name)
	if err == nil && p.Attempt == "" {
		return time.Time{}, true
	}
	at := left.Add(forgetAfter)
	if err == nil {
		if asked := p.Failed.Add(max(p.Wait, p.Asked)); asked.After(at) {
			at = asked
		}
	}
	if at.After(o.options.Now()) {
		return earlier(at, o.soon()), false
	}
	if err := o.options.Storage.SaveDocument(ctx, progressKey(name), nil); err != nil {
		o.options.Log.Warn("document of an order that nobody wants not removed", "certificate", name.String(), "error", err)
		return o.soon(), false
	}
	return time.Time{}, true
}

// suggests tells whether the CA is to be asked when it wants a certificate renewed.
func (i *issuer) suggests(j *job, h *held, now time.Time) bool {
	if h == nil || h.stored.Annotations[AnnotationDirectory] != i.Directory {
		return false
	}
	return j.suggested.serial != h.leaf.SerialNumber.String() || !j.suggested.again.After(now)
}

// askRenewal asks the CA when it wants a certificate renewed. Without an answer our
// own times are good.
func (o *Orders) askRenewal(ctx context.Context, j *job, h *held, i *issuer) {
	leave, err := enter(ctx, o.slots)
	if err != nil {
		return // we have to stop
	}
	defer leave()
	now := o.options.Now()
	j.suggested = window{serial: h.leaf.SerialNumber.String(), again: now.Add(ariInterval)}
	info, err := o.renewalInfo(ctx, h, i)
	if err != nil {
		o.options.Log.Debug("CA suggests no time of renewal", "issuer", i.Name, "error", err)
		return
	}
	j.suggested.start, j.suggested.end = info.SuggestedWindow.Start, info.SuggestedWindow.End
	if info.RetryAfter != nil && info.RetryAfter.After(now.Add(time.Minute)) {
		j.suggested.again = *info.RetryAfter
	}
}

func (o *Orders) renewalInfo(ctx context.Context, h *held, i *issuer) (acme.RenewalInfo, error) {
	transport, err := i.reach()
	if err != nil {
		return acme.RenewalInfo{}, err
	}
	c := &caller{transport: transport, now: o.options.Now}
	return c.client(i.Directory, o.options.UserAgent).GetRenewalInfo(ctx, h.leaf)
}

// order makes one attempt under the certificate's lock, unless another replica made
// it while we waited. An error is the storage's; what else fails is in the progress.
func (o *Orders) order(ctx context.Context, j *job, want Certificate, i *issuer) error {
	o.set(want.Name, func(s *State) { s.Stage, s.Message, s.Retry = Pending, "it waits for other orders", time.Time{} })
	leave, err := enter(ctx, o.slots)
	if err != nil {
		return err
	}
	defer leave()
	held, unlock, err := o.options.Storage.Lock(ctx, documentKey("certificate", want.Name.Namespace, want.Name.Name))
	if err != nil {
		return fmt.Errorf("lock certificate: %w", err)
	}
	defer unlock()
	if err := o.orderLocked(held, j, want, i); held.Err() == nil || ctx.Err() != nil {
		return err
	}
	return errors.New("lock certificate: it was lost in the middle of an order")
}

// enter waits for one of the places in a channel.
func enter(ctx context.Context, places chan struct{}) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// orderLocked is order, under the lock.
func (o *Orders) orderLocked(ctx context.Context, j *job, want Certificate, i *issuer) error {
	seen, err := o.look(ctx, j, want, i)
	if err != nil {
		return err
	}
	now, mark := o.options.Now(), attemptPrint(want, i)
	if seen.due.After(now) || seen.progress.retry(mark, i, o.options.Backoff).After(now) {
		return nil
	}
	p := seen.progress
	p.begin(now, mark)
	if err := p.save(ctx, o.options.Storage, want.Name); err != nil {
		return err // before the CA is asked for what could not be kept
	}
	o.set(want.Name, func(s *State) {
		s.Stage, s.Message, s.NotAfter, s.Renews = Ordering, "ordering: "+seen.why, seen.notAfter(), seen.renews
	})
	a := o.attempt(want, i, seen)
	stored, err := a.obtain(ctx)
	if err == nil {
		err = o.keep(ctx, want, stored)
	}
	if errors.Is(err, ErrForeign) {
		return err
	}
	if err != nil {
		return o.failed(ctx, a, err)
	}
	return nil
}

func (o *Orders) attempt(want Certificate, i *issuer, seen look) *attempt {
	c := &caller{now: o.options.Now}
	return &attempt{
		issuer: i, want: want, storage: o.options.Storage, progress: seen.progress,
		caller: c, client: c.client(i.Directory, o.options.UserAgent),
		log: o.logFor(want), settle: o.options.Settle, turns: &o.turns, replaces: seen.held,
		ordered: func() { call(o.options.Metrics.Ordered, i.Name) },
		tell: func(stage Stage, message string) {
			o.set(want.Name, func(s *State) { s.Stage, s.Message = stage, message })
		},
	}
}

func call(metric func(string), issuer string) {
	if metric != nil {
		metric(issuer)
	}
}

// keep stores a new certificate. The order is forgotten only after that: until then
// its certificate can be downloaded once more.
func (o *Orders) keep(ctx context.Context, want Certificate, stored *Stored) error {
	if err := o.options.Storage.Save(ctx, want.Name, stored); err != nil {
		return fmt.Errorf("save certificate: %w", err)
	}
	call(o.options.Metrics.Obtained, want.Issuer)
	o.logFor(want).Info("certificate stored")
	if err := o.options.Storage.SaveDocument(ctx, progressKey(want.Name), nil); err != nil {
		o.logFor(want).Warn("document of the order not removed", "error", err)
	}
	return nil
}

// failed keeps a failure for the next attempt, whoever makes it.
func (o *Orders) failed(ctx context.Context, a *attempt, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if failed := o.options.Metrics.Failed; failed != nil {
		failed(a.issuer.Name, reason(err))
	}
	f := failure{message: words(err), at: o.options.Now(), comeBack: a.caller.comeBack(), directory: a.issuer.Directory}
	backoff := o.options.Backoff
	if a.replaces != nil { // what is to be renewed within hours is not tried once in hours
		backoff.Most = min(backoff.Most, max(backoff.First, a.replaces.lifetime()/backoffParts))
	}
	a.progress.fail(f, backoff)
	a.log.Warn("certificate not obtained", "error", err, "retry_in", max(a.progress.Wait, a.progress.Asked).Round(time.Second))
	return a.progress.save(ctx, o.options.Storage, a.want.Name)
}
