package acme

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	defaultBackoffFirst = time.Minute
	defaultBackoffMost  = 4 * time.Hour
	// unfinishedAttempts may begin one after the other without an end, as when a
	// leader changes in the middle; then each waits as after a failure.
	unfinishedAttempts = 3
	// maxComeBack bounds Retry-After: an account may be blocked for a week at most
	// before we ask once more.
	maxComeBack = 7 * 24 * time.Hour
)

// progress is the document of a certificate's orders: the order under way, for
// whoever takes it up, and the failures before it. It is deleted when the
// certificate is there.
type progress struct {
	// Certificate is the name, for people.
	Certificate string `json:"certificate"`
	// Order says what was ordered (orderPrint), URL where it stands at the CA, "" if
	// there is none; Key is the certificate's, PKCS #8 in PEM; Account the CA's name of
	// who ordered.
	Order   string `json:"order,omitempty"`
	URL     string `json:"url,omitempty"`
	Key     string `json:"key,omitempty"`
	Account string `json:"account,omitempty"`

	// Attempt says with what it was tried (attemptPrint): other settings are worth
	// another try at once. Started is when, and Unfinished how many attempts began
	// since one ended.
	Attempt    string    `json:"attempt,omitempty"`
	Started    time.Time `json:"started"`
	Unfinished int       `json:"unfinished,omitempty"`

	// Failures since the last success; the last at Failed, after which to wait Wait,
	// or Asked if the CA at Directory asked for longer.
	Failures  int           `json:"failures,omitempty"`
	Failed    time.Time     `json:"failed"`
	Wait      time.Duration `json:"wait,omitempty"`  // nanoseconds
	Asked     time.Duration `json:"asked,omitempty"` // nanoseconds
	Directory string        `json:"directory,omitempty"`
	Message   string        `json:"message,omitempty"`
}

func progressKey(name Name) string { return documentKey("order", name.Namespace, name.Name) }

func loadProgress(ctx context.Context, storage Storage, name Name) (*progress, error) {
	text, err := storage.Document(ctx, progressKey(name))
	if err != nil {
		return nil, fmt.Errorf("read order under way: %w", err)
	}
	p := &progress{Certificate: name.String()}
	if text == nil {
		return p, nil
	}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("read order under way: %w", err)
	}
	return p, nil
}

func (p *progress) save(ctx context.Context, storage Storage, name Name) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode order under way: %w", err)
	}
	if err := storage.SaveDocument(ctx, progressKey(name), text); err != nil {
		return fmt.Errorf("save order under way: %w", err)
	}
	return nil
}

// forgetOrder makes the next attempt order anew.
func (p *progress) forgetOrder() { p.Order, p.URL, p.Key, p.Account = "", "", "", "" }

// begin notes that an attempt begins.
func (p *progress) begin(now time.Time, mark string) {
	if p.Attempt != mark {
		p.Failures, p.Unfinished = 0, 0
	}
	p.Attempt, p.Started = mark, now
	p.Unfinished++
}

// failure is how an attempt ended.
type failure struct {
	message   string
	at        time.Time
	comeBack  time.Time // when the CA wants to be asked again; zero if it did not say
	directory string    // the CA's
}

// fail notes that an attempt ended in a failure.
func (p *progress) fail(f failure, backoff Backoff) {
	p.Unfinished, p.Message, p.Failed, p.Directory = 0, f.message, f.at, f.directory
	p.Failures++
	p.Wait = backoff.wait(p.Failures)
	p.Asked = 0
	if !f.comeBack.IsZero() {
		p.Asked = min(f.comeBack.Sub(f.at), maxComeBack)
	}
}

// changedSooner is the part of the first wait that is left after a change of
// settings: settings that keep changing must not become many orders.
const changedSooner = 6

// retry returns when the next attempt may begin; zero if at once. Somebody who
// changed what failed need not wait long, but a CA that named a time is not asked before.
func (p *progress) retry(mark string, i *issuer, backoff Backoff) time.Time {
	switch {
	case p.Unfinished >= unfinishedAttempts:
		return p.Started.Add(backoff.step(p.Unfinished - unfinishedAttempts + 1))
	case p.changing(mark):
		return p.Started.Add(backoff.First / changedSooner)
	}
	if p.Failures == 0 {
		return time.Time{}
	}
	wait := p.Wait
	if p.Attempt != mark {
		wait = backoff.First / changedSooner
	}
	if p.Directory == i.Directory {
		wait = max(wait, p.Asked)
	}
	return p.Failed.Add(wait)
}

// changing tells whether an order was given up because something else is wanted: that
// may go on changing for a moment.
func (p *progress) changing(mark string) bool {
	return p.Unfinished > 0 && p.URL != "" && p.Attempt != mark
}

// turnBack mends times that are in the future because the clock was set back, and
// tells whether there were any.
func (p *progress) turnBack(now time.Time) bool {
	turned := false
	for _, t := range []*time.Time{&p.Started, &p.Failed} {
		if t.After(now) {
			*t, turned = now, true
		}
	}
	return turned
}

func (b Backoff) orDefault() Backoff {
	if b.First <= 0 {
		b.First = defaultBackoffFirst
	}
	if b.Most <= 0 {
		b.Most = max(defaultBackoffMost, b.First)
	}
	return b
}

// step is the wait after so many failures.
func (b Backoff) step(failures int) time.Duration {
	d := b.First
	for i := 1; i < failures && d < b.Most; i++ {
		d *= 2
	}
	return min(d, b.Most)
}

// wait is the same, and by chance up to a tenth longer.
func (b Backoff) wait(failures int) time.Duration {
	d := b.step(failures)
	return d + rand.N(d/10+1)
}

// wantedPrint stands for what a certificate is to be.
func wantedPrint(want Certificate, i *issuer) string {
	return fingerprint(want.Names, want.CommonName, want.algorithm(), i.asks(want).String(), i.Directory, i.Profile)
}

// orderPrint stands for what an order is for: an order under way serves only a
// certificate that is still wanted so, by the same account.
func orderPrint(want Certificate, i *issuer) string {
	return fingerprint(wantedPrint(want, i), i.accountKey())
}

// attemptPrint stands for everything that an attempt may fail by and people can change.
func attemptPrint(want Certificate, i *issuer) string {
	return fingerprint(orderPrint(want, i), i.PreferredChain, i.proof(), i.trust())
}

func fingerprint(parts ...any) string {
	text, err := json.Marshal(parts)
	if err != nil {
		panic(err) // strings and lists of them can be encoded
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
