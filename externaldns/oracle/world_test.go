package oracle

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/externaldns"
	"sigs.k8s.io/external-dns/endpoint"
	upstream "sigs.k8s.io/external-dns/pkg/apis/externaldns"
	"sigs.k8s.io/external-dns/plan"
	"sigs.k8s.io/external-dns/provider"
	"sigs.k8s.io/external-dns/registry"
	"sigs.k8s.io/external-dns/registry/txt"
)

// world is two zones in memory that both programs read and change. To ExternalDNS it
// is a provider.
type world struct {
	provider.BaseProvider
	records map[externaldns.Key]externaldns.Record
	writes  int
}

func newWorld() *world { return &world{records: map[externaldns.Key]externaldns.Record{}} }

func (w *world) clone() *world { return &world{records: maps.Clone(w.records)} }

func (w *world) zones() []externaldns.ZoneRecords {
	zones := []externaldns.ZoneRecords{
		{Zone: externaldns.Zone{ID: "1", Name: "example.com"}}, {Zone: externaldns.Zone{ID: "2", Name: "sub.example.com"}},
	}
	for _, r := range w.sorted() {
		i := 0
		if strings.HasSuffix(r.Name, ".sub.example.com") {
			i = 1
		}
		zones[i].Records = append(zones[i].Records, r)
	}
	return zones
}

func (w *world) sorted() []externaldns.Record {
	return slices.SortedFunc(maps.Values(w.records), func(a, b externaldns.Record) int { return strings.Compare(a.String(), b.String()) })
}

// Records implements provider.Provider.
func (w *world) Records(context.Context) ([]*endpoint.Endpoint, error) {
	var endpoints []*endpoint.Endpoint
	for _, r := range w.sorted() {
		endpoints = append(endpoints, toEndpoint(r))
	}
	return endpoints, nil
}

// ApplyChanges implements provider.Provider.
func (w *world) ApplyChanges(_ context.Context, changes *plan.Changes) error {
	for _, e := range slices.Concat(changes.Delete, changes.UpdateOld) {
		w.writes++
		r := fromEndpoint(e)
		there, found := w.records[r.Key()]
		if !found || !slices.Equal(there.Targets, r.Targets) {
			return fmt.Errorf("delete %s: there is %s", r, there)
		}
		delete(w.records, r.Key())
	}
	for _, e := range slices.Concat(changes.Create, changes.UpdateNew) {
		w.writes++
		r := fromEndpoint(e)
		if _, found := w.records[r.Key()]; found {
			return fmt.Errorf("create %s: it is there", r)
		}
		r.Resource = ""
		w.records[r.Key()] = r
	}
	return nil
}

func toEndpoint(r externaldns.Record) *endpoint.Endpoint {
	targets := slices.Clone(r.Targets)
	if r.Type == externaldns.TXT {
		for i, text := range targets {
			targets[i] = `"` + text + `"`
		}
	}
	e := endpoint.NewEndpointWithTTL(r.Name, r.Type, endpoint.TTL(r.TTL/time.Second), targets...)
	if r.Resource != "" {
		e.Labels[endpoint.ResourceLabelKey] = r.Resource
	}
	return e
}

func fromEndpoint(e *endpoint.Endpoint) externaldns.Record {
	targets := slices.Clone(e.Targets)
	if e.RecordType == endpoint.RecordTypeTXT {
		for i, text := range targets {
			targets[i] = strings.Trim(text, `"`)
		}
	}
	return externaldns.Record{
		Name: e.DNSName, Type: e.RecordType, Targets: targets, TTL: time.Duration(e.RecordTTL) * time.Second,
		Resource: e.Labels[endpoint.ResourceLabelKey],
	}.Canonical()
}

// setup is how marks are written.
type setup struct {
	owner, prefix, suffix, wildcard, key string
	policy                               externaldns.Policy
}

func setups() []setup {
	return []setup{
		{owner: "lintel"}, {owner: "lintel", prefix: "m-"}, {owner: "lintel", prefix: "%{record_type}-m."},
		{owner: "lintel", prefix: "m.", wildcard: "any"}, {owner: "lintel", suffix: "-m"}, {owner: "lintel", suffix: "-%{record_type}", wildcard: "any"},
		{owner: "lintel", prefix: "m.%{record_type}.", wildcard: "any", key: strings.Repeat("k", 32)},
		{owner: "lintel", key: "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="},
	}
}

func (s setup) rules(t *testing.T) externaldns.Rules {
	t.Helper()
	r, err := externaldns.NewRegistry(externaldns.RegistryOptions{
		Owner: s.owner, Prefix: s.prefix, Suffix: s.suffix, WildcardReplacement: s.wildcard, Encrypt: s.key != "", Key: s.key,
	})
	if err != nil {
		t.Fatal(err)
	}
	return externaldns.Rules{Registry: r, Policy: s.policy, Types: types()}
}

// types are those that both keep; ExternalDNS has no marks for HTTPS.
func types() []string {
	return []string{externaldns.A, externaldns.AAAA, externaldns.CNAME, externaldns.SRV, externaldns.TXT}
}

func (s setup) upstream(t *testing.T, w *world) registry.Registry {
	t.Helper()
	r, err := txt.New(&upstream.Config{
		TXTOwnerID: s.owner, TXTPrefix: s.prefix, TXTSuffix: s.suffix, TXTWildcardReplacement: s.wildcard,
		TXTEncryptEnabled: s.key != "", TXTEncryptAESKey: s.key, ManagedDNSRecordTypes: types(),
	}, w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ours plans and carries out.
func (s setup) ours(t *testing.T, w *world, want []externaldns.Record) *externaldns.Plan {
	t.Helper()
	p := externaldns.Calculate(want, w.zones(), s.rules(t))
	for _, zone := range p.Zones() {
		for _, change := range zone.Changes {
			for _, e := range change.Edits {
				w.writes++
				if e.Old != nil {
					delete(w.records, e.Old.Key())
				}
				if e.New != nil {
					r := *e.New
					r.Resource = ""
					w.records[r.Key()] = r
				}
			}
		}
	}
	return p
}

// theirs does what ExternalDNS does in one round of its loop.
func (s setup) theirs(t *testing.T, w *world, want []externaldns.Record) *plan.Changes {
	t.Helper()
	r := s.upstream(t, w)
	current, err := r.Records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var desired []*endpoint.Endpoint
	for _, record := range want {
		desired = append(desired, toEndpoint(record.Canonical()))
	}
	p := (&plan.Plan{
		Policies: []plan.Policy{plan.Policies[s.policy.String()]}, Current: current, Desired: desired,
		ManagedRecords: types(), OwnerID: s.owner,
	}).Calculate()
	changes := *p.Changes // what the registry adds to it is not the plan's
	if p.Changes.HasChanges() {
		if err := r.ApplyChanges(t.Context(), p.Changes); err != nil {
			t.Fatal(err)
		}
	}
	return &changes
}

// keyBytes is a key as ExternalDNS uses it.
func keyBytes(key string) []byte {
	if decoded, err := base64.StdEncoding.DecodeString(key); err == nil && len(decoded) == 32 {
		return decoded
	}
	return []byte(key)
}
