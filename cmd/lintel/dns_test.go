package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/instance"
	"github.com/lintel-dev/lintel/conformance/knot"
	programs "github.com/lintel-dev/lintel/conformance/process"
)

// dnsHome is a folder of manifests, and a Lintel that keeps DNS records for them.
type dnsHome struct {
	*testing.T
	folder string
	http   uint16
	admin  string
	log    lockedBuffer
}

// lockedBuffer is a log that tests read while it is written.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func newDNSHome(t *testing.T) *dnsHome {
	ports, err := programs.FreePorts(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	h := &dnsHome{T: t, folder: t.TempDir(), http: ports[0], admin: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	showIfFailed(t, &h.log)
	h.write("gateway.yaml", instance.Class+fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, annotations: {external-dns.kubernetes.io/ttl: "120"}}
spec:
  gatewayClassName: lintel
  listeners: [{name: http, port: %d, protocol: HTTP}]
`, h.http))
	return h
}

func (h *dnsHome) write(name, text string) {
	h.Helper()
	replaceFile(h.T, filepath.Join(h.folder, name), text)
}

func (h *dnsHome) route(name, annotations string, hostnames ...string) {
	h.Helper()
	h.write(name+".yaml", fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, annotations: {%s}}
spec:
  hostnames: ["%s"]
  parentRefs: [{name: web}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org}}]}]
`, name, annotations, strings.Join(hostnames, `", "`)))
}

// run starts Lintel, and returns what stops it.
func (h *dnsHome) run(client *http.Client, args ...string) (stop func()) {
	h.Helper()
	_, stop = testRun{log: &h.log, dns: client}.start(h.T, append(args, "--manifests="+h.folder, "--admin-address="+h.admin)...)
	return stop
}

// atCloudflare are settings for records at a FAKE of Cloudflare, or for a plan of them.
func (h *dnsHome) atCloudflare(more ...string) []string {
	h.Helper()
	token, _ := secretFile(h.T, cloudflare.Token)
	return append([]string{"--dns-provider=cloudflare", "--dns-credential=file:" + token}, more...)
}

// atNameServer are settings for records at Knot DNS.
func (h *dnsHome) atNameServer(server *knot.Server, more ...string) []string {
	h.Helper()
	key, _ := secretFile(h.T, server.Key.Secret)
	return append([]string{"--dns-provider=rfc2136", "--dns-server=" + server.Address, "--dns-zones=example.test", "--dns-key=" + server.Key.Name, "--dns-credential=file:" + key}, more...)
}

// await waits until what returns "".
func (h *dnsHome) await(name string, what func() string) {
	h.Helper()
	until(h.T, name, what)
}

func (h *dnsHome) metrics() string {
	response, err := http.Get("http://" + h.admin + "/metrics")
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	var text bytes.Buffer
	_, _ = text.ReadFrom(response.Body)
	return text.String()
}

func TestRecordsFollowTheRoutesAtCloudflare(t *testing.T) {
	t.Parallel()
	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
	if _, err := cf.Put("example.test", cloudflare.Record{Type: "A", Name: "hand.example.test", Content: "198.51.100.9"}); err != nil {
		t.Fatal(err)
	}
	h := newDNSHome(t)
	h.route("shop", "", "shop.example.test", "*.shop.example.test", "example.test")
	h.route("hand", "", "hand.example.test")
	h.route("proxied", `external-dns.alpha.kubernetes.io/cloudflare-proxied: "true", external-dns.alpha.kubernetes.io/target: t.cfargotunnel.com`, "proxied.example.test")
	args := h.atCloudflare()
	stop := h.run(cf.HTTPClient(), args...)
	records := func() []string {
		var found []string
		for _, r := range cf.Records("example.test") {
			if r.Type != "TXT" {
				found = append(found, fmt.Sprintf("%s %s %s %d %v", r.Name, r.Type, r.Content, r.TTL, r.Proxied))
			}
		}
		return found
	}
	awaitRecords := func(what string, want ...string) {
		t.Helper()
		slices.Sort(want)
		h.await(what, func() string {
			if got := records(); !slices.Equal(got, want) {
				return fmt.Sprintf("%q, want %q", got, want)
			}
			return ""
		})
	}
	const hand, proxied = "hand.example.test A 198.51.100.9 1 false", "proxied.example.test CNAME t.cfargotunnel.com 1 true"
	awaitRecords("created", hand, proxied, "*.shop.example.test A 192.0.2.7 120 false", "shop.example.test A 192.0.2.7 120 false", "example.test A 192.0.2.7 120 false")
	h.await("log", func() string {
		if log := h.log.String(); !strings.Contains(log, "object=httproute/default/hand kind=foreign") {
			return "nothing about the record made by hand"
		}
		return ""
	})
	h.await("metrics", func() string {
		text := h.metrics()
		for _, want := range []string{`lintel_dns_records{state="ready",zone="example.test"} 4`, `lintel_dns_records{state="refused",zone="example.test"} 1`, `lintel_dns_syncs_total{result="ok"}`} {
			if !strings.Contains(text, want) {
				return "no " + want
			}
		}
		return ""
	})

	h.route("shop", `external-dns.kubernetes.io/ttl: "60"`, "shop.example.test")
	awaitRecords("changed", hand, proxied, "shop.example.test A 192.0.2.7 60 false")
	stop()

	cf.ResetCalls()
	h.run(cf.HTTPClient(), args...)
	h.await("restart", func() string {
		if cf.Calls()["GET /zones/{zone}/dns_records"] == 0 {
			return "the zone was not read"
		}
		return ""
	})
	h.await("metrics after the restart", func() string {
		if !strings.Contains(h.metrics(), `lintel_dns_records{state="ready",zone="example.test"} 2`) {
			return "not ready"
		}
		return ""
	})
	if n := cf.Calls()["POST /zones/{zone}/dns_records/batch"]; n != 0 {
		t.Errorf("%d writes after a restart", n)
	}
}

