// Package diagnose looks for what may keep a tunnel from connecting: DNS, firewalls, and
// tokens. It registers nothing, and changes nothing.
package diagnose

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/internal/cloudflare"
	"github.com/lintel-dev/lintel/tunnel"
	"github.com/lintel-dev/lintel/tunnel/account"
)

// reachTimeout bounds each try to reach an address.
const reachTimeout = 6 * time.Second

// State is how a check ended.
type State string

// The states of checks.
const (
	Passed  State = "ok"
	Warned  State = "warning" // the tunnel works all the same
	Failed  State = "failed"
	Skipped State = "skipped"
)

// Check is what was looked at, and what was found.
type Check struct {
	Name   string
	State  State
	Detail string
	Hint   string // what to do about it; "" for nothing
}

// Options say what to look at.
type Options struct {
	// Token returns the tunnel's token; nil skips it.
	Token    func() (string, error)
	Edge     tunnel.Edge
	Endpoint string          // the region that the token is bound to otherwise
	Protocol tunnel.Protocol // that the tunnel is to use; "" is HTTP2
	// API asks Cloudflare's API what an API token may do; nil skips it.
	API *API
}

// API is an API token, and what it is for.
type API struct {
	account.Options        // without ID, tunnels are not asked for
	Zone            string // whose DNS records are to be kept; "" for none
}

// Run does all checks. It takes some seconds.
func Run(ctx context.Context, o Options) []Check {
	var checks []Check
	token, endpoint := checkToken(o)
	checks = append(checks, token)
	addresses, err := o.Edge.Find(ctx, endpoint)
	found := Check{Name: "edge addresses", State: Passed, Detail: fmt.Sprintf("%d found", len(addresses))}
	if err != nil {
		found.State, found.Detail = Failed, err.Error()
		found.Hint = "let DNS queries for _v2-origintunneld._tcp.argotunnel.com out, or DNS over TLS to 1.1.1.1 port 853"
	}
	checks = append(checks, found)
	checks = append(checks, reach(ctx, &o, addresses)...)
	return append(checks, checkAPI(ctx, o.API)...)
}

// Healthy reports whether nothing has failed.
func Healthy(checks []Check) bool {
	for _, c := range checks {
		if c.State == Failed {
			return false
		}
	}
	return true
}

func checkToken(o Options) (c Check, endpoint string) {
	c = Check{Name: "tunnel token", State: Skipped, Detail: "none was given"}
	if o.Token == nil {
		return c, o.Endpoint
	}
	text, err := o.Token()
	var credentials tunnel.Credentials
	if err == nil {
		if strings.HasPrefix(strings.TrimSpace(text), "{") {
			credentials, err = tunnel.ParseFile([]byte(text))
		} else {
			credentials, err = tunnel.ParseToken(text)
		}
	}
	if err != nil {
		c.State, c.Detail = Failed, err.Error()
		c.Hint = "copy the token of the tunnel from the dashboard of Zero Trust (Networks, Tunnels): it is one word that begins with eyJ"
		return c, o.Endpoint
	}
	c.State, c.Detail = Passed, fmt.Sprintf("tunnel %s of the account %s; DNS records lead to %s", credentials.Tunnel, credentials.Account, credentials.Hostname())
	if o.Endpoint == "" {
		return c, credentials.Endpoint
	}
	return c, o.Endpoint
}

// reach tries each address by both protocols, all at once.
func reach(ctx context.Context, o *Options, addresses []netip.AddrPort) []Check {
	protocols := []tunnel.Protocol{tunnel.HTTP2, tunnel.QUIC}
	checks := make([]Check, len(addresses)*len(protocols))
	var tries sync.WaitGroup
	for p, protocol := range protocols {
		for i, address := range addresses {
			check := &checks[p*len(addresses)+i]
			tries.Go(func() { *check = reachOne(ctx, o, address, protocol) })
		}
	}
	tries.Wait()
	for p, protocol := range protocols {
		judge(checks[p*len(addresses):][:len(addresses)], protocol, o.Protocol)
	}
	return checks
}

