package cloudflare

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/lintel-dev/lintel/externaldns"
	api "github.com/lintel-dev/lintel/internal/cloudflare"
)

// maxCuts is how many changes that the API does not take are looked for in one Apply:
// each may cost as many requests as it takes to halve a batch down to it.
const maxCuts = 10

// batch is one request, which is carried out as a whole or not at all, in the order of
// its fields.
type batch struct {
	Deletes []apiEntry `json:"deletes,omitempty"`
	Patches []apiEntry `json:"patches,omitempty"`
	Posts   []apiEntry `json:"posts,omitempty"`
}

func (b batch) size() int { return len(b.Deletes) + len(b.Patches) + len(b.Posts) }

func (b *batch) add(other batch) {
	b.Deletes = append(b.Deletes, other.Deletes...)
	b.Patches = append(b.Patches, other.Patches...)
	b.Posts = append(b.Posts, other.Posts...)
}

// job is a Change as part of a request.
type job struct {
	index int // of the Change
	batch batch
}

// Apply makes changes by as few requests as there can be. A request that the API
// refuses is cut in halves, until it is known which changes it does not take; when these
// are many, the rest of their batches waits with them.
func (p *Provider) Apply(ctx context.Context, zone externaldns.Zone, changes []externaldns.Change) error {
	p.mu.Lock()
	sets := p.known[zone.ID]
	p.mu.Unlock()
	failures := externaldns.Failures{}
	var jobs []job
	size := 0
	flush := func() error {
		err := p.send(ctx, zone, jobs, failures)
		jobs, size = nil, 0
		return err
	}
	for i, change := range changes {
		b, err := translate(sets, change)
		if err != nil {
			failures[i] = err
			continue
		}
		if size > 0 && size+b.size() > p.options.Batch {
			if err := flush(); err != nil {
				return err
			}
		}
		jobs, size = append(jobs, job{i, b}), size+b.size()
	}
	if err := flush(); err != nil {
		return err
	}
	if len(failures) > 0 {
		return failures
	}
	return nil
}

// send makes one request of all jobs, or more of them when it is refused.
func (p *Provider) send(ctx context.Context, zone externaldns.Zone, jobs []job, failures externaldns.Failures) error {
	var all batch
	for _, j := range jobs {
		all.add(j.batch)
	}
	if all.size() == 0 {
		return nil
	}
	err := p.api.Call(ctx, api.Request{Method: http.MethodPost, Path: "/zones/" + url.PathEscape(zone.ID) + "/dns_records/batch", Body: all})
	var refused *api.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &refused) || !refused.Lasting() || refused.Denied() || refused.Status == http.StatusNotFound:
		return pausing(err) // none of the changes is the reason
	case len(jobs) == 1 || len(failures) >= maxCuts:
		for _, j := range jobs {
			failures[j.index] = err
		}
		return nil
	}
	half := len(jobs) / 2
	if err := p.send(ctx, zone, jobs[:half], failures); err != nil {
		return err
	}
	return p.send(ctx, zone, jobs[half:], failures)
}

// translate says a Change in entries. Targets that go and targets that come are paired,
// so that a record which moves is one change.
func translate(sets map[string][]apiEntry, change externaldns.Change) (batch, error) {
	var b batch
	for _, e := range change.Edits {
		var there, want []apiEntry
		if e.Old != nil {
			if there = sets[setKey(e.Old.Name, e.Old.Type)]; len(there) == 0 {
				return batch{}, fmt.Errorf("%s is not there any more", e.Old)
			}
		}
		if e.New != nil {
			for _, target := range e.New.Targets {
				entry, err := toEntry(*e.New, target)
				if err != nil {
					return batch{}, err
				}
				want = append(want, entry)
			}
		}
		b.add(difference(slices.Clone(there), want))
	}
	return b, nil
}

// difference turns entries of a set into others.
func difference(there, want []apiEntry) batch {
	var b batch
	var come []apiEntry
	for _, entry := range want {
		i := slices.IndexFunc(there, func(t apiEntry) bool { return canonical(t) == canonical(entry) })
		if i < 0 {
			come = append(come, entry)
			continue
		}
		if !there[i].same(entry) {
			entry.ID = there[i].ID
			b.Patches = append(b.Patches, entry)
		}
		there = slices.Delete(there, i, i+1)
	}
	for _, entry := range come {
		if len(there) > 0 {
			entry.ID, there = there[0].ID, there[1:]
			b.Patches = append(b.Patches, entry)
			continue
		}
		b.Posts = append(b.Posts, entry)
	}
	for _, entry := range there {
		b.Deletes = append(b.Deletes, apiEntry{ID: entry.ID})
	}
	return b
}

// canonical is an entry's target in the form in which targets are compared.
func canonical(e apiEntry) string {
	r := externaldns.Record{Name: e.Name, Type: e.Type, Targets: []string{e.target()}}.Canonical()
	return r.Targets[0]
}
