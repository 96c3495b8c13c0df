package acme

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mholt/acmez/v3/acme"
)

// proven is a name that the CA asks to be proved, and the challenge to do it by.
type proven struct {
	authorization acme.Authorization
	challenge     acme.Challenge
}

// prove proves all names of an order that are not proved yet (RFC 8555 §7.5). An
// order whose names could not be made provable, as when DNS does not propagate,
// stays as it is; one that the CA looked at in vain is dead.
func (a *attempt) prove(ctx context.Context, account acme.Account, order acme.Order) (err error) {
	open, err := a.challenges(ctx, account, order)
	if err != nil || len(open) == 0 {
		return err
	}
	leave, err := a.takeTurn(ctx, open)
	if err != nil {
		return err
	}
	defer leave()
	s, err := a.issuer.newSolver(a.storage, func(message string) { a.tell(WaitingForDNS, message) })
	if err != nil {
		return err
	}
	defer func() {
		// Also when ctx has ended: an answer that stays is in the way of others.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
		defer cancel()
		if failed := s.withdraw(ctx); failed != nil {
			a.log.Warn("answer to the CA not removed", "error", failed)
		}
	}()
	for _, p := range open {
		if err := s.present(ctx, p.challenge); err != nil {
			return err
		}
	}
	if err := s.wait(ctx); err != nil {
		return err
	}
	if err := sleep(ctx, a.settle); err != nil {
		return err
	}
	a.tell(Ordering, "the CA looks at "+names(open))
	for _, p := range open {
		if p.challenge.Status != acme.StatusPending {
			continue // it looks already, since before a restart
		}
		if _, err := a.client.InitiateChallenge(ctx, account, p.challenge); err != nil {
			return fmt.Errorf("begin challenge for %s: %w", p.authorization.IdentifierValue(), err)
		}
	}
	for _, p := range open {
		if err := a.await(ctx, account, p.authorization); err != nil {
			return err
		}
	}
	return nil
}

// takeTurn waits until no other order has its names proved by handshakes: a handshake
// answers one challenge for each name (RFC 8737 §3), and does not say for which order.
func (a *attempt) takeTurn(ctx context.Context, open []proven) (leave func(), err error) {
	if a.issuer.Solver.challengeType() != ChallengeTLSALPN01 {
		return func() {}, nil
	}
	var names []string
	for _, p := range open {
		names = append(names, p.authorization.IdentifierValue())
	}
	return a.turns.take(ctx, names)
}

// challenges returns a challenge of the issuer's type for each name that is open.
func (a *attempt) challenges(ctx context.Context, account acme.Account, order acme.Order) ([]proven, error) {
	var open []proven
	for _, url := range order.Authorizations {
		authorization, err := a.client.GetAuthorization(ctx, account, url)
		if err != nil {
			return nil, fmt.Errorf("read authorization: %w", err)
		}
		switch authorization.Status {
		case acme.StatusValid:
			continue
		case acme.StatusPending:
		default:
			return nil, deadOrder{fmt.Errorf("authorization of %s is %s at the CA", authorization.IdentifierValue(), authorization.Status)}
		}
		challenge, err := a.choose(authorization)
		if err != nil {
			return nil, err
		}
		open = append(open, proven{authorization, challenge})
	}
	return open, nil
}

// choose returns the authorization's challenge of the issuer's type.
func (a *attempt) choose(authorization acme.Authorization) (acme.Challenge, error) {
	kind := a.issuer.Solver.challengeType()
	var offered []string
	for _, c := range authorization.Challenges {
		if c.Type == kind {
			return c, nil
		}
		offered = append(offered, c.Type)
	}
	slices.Sort(offered)
	return acme.Challenge{}, fmt.Errorf("the CA takes %s for %s, but issuer %q proves names by %s",
		strings.Join(offered, ", "), authorization.IdentifierValue(), a.issuer.Name, kind)
}

// await returns when the CA is satisfied of a name, or an error when it is not.
func (a *attempt) await(ctx context.Context, account acme.Account, authorization acme.Authorization) error {
	_, err := a.client.PollAuthorization(ctx, account, authorization)
	if err == nil {
		return nil
	}
	problem, refused := problemOf(err)
	if _, about := problem.Resource.(acme.Authorization); refused && about {
		return deadOrder{err}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("wait for the CA to look at %s: %w", authorization.IdentifierValue(), err)
}

func names(open []proven) string {
	list := make([]string, len(open))
	for i, p := range open {
		list[i] = p.authorization.IdentifierValue()
	}
	return strings.Join(list, ", ")
}