func reachOne(ctx context.Context, o *Options, address netip.AddrPort, protocol tunnel.Protocol) Check {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	c := Check{Name: map[tunnel.Protocol]string{tunnel.HTTP2: "TCP ", tunnel.QUIC: "UDP "}[protocol] + address.String(), State: Passed}
	took, err := o.Edge.Reach(ctx, address, protocol)
	if err == nil {
		c.Detail = fmt.Sprintf("%s in %v", protocol, took.Round(100*time.Microsecond))
		return c
	}
	c.State, c.Detail = Failed, err.Error()
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown), errors.As(err, &name):
		c.Hint = "something between here and Cloudflare answers in its place: let this address through without inspection of TLS"
	case address.Addr().Is6():
		c.Hint = fmt.Sprintf("let port %d out, or see to a route for IPv6", address.Port())
	case protocol == tunnel.QUIC:
		c.Hint = fmt.Sprintf("let UDP to port %d out, or leave the protocol at HTTP2", address.Port())
	default:
		c.Hint = fmt.Sprintf("let TCP to port %d out", address.Port())
	}
	return c
}

// judge makes failures of a protocol warnings where the tunnel works without.
func judge(checks []Check, protocol, wanted tunnel.Protocol) {
	reached := 0
	for i := range checks {
		if checks[i].State == Passed {
			reached++
		}
	}
	spare := protocol == tunnel.QUIC && wanted != tunnel.QUIC || protocol == tunnel.HTTP2 && wanted == tunnel.QUIC
	for i := range checks {
		if checks[i].State == Failed && (reached > 0 || spare) {
			checks[i].State = Warned
		}
	}
}

// checkAPI asks for what the API token is needed for.
func checkAPI(ctx context.Context, o *API) []Check {
	if o == nil {
		return []Check{{Name: "API token", State: Skipped, Detail: "none was given: it is needed to create tunnels and to keep DNS records"}}
	}
	var checks []Check
	if o.ID != "" {
		c := Check{Name: "API: tunnels", State: Passed, Detail: "the token sees the tunnels of the account " + o.ID}
		if err := account.New(o.Options).Check(ctx); err != nil {
			c.State, c.Detail = Failed, err.Error()
			c.Hint = "give the API token the permission " + account.Permissions + ", and check the account's ID"
		}
		checks = append(checks, c)
	}
	if o.Zone != "" {
		checks = append(checks, checkZone(ctx, o))
	}
	if len(checks) == 0 {
		checks = append(checks, Check{Name: "API token", State: Skipped, Detail: "neither an account nor a zone was named to ask for"})
	}
	return checks
}

func checkZone(ctx context.Context, o *API) Check {
	const permissions = "Zone, Zone, Read and Zone, DNS, Edit"
	c := Check{Name: "API: zone " + o.Zone, State: Passed, Detail: "the token sees its DNS records"}
	api := cloudflare.New(cloudflare.Options{Token: o.Token, Needs: permissions, URL: o.URL, Client: o.Client})
	type zone struct{ ID, Name string }
	zones, err := cloudflare.List[zone](ctx, api, cloudflare.Query{Path: "/zones", Size: 50})
	for _, z := range zones {
		if z.Name == o.Zone || z.ID == o.Zone {
			err = api.Call(ctx, cloudflare.Request{Method: "GET", Path: "/zones/" + z.ID + "/dns_records?per_page=5"})
			if err == nil {
				return c
			}
		}
	}
	if err == nil {
		err = fmt.Errorf("the token sees %d zones, and %s is none of them", len(zones), o.Zone)
	}
	c.State, c.Detail, c.Hint = Failed, err.Error(), "give the API token the permissions "+permissions+" for this zone"
	return c
}
