package acme

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// withdrawTimeout is for taking answers back after everything else, also when the
// process is about to end.
const withdrawTimeout = 30 * time.Second

// attempt is one try to get one certificate: it takes up the order under way, or
// makes one. It runs under the certificate's lock.
type attempt struct {
	issuer   *issuer
	want     Certificate
	storage  Storage
	progress *progress
	caller   *caller
	client   *acme.Client
	log      *slog.Logger
	settle   time.Duration
	turns    *turns
	// replaces is the stored certificate; nil if there is none.
	replaces *held
	ordered  func() // called when the CA took an order
	tell     func(stage Stage, message string)
}

// obtain returns the wanted certificate, to be stored. Whether an error ended the
// order or left it to be taken up again is in a.progress.
func (a *attempt) obtain(ctx context.Context) (*Stored, error) {
	var err error
	if a.caller.transport, err = a.issuer.reach(); err != nil {
		return nil, err
	}
	account, err := a.account(ctx)
	if err != nil {
		return nil, err
	}
	order, err := a.open(ctx, account)
	if err != nil {
		return nil, err
	}
	if order, err = a.finish(ctx, account, order); err != nil {
		if final(err) {
			a.progress.forgetOrder()
		}
		return nil, err
	}
	chain, err := a.download(ctx, account, order)
	if err != nil {
		return nil, err
	}
	key := []byte(a.progress.Key)
	if err := check(chain, key, a.want); err != nil {
		a.progress.forgetOrder()
		return nil, err
	}
	return &Stored{CertPEM: chain, KeyPEM: key, Annotations: map[string]string{
		AnnotationIssuer: a.issuer.Name, AnnotationDirectory: a.issuer.Directory,
		annotationIssued: a.caller.now().UTC().Format(time.RFC3339), annotationWanted: wantedPrint(a.want, a.issuer),
	}, Owned: true}, nil
}

// deadOrder is the end of an order: it can't be taken up again.
type deadOrder struct{ error }

func (e deadOrder) Unwrap() error { return e.error }

// final tells whether an error ended its order.
func final(err error) bool {
	_, dead := errors.AsType[deadOrder](err)
	return dead
}

// open returns the order under way if it is for what is wanted and still good, and
// else makes one.
func (a *attempt) open(ctx context.Context, account acme.Account) (acme.Order, error) {
	mark := orderPrint(a.want, a.issuer)
	p := a.progress
	if p.URL != "" && p.Order == mark && p.Account == account.Location {
		order, err := a.client.GetOrder(ctx, account, acme.Order{Location: p.URL})
		problem, refused := problemOf(err)
		switch {
		case err == nil && order.Status != acme.StatusInvalid && !a.expired(order):
			a.log.Info("order taken up again", "order", order.Location, "status", order.Status)
			return order, nil
		case err != nil && (!refused || problem.Status == 429 || problem.Status >= 500):
			return acme.Order{}, fmt.Errorf("take up order: %w", err)
		}
	}
	p.forgetOrder()
	key, err := newKey(a.want.KeyAlgorithm)
	if err != nil {
		return acme.Order{}, err
	}
	text, err := encodeKey(key)
	if err != nil {
		return acme.Order{}, err
	}
	order, err := a.newOrder(ctx, account)
	if err != nil {
		return acme.Order{}, err
	}
	a.ordered()
	a.log.Info("certificate ordered", "order", order.Location, "ca", a.issuer.Directory)
	p.Order, p.URL, p.Key, p.Account = mark, order.Location, string(text), account.Location
	return order, p.save(ctx, a.storage, a.want.Name)
}

// expired tells whether it is too late to prove the names of an order.
func (a *attempt) expired(order acme.Order) bool {
	return order.Status == acme.StatusPending && !order.Expires.IsZero() && order.Expires.Before(a.caller.now())
}

