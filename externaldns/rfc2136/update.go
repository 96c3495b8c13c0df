package rfc2136

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/externaldns"
)

// Apply sends as few messages as there can be, each of which is carried out as a whole
// or not at all. One that is refused, because something is not as it was read, is cut
// in halves, until it is known which changes are concerned.
func (p *Provider) Apply(ctx context.Context, zone externaldns.Zone, changes []externaldns.Change) error {
	failures := externaldns.Failures{}
	var indexes []int
	for i := range changes {
		indexes = append(indexes, i)
	}
	for part := range slices.Chunk(indexes, changesPerMessage) {
		if err := p.send(ctx, zone, changes, part, failures); err != nil {
			return err
		}
	}
	if len(failures) > 0 {
		return failures
	}
	return nil
}

// send makes the changes of some indexes.
func (p *Provider) send(ctx context.Context, zone externaldns.Zone, changes []externaldns.Change, indexes []int, failures externaldns.Failures) error {
	message := new(dns.Msg).SetUpdate(dns.Fqdn(zone.Name))
	for _, i := range indexes {
		if err := p.add(message, changes[i]); err != nil {
			if len(indexes) > 1 {
				return p.halve(ctx, zone, changes, indexes, failures)
			}
			failures[i] = err
			return nil
		}
	}
	err := p.exchange(ctx, message)
	var changed *changedError
	switch {
	case err == nil || !errors.As(err, &changed):
		return err
	case len(indexes) > 1:
		return p.halve(ctx, zone, changes, indexes, failures)
	}
	failures[indexes[0]] = fmt.Errorf("%v: %w", changes[indexes[0]].Edits[0], err)
	return nil
}

func (p *Provider) halve(ctx context.Context, zone externaldns.Zone, changes []externaldns.Change, indexes []int, failures externaldns.Failures) error {
	half := len(indexes) / 2
	if err := p.send(ctx, zone, changes, indexes[:half], failures); err != nil {
		return err
	}
	return p.send(ctx, zone, changes, indexes[half:], failures)
}

// add puts a Change into a message, with what must be there before: the sets as they
// were read, and none where one is made (RFC 2136 section 2.4).
func (p *Provider) add(message *dns.Msg, change externaldns.Change) error {
	for _, e := range change.Edits {
		if e.Old != nil {
			old, err := p.toRRs(*e.Old)
			if err != nil {
				return err
			}
			var there []dns.RR
			for _, rr := range old {
				same := dns.Copy(rr) // Remove changes what it is given
				same.Header().Ttl = 0
				there = append(there, same)
			}
			message.Used(there)
			message.Remove(old)
		}
		if e.New != nil {
			created, err := p.toRRs(*e.New)
			if err != nil {
				return err
			}
			if e.Old == nil {
				p.require(message, change, created)
			}
			message.Insert(created)
		}
	}
	return nil
}

// require says that there is no set of that name and type yet. Where a CNAME comes
// there must be nothing: a server would pass over the update without a word (section
// 3.4.2.2). Unless this very change takes away what is there.
func (p *Provider) require(message *dns.Msg, change externaldns.Change, created []dns.RR) {
	name := created[0].Header().Name
	replaces := slices.ContainsFunc(change.Edits, func(e externaldns.Edit) bool {
		return e.Old != nil && dns.Fqdn(e.Old.Name) == name
	})
	if created[0].Header().Rrtype == dns.TypeCNAME && !replaces {
		message.NameNotUsed(created[:1])
		return
	}
	message.RRsetNotUsed(created[:1])
}

// changedError is a prerequisite that does not hold.
type changedError struct{ rcode int }

func (e *changedError) Error() string {
	return fmt.Sprintf("what is there is not what was read (%s): somebody else has changed it, or a record of another type is in the way", dns.RcodeToString[e.rcode])
}

// Cause is for [externaldns.CauseOf].
func (e *changedError) Cause() externaldns.Cause { return externaldns.CauseRefused }

func (p *Provider) exchange(ctx context.Context, message *dns.Msg) error {
	secrets, err := p.sign(message)
	if err != nil {
		return err
	}
	client := dns.Client{Net: "tcp", TsigSecret: secrets, Timeout: timeout}
	answer, _, err := client.ExchangeContext(ctx, message, p.options.Server)
	if err != nil {
		return fmt.Errorf("send update: %w", p.explain(err, "update it"))
	}
	switch answer.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeYXDomain, dns.RcodeYXRrset, dns.RcodeNXRrset, dns.RcodeNameError:
		return &changedError{answer.Rcode}
	}
	return causeOf(answer.Rcode).Of(fmt.Errorf("the server refuses updates (%s): the zone must be its own, and the key be allowed to update it", dns.RcodeToString[answer.Rcode]))
}
