package diagnose_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/uuid"

	fake "github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/edge"
	"github.com/lintel-dev/lintel/tunnel"
	"github.com/lintel-dev/lintel/tunnel/account"
	"github.com/lintel-dev/lintel/tunnel/diagnose"
)

// find returns the checks whose names begin so.
func find(checks []diagnose.Check, prefix string) (found []diagnose.Check) {
	for _, c := range checks {
		if strings.HasPrefix(c.Name, prefix) {
			found = append(found, c)
		}
	}
	return found
}

// want fails the test unless all checks whose names begin so are in a state, and say something.
func want(t *testing.T, checks []diagnose.Check, prefix string, state diagnose.State, says string) {
	t.Helper()
	found := find(checks, prefix)
	if len(found) == 0 {
		t.Errorf("no check %s in %+v", prefix, checks)
	}
	for _, c := range found {
		if c.State != state || !strings.Contains(c.Detail+" "+c.Hint, says) {
			t.Errorf("%+v, want %s with %q", c, state, says)
		}
		if (c.State == diagnose.Failed || c.State == diagnose.Warned) && c.Hint == "" {
			t.Errorf("%s has no hint", c.Name)
		}
	}
}

func TestAllIsWell(t *testing.T) {
	e, cf := edge.ForTest(t, edge.Options{}), fake.ForTest(t, fake.Options{Zones: []string{"example.test"}})
	id := uuid.New()
	token := e.Allow(id)
	checks := diagnose.Run(t.Context(), diagnose.Options{
		Token: func() (string, error) { return token, nil }, Edge: tunnel.Edge{Addresses: e.Addresses(), Roots: e.Roots},
		API: &diagnose.API{Zone: "example.test", Options: account.Options{ID: fake.AccountID, URL: cf.URL, Token: func() (string, error) { return fake.Token, nil }}},
	})
	want(t, checks, "tunnel token", diagnose.Passed, id.String())
	want(t, checks, "edge addresses", diagnose.Passed, "4 found")
	want(t, checks, "TCP ", diagnose.Passed, "http2 in ")
	want(t, checks, "UDP ", diagnose.Passed, "quic in ")
	want(t, checks, "API: ", diagnose.Passed, "the token sees")
	if len(checks) != 12 || !diagnose.Healthy(checks) {
		t.Errorf("%+v", checks)
	}
	if registrations := e.Registrations(); len(registrations) > 0 {
		t.Errorf("registered %+v", registrations)
	}
}

func TestFirewallsAreTold(t *testing.T) {
	e := edge.ForTest(t, edge.Options{Servers: 2})
	options := diagnose.Options{Edge: tunnel.Edge{Addresses: e.Addresses(), Roots: e.Roots}}
	e.BlockQUIC()
	checks := diagnose.Run(t.Context(), options)
	want(t, checks, "TCP ", diagnose.Passed, "")
	want(t, checks, "UDP ", diagnose.Warned, "leave the protocol at HTTP2")
	if !diagnose.Healthy(checks) {
		t.Error("HTTP/2 does not need UDP")
	}
	options.Protocol = tunnel.QUIC
	e.Stop(0)
	checks = diagnose.Run(t.Context(), options)
	want(t, checks, "UDP ", diagnose.Failed, "let UDP to port")
	want(t, checks, "TCP "+e.Addresses()[0].String(), diagnose.Warned, "let TCP to port")
	if diagnose.Healthy(checks) {
		t.Error("QUIC needs UDP")
	}
}

func TestWhatInspectsTLSIsTold(t *testing.T) {
	e := edge.ForTest(t, edge.Options{Servers: 1})
	checks := diagnose.Run(t.Context(), diagnose.Options{Edge: tunnel.Edge{Addresses: e.Addresses(), Roots: tunnel.EdgeRoots()}})
	want(t, checks, "TCP ", diagnose.Failed, "without inspection of TLS")
}

func TestMistakesAreTold(t *testing.T) {
	cf := fake.ForTest(t, fake.Options{Zones: []string{"example.test"}})
	const weak = "fake-token-without-tunnels-000000000000"
	cf.SetToken(weak, fake.Grant{Zones: []string{}})
	nowhere := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("blocked") }}
	run := func(token string, apiToken string) []diagnose.Check {
		return diagnose.Run(t.Context(), diagnose.Options{
			Token: func() (string, error) { return token, nil }, Edge: tunnel.Edge{Resolvers: []*net.Resolver{nowhere}},
			API: &diagnose.API{Zone: "example.test", Options: account.Options{ID: fake.AccountID, URL: cf.URL, Token: func() (string, error) { return apiToken, nil }}},
		})
	}
	checks := run("not a token", weak)
	want(t, checks, "tunnel token", diagnose.Failed, "begins with eyJ")
	want(t, checks, "edge addresses", diagnose.Failed, "let DNS queries for")
	want(t, checks, "API: tunnels", diagnose.Failed, "Cloudflare Tunnel, Edit")
	want(t, checks, "API: zone", diagnose.Failed, "none of them")
	want(t, run("", "fake-token-that-nobody-knows-0000000000"), "API: zone", diagnose.Failed, "Invalid access token")
	for _, c := range checks {
		if strings.Contains(c.Detail+c.Hint, weak) {
			t.Error("a check tells the token")
		}
	}
}

func TestNothingIsGiven(t *testing.T) {
	checks := diagnose.Run(t.Context(), diagnose.Options{Edge: tunnel.Edge{Addresses: []netip.AddrPort{}}})
	want(t, checks, "tunnel token", diagnose.Skipped, "")
	want(t, checks, "API token", diagnose.Skipped, "")
}
