package externaldns

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Provider keeps the records of zones. A Reconciler calls it from one goroutine.
type Provider interface {
	// Zones returns the zones that are looked after. It is called often, and may answer
	// from memory for a while.
	Zones(ctx context.Context) ([]Zone, error)
	// Records returns everything in a zone, one Record for each name and type; where
	// zones can't be listed, those of about at least, as far as there are any. What a set
	// has no words for (several TTLs, a type of its own) may be left out, if it can't be
	// changed by what is left in.
	Records(ctx context.Context, zone Zone, about []Key) ([]Record, error)
	// Adjust returns a wanted record as Records will show it once it is made, or says
	// why it can't be made.
	Adjust(r Record) (Record, error)
	// Apply makes changes in a zone, whose records were read before. It returns
	// Failures when it knows which changes were not made; after any other error nobody
	// knows, and the zone is read again.
	Apply(ctx context.Context, zone Zone, changes []Change) error
}

// Failures are changes that were not made, by their index, and why. All others were.
type Failures map[int]error

// Error names the first failure.
func (f Failures) Error() string {
	first := slices.Min(slices.Collect(maps.Keys(f)))
	if len(f) == 1 {
		return f[first].Error()
	}
	return fmt.Sprintf("%d changes were not made; the first: %v", len(f), f[first])
}

// WaitError is what a provider returns that wants to be left alone for a while.
type WaitError struct {
	After time.Duration
	Err   error
}

// Error implements error.
func (e *WaitError) Error() string {
	return fmt.Sprintf("%v; going on in %s", e.Err, e.After.Round(time.Second))
}

// Unwrap returns what happened.
func (e *WaitError) Unwrap() error { return e.Err }

// ErrUnreadable is why nothing happens in a zone that can't be read.
var ErrUnreadable = errors.New("its zone can't be read")

// reading is what a provider has.
type reading struct {
	all      []Zone
	readable []ZoneRecords
	failed   map[string]error // by zone's name
}

// readZones reads all zones that may hold names of domains, and in them what there is about
// some sets. A zone that can't be read does not keep the others from it.
func readZones(ctx context.Context, p Provider, domains Domains, about []Key) (reading, error) {
	zones, err := p.Zones(ctx)
	if err != nil {
		return reading{}, fmt.Errorf("list zones: %w", err)
	}
	r := reading{failed: map[string]error{}}
	for _, zone := range zones {
		zone.Name = canonicalName(zone.Name)
		r.all = append(r.all, zone)
	}
	parts := map[string][]Key{} // by zone's name
	for _, key := range about {
		zone, _ := zoneOf(r.all, key.Name)
		parts[zone.Name] = append(parts[zone.Name], key)
	}
	for _, zone := range r.all {
		if !domains.touch(zone.Name) {
			continue
		}
		records, err := p.Records(ctx, zone, parts[zone.Name])
		if err != nil {
			r.failed[zone.Name] = fmt.Errorf("read zone %s: %w", zone.Name, err)
			continue
		}
		r.readable = append(r.readable, ZoneRecords{zone, records})
	}
	return r, nil
}

// err is all that failed.
func (r reading) err() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(r.failed)) {
		errs = append(errs, r.failed[name])
	}
	return errors.Join(errs...)
}

// touch tells whether any name of a zone may be looked after.
func (d Domains) touch(zone string) bool {
	return len(d.Include) == 0 || slices.ContainsFunc(d.Include, func(domain string) bool {
		domain = strings.TrimPrefix(canonicalName(domain), ".")
		return within(domain, zone) || within(zone, domain)
	})
}

// plan compares what is wanted with what was read. Wanted records in zones that can't
// be read are returned by themselves.
func (r reading) plan(p Provider, want []Record, rules Rules) (plan *Plan, unread map[string][]Record) {
	var refused []Finding
	var rest []Record
	unread = map[string][]Record{}
	for _, record := range want {
		adjusted, err := p.Adjust(record.Canonical())
		if err != nil {
			refused = append(refused, Finding{record.Canonical(), Invalid, err.Error()})
			continue
		}
		zone, found := zoneOf(r.all, adjusted.Name)
		if _, failed := r.failed[zone.Name]; found && failed {
			unread[zone.Name] = append(unread[zone.Name], adjusted)
			continue
		}
		rest = append(rest, adjusted)
	}
	plan = Calculate(rest, r.readable, rules)
	plan.Findings = append(refused, plan.Findings...)
	return plan, unread
}
