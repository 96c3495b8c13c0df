package rfc2136

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/lintel-dev/lintel/externaldns"
)

// Where a server hands out no zones, sets are looked up one by one, at the server that takes
// the updates. An answer may have been made from a wildcard, which says nothing of the name
// itself: those that look like it are confirmed by updates that change nothing, whose
// prerequisites know no wildcards (RFC 2136 section 3.2).

const (
	// lookUpConnections are how many look-ups are under way at a time.
	lookUpConnections = 4
	// namesPerConfirmation bounds the prerequisites of one message.
	namesPerConfirmation = 200
)

// lookUp returns those sets that there are.
func (p *Provider) lookUp(ctx context.Context, zone externaldns.Zone, about []externaldns.Key) ([]externaldns.Record, error) {
	keys := map[externaldns.Key]bool{}
	for _, key := range about {
		keys[key] = true
		for _, wildcard := range wildcards(key.Name, zone.Name) {
			keys[externaldns.Key{Name: wildcard, Type: key.Type}] = true
		}
	}
	a := &answers{sets: map[externaldns.Key]externaldns.Record{}}
	group, asking := errgroup.WithContext(ctx)
	all := slices.Collect(maps.Keys(keys))
	for part := range slices.Chunk(all, max(1, (len(all)+lookUpConnections-1)/lookUpConnections)) {
		group.Go(func() error { return p.ask(asking, zone, part, a) })
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("look up names: %w", err)
	}
	var doubtful []externaldns.Key
	for key, set := range a.sets {
		if a.looksMade(set, zone) {
			doubtful = append(doubtful, key)
		}
	}
	for part := range slices.Chunk(doubtful, namesPerConfirmation) {
		if err := p.confirm(ctx, zone, part, a); err != nil {
			return nil, fmt.Errorf("look up names: %w", err)
		}
	}
	return slices.Collect(maps.Values(a.sets)), nil
}

// wildcards are the names that would answer for a name of a zone.
func wildcards(name, zone string) []string {
	var all []string
	for name != zone {
		_, parent, more := strings.Cut(name, ".")
		if !more {
			break
		}
		all = append(all, "*."+parent)
		name = parent
	}
	return all
}

// answers are the sets that were found.
type answers struct {
	mu   sync.Mutex // guards sets while several ask
	sets map[externaldns.Key]externaldns.Record
}

func (a *answers) add(r externaldns.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sets[r.Key()] = r
}

// looksMade tells whether a set may have been made from a wildcard: it is the same.
func (a *answers) looksMade(set externaldns.Record, zone externaldns.Zone) bool {
	return slices.ContainsFunc(wildcards(set.Name, zone.Name), func(wildcard string) bool {
		from, found := a.sets[externaldns.Key{Name: wildcard, Type: set.Type}]
		return found && wildcard != set.Name && from.TTL == set.TTL && slices.Equal(from.Targets, set.Targets)
	})
}

// ask asks for sets by a connection of its own.
func (p *Provider) ask(ctx context.Context, zone externaldns.Zone, keys []externaldns.Key, a *answers) error {
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, "tcp", p.options.Server)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for _, key := range keys {
		kind, known := dns.StringToType[key.Type]
		if !known {
			continue // nor can there be any
		}
		message := new(dns.Msg).SetQuestion(dns.Fqdn(key.Name), kind)
		message.RecursionDesired = false
		secrets, err := p.sign(message)
		if err != nil {
			return err
		}
		client := dns.Client{Net: "tcp", TsigSecret: secrets, Timeout: timeout}
		answer, _, err := client.ExchangeWithConnContext(ctx, message, &dns.Conn{Conn: conn})
		if err != nil {
			return fmt.Errorf("%s %s: %w", key.Name, key.Type, p.explain(err, "query it"))
		}
		if err := a.read(zone, key, answer); err != nil {
			return err
		}
	}
	return nil
}

// read takes over what an answer says of a set, and of a CNAME in its place.
func (a *answers) read(zone externaldns.Zone, key externaldns.Key, answer *dns.Msg) error {
	switch {
	case answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError:
		return causeOf(answer.Rcode).Of(fmt.Errorf("the server refuses to look up %s (%s): the zone must be its own, and the key be allowed to query it", key.Name, dns.RcodeToString[answer.Rcode]))
	case !answer.Authoritative && !delegates(answer, zone):
		return fmt.Errorf("the server has no authority over %s: it must be the primary of zone %s, and not a resolver", key.Name, zone.Name)
	}
	sets := map[externaldns.Key]externaldns.Record{}
	for _, rr := range answer.Answer {
		r := toRecord(rr)
		if r.Name != key.Name || r.Type != key.Type && r.Type != externaldns.CNAME {
			continue
		}
		set := sets[r.Key()]
		r.Targets = append(r.Targets, set.Targets...)
		sets[r.Key()] = r.Canonical()
	}
	for _, set := range sets {
		a.add(set)
	}
	return nil
}

// delegates tells whether an answer says that a name is in a zone below.
func delegates(answer *dns.Msg, zone externaldns.Zone) bool {
	return slices.ContainsFunc(answer.Ns, func(rr dns.RR) bool {
		return rr.Header().Rrtype == dns.TypeNS && dns.CanonicalName(rr.Header().Name) != dns.CanonicalName(zone.Name)
	})
}

// confirm takes out the sets that are not there.
func (p *Provider) confirm(ctx context.Context, zone externaldns.Zone, keys []externaldns.Key, a *answers) error {
	message := new(dns.Msg).SetUpdate(dns.Fqdn(zone.Name))
	for _, key := range keys {
		message.RRsetUsed([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: dns.Fqdn(key.Name), Rrtype: dns.StringToType[key.Type], Class: dns.ClassINET}}})
	}
	err := p.exchange(ctx, message)
	var changed *changedError
	if err == nil || !errors.As(err, &changed) {
		return err
	}
	if len(keys) == 1 {
		delete(a.sets, keys[0])
		return nil
	}
	half := len(keys) / 2
	if err := p.confirm(ctx, zone, keys[:half], a); err != nil {
		return err
	}
	return p.confirm(ctx, zone, keys[half:], a)
}
