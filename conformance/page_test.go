package conformance

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// gatewayAPIPage is made from the newest report and committed.
const gatewayAPIPage = "../docs/gateway-api.md"

var writePage = flag.Bool("write-page", false, "write docs/gateway-api.md instead of comparing it")

func TestGatewayAPIPageIsCurrent(t *testing.T) {
	want := renderGatewayAPIPage(t)
	if *writePage {
		if err := os.WriteFile(gatewayAPIPage, []byte(want), 0o644); err != nil { //nolint:gosec // A public page.
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(gatewayAPIPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/gateway-api.md is not current: run make generate")
	}
}

// suiteReport is the part of a ConformanceReport that the page shows.
type suiteReport struct {
	Version  string         `json:"gatewayAPIVersion"`
	Channel  string         `json:"gatewayAPIChannel"`
	Profiles []suiteProfile `json:"profiles"`
}

type suiteProfile struct {
	Name     string      `json:"name"`
	Core     suiteResult `json:"core"`
	Extended struct {
		suiteResult
		SupportedFeatures   []string `json:"supportedFeatures"`
		UnsupportedFeatures []string `json:"unsupportedFeatures"`
	} `json:"extended"`
}

type suiteResult struct {
	Statistics struct{ Passed, Failed, Skipped int } `json:"statistics"`
}

func (r suiteResult) String() string {
	all := r.Statistics.Passed + r.Statistics.Failed + r.Statistics.Skipped
	return fmt.Sprintf("%d of %d", r.Statistics.Passed, all)
}

const gatewayAPIPageHead = `# Gateway API

<!-- Made from conformance/reports by make generate: edit conformance/page_test.go. -->

Lintel serves GatewayClass, Gateway, ListenerSet, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute, BackendTLSPolicy and
ReferenceGrant, beside Ingress. How they are used: [routes](routing.md), [TLS, TCP and UDP](streams.md),
[TLS to backends and client certificates](backend-tls.md), [addresses](addresses.md).

Of the experimental channel, and beyond what the suite tests by now, there are external authorization by a filter of a rule
(GEP-1494) and by filters of a Listener (GEP-5224, GatewayListenerFilters): see [external authorization](external-auth.md);
the routability of addresses (GEP-5093, GatewayAddressRoutability), but for ` + "`Cluster`" + `, which would have to be a ClusterIP;
and XBackendTrafficPolicy, with budgets of retries (GEP-3388) and sessions (GEP-1619). XBackend is not served.

What follows is what the official conformance suite says of it. ` + "`make conformance`" + ` starts a Kubernetes node, installs
Lintel's chart there and runs the suite unmodified; it writes the report that this page is made from.

The core of HTTPRoutes passes through [Cloudflare Tunnels](tunnel.md) as well: with ` + "`go run ./conformance/run -lintel bin/lintel\n-through-edge -profiles GATEWAY-HTTP`" + ` each Gateway of the suite has a Tunnel and no socket of its own, and requests come by a
fake of Cloudflare's edge. Left out is what is about TLS between client and Gateway, which ends at the edge.

`

func renderGatewayAPIPage(t *testing.T) string {
	t.Helper()
	report := newestReport(t)
	order := []string{"GATEWAY-HTTP", "GATEWAY-GRPC", "GATEWAY-TLS", "GATEWAY-TCP", "GATEWAY-UDP"} // the suite has none
	slices.SortFunc(report.Profiles, func(x, y suiteProfile) int {
		return cmp.Compare(slices.Index(order, x.Name), slices.Index(order, y.Name))
	})
	var b strings.Builder
	b.WriteString(gatewayAPIPageHead)
	fmt.Fprintf(&b, "## Profiles, Gateway API %s, %s channel\n\n", report.Version, report.Channel)
	b.WriteString("| profile | core tests passed | extended tests passed | extended features |\n|---|---|---|---|\n")
	for i := range report.Profiles {
		p := &report.Profiles[i]
		has := len(p.Extended.SupportedFeatures)
		fmt.Fprintf(&b, "| %s | %s | %s | %d of %d |\n", p.Name, p.Core, p.Extended, has, has+len(p.Extended.UnsupportedFeatures))
	}
	supported, missing := map[string]bool{}, map[string]bool{}
	for i := range report.Profiles {
		for _, f := range report.Profiles[i].Extended.SupportedFeatures {
			supported[f] = true
		}
		for _, f := range report.Profiles[i].Extended.UnsupportedFeatures {
			missing[f] = true
		}
	}
	b.WriteString("\n## Extended features\n\n| feature | supported |\n|---|---|\n")
	for _, f := range slices.Sorted(maps.Keys(supported)) {
		fmt.Fprintf(&b, "| %s | yes |\n", f)
	}
	for _, f := range slices.Sorted(maps.Keys(missing)) {
		fmt.Fprintf(&b, "| %s | no |\n", f)
	}
	return b.String()
}

// newestReport reads the report with the name that sorts last.
func newestReport(t *testing.T) suiteReport {
	t.Helper()
	paths, err := filepath.Glob("reports/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("find reports: %v, %d files", err, len(paths))
	}
	content, err := os.ReadFile(slices.Max(paths))
	if err != nil {
		t.Fatal(err)
	}
	var report suiteReport
	if err := yaml.Unmarshal(content, &report); err != nil {
		t.Fatal(err)
	}
	return report
}
