package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/tunnel/account"
)

// cloudflareHome is a tunnelHome with a FAKE of Cloudflare's API.
type cloudflareHome struct {
	*tunnelHome
	cf *cloudflare.Server
}

func newCloudflareHome(t *testing.T, dns string) *cloudflareHome {
	t.Helper()
	h := &cloudflareHome{newTunnelHome(t), cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})}
	h.apiToken(cloudflare.Token)
	h.declare(dns)
	return h
}

func (h *cloudflareHome) apiToken(token string) {
	h.write("api.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: cloudflare}\nstringData: {token: "+token+"}\n")
}

func (h *cloudflareHome) runWithAPI() (stop func()) {
	h.Helper()
	_, stop = testRun{log: &h.log, dns: h.cf.HTTPClient()}.start(h.T, "--manifests="+h.folder, "--admin-address=", "--dns-interval=2s")
	return stop
}

// routes writes HTTPRoutes with hostnames NAME-0, NAME-1 and so on.
func (h *cloudflareHome) routes(name string, n int, annotations string) {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s-%[2]d, annotations: {%[3]s}}
spec:
  hostnames: [%[1]s-%[2]d.example.test]
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: app, port: 80}]}]
`, name, i, annotations)
	}
	h.write("routes.yaml", text.String())
}

// awaitRecords awaits that CNAMEs to the tunnel have the wanted names, and no others.
func (h *cloudflareHome) awaitRecords(what string, want []string) {
	h.Helper()
	slices.Sort(want)
	hostname := h.tunnel.String() + ".cfargotunnel.com"
	h.await(what, func() error {
		var names []string
		for _, r := range h.cf.Records("example.test") {
			if r.Type == "CNAME" && r.Content == hostname && r.Proxied {
				names = append(names, r.Name)
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			return fmt.Errorf("%d records in place of %d", len(names), len(want))
		}
		return nil
	})
	h.Logf("%s: %v", what, h.cf.Calls())
}

func namesFrom(name string, from, to int) (names []string) {
	for i := from; i < to; i++ {
		names = append(names, fmt.Sprintf("%s-%d.example.test", name, i))
	}
	return names
}

// writes counts the calls that changed something.
func (h *cloudflareHome) writes() (n int) {
	for pattern, calls := range h.cf.Calls() {
		if !strings.HasPrefix(pattern, http.MethodGet) {
			n += calls
		}
	}
	return n
}

// TestRecordsFollowTheRoutesOfATunnel: 100 routes come, change and go, with a few calls; a name
// that is somebody else's stays as it is, and many deletions wait for a person.
func TestRecordsFollowTheRoutesOfATunnel(t *testing.T) {
	t.Parallel()
	const perHostname = "  dns: {mode: PerHostname, apiToken: {name: cloudflare}, release: %q}\n"
	h := newCloudflareHome(t, fmt.Sprintf(perHostname, ""))
	foreign, err := h.cf.Put("example.test", cloudflare.Record{Type: "A", Name: "app-7.example.test", Content: "198.51.100.7"})
	if err != nil {
		t.Fatal(err)
	}
	h.routes("app", 100, "")
	h.runWithAPI()
	h.connected(4)
	want := slices.DeleteFunc(namesFrom("app", 0, 100), func(n string) bool { return n == "app-7.example.test" })
	h.awaitRecords("100 routes", want)
	if n := h.writes(); n > 4 { // batches of 200 changes: records and their marks
		t.Errorf("%d calls that write", n)
	}
	h.await("the foreign name is reported", h.said("app-7.example.test"))

	h.cf.ResetCalls()
	h.replace("routes.yaml", "hostnames: [app-0.example.test]", "hostnames: [moved.example.test]")
	h.awaitRecords("one is renamed", append(want[1:len(want):len(want)], "moved.example.test"))
	if n := h.writes(); n != 1 {
		t.Errorf("%d calls that write", n)
	}

	h.cf.ResetCalls()
	h.routes("app", 90, "")
	want = slices.DeleteFunc(namesFrom("app", 0, 90), func(n string) bool { return n == "app-7.example.test" })
	h.awaitRecords("10 are gone", want)
	if n := h.writes(); n > 2 {
		t.Errorf("%d calls that write", n)
	}

	h.routes("app", 40, "")
	h.await("a mass deletion waits", h.said("wait: set spec.dns.release to"))
	code := regexp.MustCompile(`set spec\.dns\.release to ([0-9a-f]+)`).FindStringSubmatch(h.log.String())[1]
	h.awaitRecords("nothing is deleted", want)
	h.declare(fmt.Sprintf(perHostname, code))
	want = slices.DeleteFunc(namesFrom("app", 0, 40), func(n string) bool { return n == "app-7.example.test" })
	h.awaitRecords("it was released", want)

	for _, r := range h.cf.Records("example.test") {
		if r.ID == foreign.ID && (r.Content != foreign.Content || r.Type != "A") {
			t.Errorf("the foreign record is %+v", r)
		}
	}
	if !slices.ContainsFunc(h.cf.Records("example.test"), func(r cloudflare.Record) bool { return r.ID == foreign.ID }) {
		t.Error("the foreign record is gone")
	}
}

// plan is what lintel dns plan says.
func (h *cloudflareHome) plan() (string, error) {
	h.Helper()
	return recordsPlan(h.T, h.cf.HTTPClient(), "--manifests="+h.folder)
}

func TestThePlanHasTheRecordsOfTunnels(t *testing.T) {
	t.Parallel()
	h := newCloudflareHome(t, "")
	if got, err := h.plan(); err == nil || !strings.Contains(err.Error(), "no Tunnel has a dns.mode") {
		t.Errorf("without a mode: %s, %v", got, err)
	}
	h.declare("  dns: {mode: PerHostname, apiToken: {name: missing}}\n")
	if got, err := h.plan(); err != nil || !strings.Contains(got, "spec.dns.apiToken.name: Secret default/missing not found") {
		t.Errorf("without a token: %s, %v", got, err)
	}
	h.declare("  dns: {mode: PerHostname, apiToken: {name: cloudflare}}\n")
	h.routes("app", 1, "")
	want := "Tunnel default/home:\n+  app-0.example.test  CNAME  " + h.tunnel.String() + ".cfargotunnel.com"
	if got, err := h.plan(); !errors.Is(err, errDiffers) || !strings.HasPrefix(got, want) {
		t.Errorf("it prints\n%s\nand should begin with\n%s, %v", got, want, err)
	}
	if n := h.writes(); n > 0 {
		t.Errorf("%d calls that write", n)
	}
	h.runWithAPI()
	h.awaitRecords("the record", []string{"app-0.example.test"})
	h.await("nothing is to be done", func() error { _, err := h.plan(); return err })
}

// TestWildcardNeedsNoCallARoute: one record leads all names of a domain to the tunnel.
func TestWildcardNeedsNoCallARoute(t *testing.T) {
	t.Parallel()
	h := newCloudflareHome(t, "  dns: {mode: Wildcard, domains: [example.test], apiToken: {name: cloudflare}}\n")
	h.runWithAPI()
	h.connected(4)
	h.awaitRecords("the wildcard", []string{"*.example.test"})
	before := h.writes()
	h.routes("app", 20, "")
	h.await("a route is served", func() error {
		client := &http.Client{Transport: h.edge.RoundTripper(h.tunnel)}
		_, err := answerText(client, "https://app-19.example.test/")
		return err
	})
	h.awaitRecords("the wildcard alone", []string{"*.example.test"})
	if n := h.writes(); n != before {
		t.Errorf("%d calls for routes", n-before)
	}
}

// TestTunnelIsCreated finds no tunnel, creates it, and goes on when somebody deletes it.
func TestTunnelIsCreated(t *testing.T) {
	t.Parallel()
	h := newCloudflareHome(t, "")
	h.declareCreated()
	h.apiToken("wrong")
	h.runWithAPI()
	h.await("the wrong API token is told", h.said("tunnel not created"))
	h.apiToken(cloudflare.Token)
	h.await("the tunnel is created", h.said("tunnel found or created"))
	h.letIn()
	h.connected(4)
	h.answers()
	h.awaitRecords("its record", []string{"*.example.test"})
	if n := maps.Collect(maps.All(h.cf.Calls()))["POST /accounts/{account}/cfd_tunnel"]; n != 1 {
		t.Errorf("created %d times: %v", n, h.cf.Calls())
	}
}

func (h *cloudflareHome) declareCreated() {
	h.declare("  dns: {mode: Wildcard, domains: [example.test]}\n")
	h.replace("tunnel.yaml", "credentials: {token: {name: home}}", "credentials: {create: {accountID: "+cloudflare.AccountID+", name: home, apiToken: {name: cloudflare}}}")
}

// letIn lets the edge know the tunnel that was created.
func (h *cloudflareHome) letIn() {
	h.Helper()
	c, err := account.New(account.Options{Token: func() (string, error) { return cloudflare.Token, nil }, ID: cloudflare.AccountID, Client: h.cf.HTTPClient()}).Ensure(h.Context(), "home")
	if err != nil {
		h.Fatal(err)
	}
	if c.Tunnel == uuid.Nil {
		h.Fatal(errors.New("no tunnel"))
	}
	h.tunnel = c.Tunnel
	h.edge.AllowSecret(c.Tunnel, c.Secret)
}