func TestRecordsFollowTheRoutesAtANameServer(t *testing.T) {
	t.Parallel()
	server := knot.ForTest(t, knot.Options{Zones: []string{"example.test"}})
	h := newDNSHome(t)
	h.route("shop", "", "shop.example.test", "example.test")
	h.run(nil, h.atNameServer(server)...)
	for _, name := range []string{"shop.example.test", "example.test"} {
		h.await(name, func() string {
			found, err := server.LookUp(t.Context(), name, dns.TypeA)
			if err != nil || !slices.Equal(found, []string{"120 A 192.0.2.7"}) {
				return fmt.Sprint(found, err)
			}
			return ""
		})
	}
}

func TestADryRunOfRecordsWritesNothing(t *testing.T) {
	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
	t.Setenv("LINTEL_TEST_DNS_TOKEN", cloudflare.Token)
	h := newDNSHome(t)
	h.route("shop", "", "shop.example.test")
	h.run(cf.HTTPClient(), "--dns-provider=cloudflare", "--dns-credential=env:LINTEL_TEST_DNS_TOKEN", "--dns-dry-run=on")
	h.await("log", func() string {
		if log := h.log.String(); !strings.Contains(log, `record="shop.example.test A 192.0.2.7"`) {
			return "no such record"
		}
		return ""
	})
	if n := len(cf.Records("example.test")); n != 0 {
		t.Errorf("%d records", n)
	}
}

func TestThePlanOfRecordsIsPrinted(t *testing.T) {
	t.Parallel()
	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
	h := newDNSHome(t)
	h.route("shop", "", "shop.example.test", "shop.example.org")
	args := h.atCloudflare("--publish-address=192.0.2.7")
	plan := func() (string, error) {
		return recordsPlan(t, cf.HTTPClient(), append(args, "--manifests="+h.folder)...)
	}
	const want = `+  shop.example.test  A  192.0.2.7 (TTL 120)
?  shop.example.org   A  192.0.2.7 (TTL 120)  no-zone: the provider has no zone for shop.example.org, or none of those that are looked after (settings dns-zones and dns-zone-ids)
1 to create, 0 to change, 0 to delete, of 0 that are ours; 1 can't be made
`
	if got, err := plan(); got != want || !errors.Is(err, errDiffers) {
		t.Errorf("it prints\n%s\nand should print\n%s, %v", got, want, err)
	}
	if n := len(cf.Records("example.test")); n != 0 {
		t.Errorf("%d records", n)
	}
	h.run(cf.HTTPClient(), args...)
	h.await("records", func() string {
		if got, err := plan(); err != nil {
			return fmt.Sprintf("%v: %s", err, got)
		}
		return ""
	})
}

// TestAPortInUseKeepsTheLocalNetworkWaitingAlone shows that the gateway serves meanwhile, and
// that a name without a private address is spoken of.
func TestAPortInUseKeepsTheLocalNetworkWaitingAlone(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	address := other.Addr().String()
	h := newDNSHome(t)
	h.route("shop", "", "shop.example.test")
	h.run(nil, "--dns-responder-address="+address)
	awaitLog := func(want string) {
		t.Helper()
		h.await(want, func() string { return map[bool]string{false: "not in the log"}[strings.Contains(h.log.String(), want)] })
	}
	awaitLog("another program listens there")
	awaitLog("names have no private address")
	h.await("the gateway serves", func() string {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", h.http))
		if err != nil {
			return err.Error()
		}
		response.Body.Close()
		return ""
	})
	awaitMetric := func(want string) {
		t.Helper()
		h.await(want, func() string {
			return map[bool]string{false: "not in the metrics"}[strings.Contains(h.metrics(), want)]
		})
	}
	awaitMetric(fmt.Sprintf("lintel_dns_responder_listening{address=%q} 0", address))
	other.Close()
	awaitMetric(fmt.Sprintf("lintel_dns_responder_listening{address=%q} 1", address))
}

