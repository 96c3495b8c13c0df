// Package cloudflare keeps DNS records in zones of Cloudflare, by version 4 of its API.
//
// A zone is read by one request for each 5,000 records, and changed by one for each
// 200 (the batch endpoint, on which a free plan allows no more).
package cloudflare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/externaldns"
	api "github.com/lintel-dev/lintel/internal/cloudflare"
)

const (
	// BaseURL is the address of the API.
	BaseURL = api.BaseURL
	// zonesAge is how long the list of zones is taken from memory.
	zonesAge = 15 * time.Minute
	// recordsPerPage is what a request for records may return at most.
	recordsPerPage = 5000
	zonesPerPage   = 50
	// FreeBatch is how many changes a free plan allows in a request; paid plans allow
	// 3,500.
	FreeBatch = 200
)

// Options of a Provider. Token must be set.
type Options struct {
	// Token returns an API token with the permissions Zone Read and DNS Edit. It is
	// called for each request, so that a new one comes into effect at once.
	Token func() (string, error)
	// Zones are names or IDs; empty is all that the token sees.
	Zones []string
	// Proxied is for records that don't say whether they are.
	Proxied bool
	// Batch is how many changes are sent in a request; zero is FreeBatch.
	Batch int
	// Reserve is how many of a token's 1,200 requests in five minutes are left to others;
	// zero is 200.
	Reserve int
	URL     string       // empty is BaseURL
	Client  *http.Client // nil is http.DefaultClient
}

// Provider is an externaldns.Provider.
type Provider struct {
	options Options
	api     *api.API

	mu    sync.Mutex // guards what follows
	zones []externaldns.Zone
	asked time.Time                        // when zones was listed
	known map[string]map[string][]apiEntry // by zone's ID and setKey: as last read
}

// New returns a Provider.
func New(o Options) *Provider {
	o.Batch = cmp.Or(o.Batch, FreeBatch)
	return &Provider{options: o, known: map[string]map[string][]apiEntry{}, api: api.New(api.Options{
		Token: o.Token, Needs: "Zone Read and DNS Edit for the zone", Reserve: o.Reserve, URL: o.URL, Client: o.Client,
	})}
}

// Zones returns the zones that the token sees, from memory for a while.
func (p *Provider) Zones(ctx context.Context) ([]externaldns.Zone, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.zones != nil && time.Since(p.asked) < zonesAge {
		return slices.Clone(p.zones), nil
	}
	found, err := api.List[externaldns.Zone](ctx, p.api, api.Query{Path: "/zones", Size: zonesPerPage})
	if err != nil {
		return nil, pausing(err)
	}
	if len(p.options.Zones) > 0 {
		found = slices.DeleteFunc(found, func(z externaldns.Zone) bool {
			return !slices.Contains(p.options.Zones, z.ID) && !slices.Contains(p.options.Zones, z.Name)
		})
	}
	p.zones, p.asked = found, time.Now()
	if len(found) == 0 {
		p.zones = nil // somebody may be about to mend that
	}
	return slices.Clone(found), nil
}

// forget makes the next call list the zones anew.
func (p *Provider) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.zones = nil
}

// Records returns the records of a zone.
func (p *Provider) Records(ctx context.Context, zone externaldns.Zone, _ []externaldns.Key) ([]externaldns.Record, error) {
	entries, err := api.List[apiEntry](ctx, p.api, api.Query{Path: "/zones/" + url.PathEscape(zone.ID) + "/dns_records", Size: recordsPerPage})
	if err != nil {
		var refused *api.Error
		if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
			p.forget() // the zone was removed
		}
		return nil, pausing(err)
	}
	sets := map[string][]apiEntry{}
	var keys []string
	for _, e := range entries {
		key := setKey(e.Name, e.Type)
		if sets[key] == nil {
			keys = append(keys, key)
		}
		sets[key] = append(sets[key], e)
	}
	p.mu.Lock()
	p.known[zone.ID] = sets
	p.mu.Unlock()
	records := make([]externaldns.Record, 0, len(keys))
	for _, key := range keys {
		records = append(records, toRecord(sets[key]))
	}
	return records, nil
}

func setKey(name, kind string) string { return strings.ToLower(name) + " " + kind }

// tunnelDomain is where names of tunnels live: they mean something to Cloudflare's own
// proxies alone.
const tunnelDomain = ".cfargotunnel.com"

// Adjust holds Cloudflare's rules for proxied records.
func (p *Provider) Adjust(r externaldns.Record) (externaldns.Record, error) {
	proxiable := slices.Contains([]string{externaldns.A, externaldns.AAAA, externaldns.CNAME}, r.Type)
	tunnel := r.Type == externaldns.CNAME && len(r.Targets) == 1 && strings.HasSuffix(r.Targets[0], tunnelDomain)
	asked := r.Proxied != externaldns.ProxiedDefault
	switch {
	case !proxiable && r.Proxied == externaldns.ProxiedYes:
		return r, fmt.Errorf("a %s record can't be proxied", r.Type)
	case tunnel && r.Proxied == externaldns.ProxiedNo:
		return r, fmt.Errorf("%s works only proxied", r.Targets[0])
	case tunnel:
		r.Proxied = externaldns.ProxiedYes
	case !proxiable || !asked && !p.options.Proxied:
		r.Proxied = externaldns.ProxiedNo
	case !asked:
		r.Proxied = externaldns.ProxiedYes
	}
	if r.Proxied != externaldns.ProxiedYes {
		return r, nil
	}
	r.TTL = 0 // theirs to choose
	for _, target := range r.Targets {
		if address, err := netip.ParseAddr(target); err == nil && local(address) {
			return r, fmt.Errorf("a record for the local address %s can't be proxied: Cloudflare can't reach it (its error 9003)", target)
		}
	}
	return r, nil
}

func local(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast() ||
		netip.MustParsePrefix("100.64.0.0/10").Contains(a) // RFC 6598
}

// pausing makes of an error that says how long to wait what it is to a Reconciler.
func pausing(err error) error {
	var wait *api.WaitError
	if errors.As(err, &wait) {
		return &externaldns.WaitError{After: wait.After, Err: wait.Err}
	}
	return err
}