// newOrder makes an order (RFC 8555 §7.4).
func (a *attempt) newOrder(ctx context.Context, account acme.Account) (acme.Order, error) {
	wanted := acme.Order{Profile: a.issuer.Profile}
	for _, name := range a.want.Names {
		wanted.Identifiers = append(wanted.Identifiers, acme.Identifier{Type: "dns", Value: name})
	}
	if d := a.issuer.asks(a.want); d > 0 {
		end := a.caller.now().Add(d).Truncate(time.Second)
		wanted.NotAfter = &end
	}
	if a.replacesForCA() {
		directory, err := a.client.GetDirectory(ctx)
		if err != nil {
			return acme.Order{}, err
		}
		if directory.RenewalInfo != "" { // RFC 9773 §5
			// Without an identifier it is an order like any other.
			wanted.Replaces, _ = acme.ARIUniqueIdentifier(a.replaces.leaf)
		}
	}
	order, err := a.client.NewOrder(ctx, account, wanted)
	if err == nil {
		return order, nil
	}
	problem, _ := problemOf(err)
	switch {
	case problem.Type == acme.ProblemTypeAccountDoesNotExist:
		return order, errors.Join(fmt.Errorf("order: %w", err), a.forgetAccount(ctx))
	case wanted.Replaces != "" && problem.Status >= 400 && problem.Status < 500 && problem.Status != 429:
		// Replaced before, or unknown to the CA: it is no reason to have none.
		wanted.Replaces = ""
		order, err = a.client.NewOrder(ctx, account, wanted)
	}
	if err != nil {
		return order, fmt.Errorf("order: %w", err)
	}
	return order, nil
}

// replacesForCA tells whether to say that the order replaces the stored certificate: it
// is of this CA, and for one of the names. After a failure it is not said again: CAs err
// about it, and a renewal must not fail by that.
func (a *attempt) replacesForCA() bool {
	return a.replaces != nil && a.progress.Failures == 0 && a.replaces.stored.Annotations[AnnotationDirectory] == a.issuer.Directory &&
		slices.ContainsFunc(a.want.Names, func(name string) bool { return slices.Contains(a.replaces.leaf.DNSNames, name) })
}

// finish brings an order to the point where its certificate can be downloaded.
func (a *attempt) finish(ctx context.Context, account acme.Account, order acme.Order) (acme.Order, error) {
	if order.Status == acme.StatusPending {
		if err := a.prove(ctx, account, order); err != nil {
			return order, err
		}
	}
	order, err := a.settled(ctx, account, order, acme.StatusPending)
	if err != nil {
		return order, err
	}
	if order.Status == acme.StatusReady {
		key, err := decodeKey([]byte(a.progress.Key))
		if err != nil {
			return order, deadOrder{err}
		}
		request, err := signingRequest(a.want, key)
		if err != nil {
			return order, deadOrder{err}
		}
		finished, err := a.client.FinalizeOrder(ctx, account, order, request)
		if err != nil {
			if problem, refused := problemOf(err); refused && problem.Status < 500 && problem.Status != 429 {
				err = deadOrder{err}
			}
			return order, fmt.Errorf("finalize order: %w", err)
		}
		return finished, nil
	}
	return a.settled(ctx, account, order, acme.StatusProcessing)
}

// settled asks for the order until it is not in a passing status any more.
func (a *attempt) settled(ctx context.Context, account acme.Account, order acme.Order, passing string) (acme.Order, error) {
	deadline := time.Now().Add(pollTimeout)
	for first := true; ; first = false {
		if !first {
			if err := sleep(ctx, pollInterval); err != nil {
				return order, err
			}
		}
		if order.Status == passing {
			var err error
			if order, err = a.client.GetOrder(ctx, account, order); err != nil {
				return order, fmt.Errorf("ask for order: %w", err)
			}
		}
		switch {
		case order.Status == acme.StatusInvalid && order.Error != nil:
			return order, deadOrder{fmt.Errorf("order is invalid: %w", *order.Error)}
		case order.Status == acme.StatusInvalid:
			return order, deadOrder{errors.New("the CA made the order invalid and does not say why")}
		case order.Status != passing:
			return order, nil
		case time.Now().After(deadline):
			return order, fmt.Errorf("the order is still %s at the CA after %v", passing, pollTimeout)
		}
	}
}

// download returns the chain that is preferred.
func (a *attempt) download(ctx context.Context, account acme.Account, order acme.Order) ([]byte, error) {
	chains, err := a.client.GetCertificateChain(ctx, account, order.Certificate)
	if err != nil {
		return nil, fmt.Errorf("download certificate: %w", err)
	}
	if len(chains) == 0 {
		return nil, errors.New("download certificate: the CA offers no chain")
	}
	preferred := slices.IndexFunc(chains, func(c acme.Certificate) bool { return issuedBy(c.ChainPEM, a.issuer.PreferredChain) })
	return chains[max(preferred, 0)].ChainPEM, nil
}

// issuedBy tells whether a certificate of a chain was issued by one of this common name.
func issuedBy(chain []byte, commonName string) bool {
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && c.Issuer.CommonName == commonName {
			return true
		}
	}
	return false
}

// sleep waits, or returns the error of a context that ends before.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