func TestDNSSettingsThatDoNotFitTogether(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"--dns-provider=cloudflare", "needs dns-credential"},
		{"--dns-provider=rfc2136", "needs dns-server"},
		{"--dns-provider=rfc2136 --dns-server=ns --dns-zones=example.com --dns-key=k", "both dns-key and dns-credential"},
		{"--dns-provider=cloudflare --dns-credential=env:X --dns-server=ns", "rfc2136 alone"},
		{"--dns-provider=cloudflare --dns-credential=env:X --dns-mark-prefix=a --dns-mark-suffix=b", "not both"},
		{"--dns-provider=route53", "must be one of cloudflare, rfc2136, or empty"},
		{"--dns-provider=cloudflare --dns-credential=env:X --dns-look-ups=names", "rfc2136 alone"},
		{"--dns-sources=gateway-httproute,ingresses", "must be one of crd, gateway-grpcroute"},
		{"--dns-zone-ids=example.com", "must be the ID of a zone"},
		{"--dns-provider=rfc2136 --dns-server=ns --dns-zones=example.com --dns-zone-ids=0123456789abcdef0123456789abcdef", "name those of rfc2136 by dns-zones"},
		{"--dns-label-filter=a==b=c", "must be a selector"},
		{"--dns-record-types=A,MX", "must be one of A, AAAA, CNAME, TXT, SRV, HTTPS"},
		{"--dns-mark-key=0123456789abcdef0123456789abcdef", "must say where it stands"},
		{"--dns-owner=a,b", "must be a name"},
		{"--dns-zones=a_b..c", "must be a domain"},
		{"--dns-responder-address=53", "must be :port or address:port"},
		{"--dns-responder-address=router:53", "must be :port or address:port"},
		{"--dns-responder-address=:0", "must be :port or address:port"},
		{"--dns-responder-forward=192.168.1.1", "dns-responder-address is not set"},
		{"--dns-responder-address=:53 --dns-responder-forward=router", "must be an address"},
		{"--dns-responder-address=192.168.1.2:53 --dns-responder-forward=192.168.1.2", "is this responder itself"},
		{"--dns-responder-address=:53 --dns-responder-forward=127.0.0.1", "is this responder itself"},
		{"--dns-responder-address=:53 --dns-responder-ttl=500ms", "whole seconds"},
		{"--dns-responder-address=:53 --dns-responder-answer=home", "must be an IP address"},
		{"--dns-responder-address=:53 --dns-responder-allow=lan", "must be a network"},
	} {
		_, err := readSettings(t, "", nil, strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.args, err, c.says)
		}
	}
}

func TestOnlyWhatTheSettingsSelectGetsRecords(t *testing.T) {
	t.Parallel()
	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test", "example.org"}})
	h := newDNSHome(t)
	h.route("shop", "team: web", "shop.example.test", "shop.example.org")
	h.route("other", "team: other", "other.example.test")
	h.write("ingress.yaml", `apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: lintel}
spec: {controller: lintel.dev/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: old, labels: {team: web}}
spec:
  ingressClassName: lintel
  rules: [{host: old.example.test}]
`)
	plan := func(args ...string) string {
		t.Helper()
		lines := h.planned(cf, args...)
		for i, line := range lines {
			lines[i] = strings.TrimSuffix(line, " A 192.0.2.7 (TTL 120)")
			lines[i] = strings.TrimSuffix(lines[i], " A 192.0.2.7")
		}
		return strings.Join(lines, " ")
	}
	zone := cf.ZoneID("example.org")
	for _, c := range []struct{ args, want string }{
		{"", "old.example.test other.example.test shop.example.org shop.example.test"},
		{"--dns-sources=ingress", "old.example.test"},
		{"--dns-sources=gateway-httproute,gateway-tlsroute", "other.example.test shop.example.org shop.example.test"},
		{"--dns-annotation-filter=team=web", "shop.example.org shop.example.test"},
		{"--dns-label-filter=team", "old.example.test"},
		{"--dns-zone-ids=" + zone, "shop.example.org"},
		{"--dns-zones=example.test --dns-zone-ids=" + zone, "setting dns-zone-ids: none is the ID of a zone that the token sees, and that dns-zones names if it is set: " + cf.ZoneID("example.test") + " (example.test)"},
	} {
		if got := plan(strings.Fields(c.args)...); !strings.HasSuffix(got, c.want) || c.want == "" {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
}

func TestMarksAreEncrypted(t *testing.T) {
	t.Parallel()
	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
	markKey, replace := secretFile(t, "too short")
	h := newDNSHome(t)
	h.route("shop", "", "shop.example.test")
	h.run(cf.HTTPClient(), h.atCloudflare("--dns-mark-key=file:"+markKey)...)
	h.await("log", func() string {
		if !strings.Contains(h.log.String(), "the key that encrypts marks must have 32 bytes") {
			return "nothing about the key"
		}
		return ""
	})
	if n := len(cf.Records("example.test")); n != 0 {
		t.Errorf("%d records without a key", n)
	}
	replace(strings.Repeat("k", 32)) // it is read again
	h.await("records", func() string {
		records := cf.Records("example.test")
		if len(records) != 2 {
			return fmt.Sprint(records)
		}
		for _, r := range records {
			if r.Type == "TXT" && strings.Contains(r.Content, "heritage") {
				t.Errorf("a mark can be read: %s", r.Content)
			}
		}
		return ""
	})
}
