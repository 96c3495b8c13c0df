package externaldns_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	fake "github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/externaldns"
)

// oneByOne is a Provider as small as one can be: of an API that lists the records of a zone,
// and makes and deletes them one by one, each with one target. What a Change does it does
// in the order of its Edits.
type oneByOne struct {
	url, token string
	ids        map[externaldns.Key][]string // of what Records has found
}

type oneRecord struct {
	ID      string `json:"id,omitempty"`
	Name    string `json:"name"`
	Type    string `json:"type"`
	Content string `json:"content"`
	TTL     int    `json:"ttl"` // seconds
}

func (p *oneByOne) call(ctx context.Context, method, path string, body, result any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+p.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(&struct{ Result any }{result})
}

// Zones implements externaldns.Provider.
func (p *oneByOne) Zones(ctx context.Context) (zones []externaldns.Zone, err error) {
	err = p.call(ctx, "GET", "/zones", nil, &zones)
	return zones, err
}

// Records implements externaldns.Provider.
func (p *oneByOne) Records(ctx context.Context, zone externaldns.Zone, _ []externaldns.Key) ([]externaldns.Record, error) {
	var all []oneRecord
	if err := p.call(ctx, "GET", "/zones/"+zone.ID+"/dns_records?per_page=1000", nil, &all); err != nil {
		return nil, err
	}
	p.ids = map[externaldns.Key][]string{}
	sets := map[externaldns.Key]externaldns.Record{}
	for _, one := range all {
		key := externaldns.Key{Name: one.Name, Type: one.Type}
		if one.Type == externaldns.TXT {
			one.Content = externaldns.ParseText(one.Content)
		}
		set := sets[key]
		set.Name, set.Type, set.TTL = one.Name, one.Type, time.Duration(one.TTL)*time.Second
		set.Targets = append(set.Targets, one.Content)
		sets[key], p.ids[key] = set, append(p.ids[key], one.ID)
	}
	var records []externaldns.Record
	for _, set := range sets {
		records = append(records, set.Canonical())
	}
	return records, nil
}

// Adjust implements externaldns.Provider.
func (p *oneByOne) Adjust(r externaldns.Record) (externaldns.Record, error) {
	if r.TTL == 0 {
		r.TTL = 5 * time.Minute
	}
	r.Proxied, r.Comment, r.Tags = externaldns.ProxiedDefault, "", nil
	return r, nil
}

// Apply implements externaldns.Provider.
func (p *oneByOne) Apply(ctx context.Context, zone externaldns.Zone, changes []externaldns.Change) error {
	failures := externaldns.Failures{}
	for i, change := range changes {
		for _, edit := range change.Edits {
			if err := p.edit(ctx, "/zones/"+zone.ID+"/dns_records", edit); err != nil {
				failures[i] = fmt.Errorf("%s: %w", edit, err)
				break
			}
		}
	}
	if len(failures) > 0 {
		return failures
	}
	return nil
}

func (p *oneByOne) edit(ctx context.Context, path string, e externaldns.Edit) error {
	if e.Old != nil {
		for _, id := range p.ids[e.Old.Key()] {
			if err := p.call(ctx, "DELETE", path+"/"+id, nil, nil); err != nil {
				return err
			}
		}
	}
	if e.New == nil {
		return nil
	}
	for _, target := range e.New.Targets {
		if e.New.Type == externaldns.TXT {
			target = `"` + strings.ReplaceAll(target, `"`, `\"`) + `"`
		}
		one := oneRecord{Name: e.New.Name, Type: e.New.Type, Content: target, TTL: max(60, int(e.New.TTL/time.Second))}
		if err := p.call(ctx, "POST", path, one, nil); err != nil {
			return err
		}
	}
	return nil
}

// Where a Change is not made as a whole, the mark comes before its record, and goes after
// it: an end at any call is mended.
func TestWhereAChangeIsMadeOneByOneAnEndAtAnyCallIsMended(t *testing.T) {
	for calls := range int64(7) {
		p, cf := atOneByOne(t)
		www, old := record("www.example.test", "A", "192.0.2.1"), record("old.example.test", "A", "192.0.2.1")
		k := p.keeper("lintel")
		k.reconcile([]externaldns.Record{old}, old, externaldns.Ready, "")
		left := calls
		for _, pattern := range []string{"POST /zones/{zone}/dns_records", "DELETE /zones/{zone}/dns_records/{record}"} {
			cf.Intercept(pattern, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if left--; left < 0 {
					fake.Break(w, r, next)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
		want := []externaldns.Record{www}
		k.Reconcile(t.Context(), want)
		for _, pattern := range []string{"POST /zones/{zone}/dns_records", "DELETE /zones/{zone}/dns_records/{record}"} {
			cf.Intercept(pattern, nil)
		}
		k = p.keeper("lintel")
		k.reconcile(want, www, externaldns.Ready, "")
		p.leads("www.example.test", "192.0.2.1")
		p.leads("old.example.test", "")
		if n := p.count(); n != 2 {
			t.Errorf("after %d calls: %d sets, want a record and its mark", calls, n)
		}
	}
}
