package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/knot"
)

const homeServices = `apiVersion: v1
kind: Node
metadata: {name: a}
status: {addresses: [{type: InternalIP, address: 10.1.0.1}, {type: ExternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: b}
status: {addresses: [{type: InternalIP, address: 10.1.0.2}, {type: ExternalIP, address: 192.0.2.2}]}
---
apiVersion: v1
kind: Node
metadata: {name: cordoned}
spec: {unschedulable: true}
status: {addresses: [{type: ExternalIP, address: 192.0.2.3}]}
---
apiVersion: v1
kind: Service
metadata: {name: balanced, annotations: {external-dns.alpha.kubernetes.io/hostname: lb.example.test, external-dns.kubernetes.io/internal-hostname: lb.in.example.test}}
spec: {type: LoadBalancer, clusterIP: 10.0.0.1, externalIPs: [192.0.2.7], ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: nodes, annotations: {external-dns.kubernetes.io/hostname: nodes.example.test}}
spec: {type: NodePort, clusterIP: 10.0.0.2, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: near, annotations: {external-dns.kubernetes.io/hostname: near.example.test}}
spec: {type: NodePort, clusterIP: 10.0.0.3, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30081}]}
---
apiVersion: v1
kind: Service
metadata: {name: pods, annotations: {external-dns.kubernetes.io/hostname: pods.example.test}}
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: inside, annotations: {external-dns.kubernetes.io/hostname: inside.example.test}}
spec: {clusterIP: 10.0.0.4, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: away, annotations: {external-dns.kubernetes.io/hostname: away.example.test}}
spec: {type: ExternalName, externalName: www.example.org}
---
apiVersion: v1
kind: Service
metadata: {name: silent}
spec: {type: LoadBalancer, clusterIP: 10.0.0.5, externalIPs: [192.0.2.8], ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: near-1, labels: {kubernetes.io/service-name: near}}
addressType: IPv4
ports: [{port: 80}]
endpoints:
- {addresses: [10.2.0.1], nodeName: a, conditions: {ready: false}}
- {addresses: [10.2.0.2], nodeName: b}
`

// homeEndpoints are those of the headless Service.
func homeEndpoints(endpoints string) string {
	return `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: pods-1, labels: {kubernetes.io/service-name: pods}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [` + endpoints + "]\n"
}

// planned are the records that lintel dns plan would make.
func (h *dnsHome) planned(cf *cloudflare.Server, args ...string) []string {
	h.Helper()
	args = append(args, "--publish-address=192.0.2.7", "--manifests="+h.folder)
	out, err := recordsPlan(h.T, cf.HTTPClient(), h.atCloudflare(args...)...)
	if err != nil && !errors.Is(err, errDiffers) {
		return []string{err.Error()}
	}
	var lines []string
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); fields[0] == "+" {
			lines = append(lines, strings.Join(fields[1:], " "))
		}
	}
	return lines
}

func TestServicesThatAskForItGetRecords(t *testing.T) {
	t.Parallel()
	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
	h := newDNSHome(t)
	h.write("services.yaml", homeServices)
	h.write("pods.yaml", homeEndpoints(`{addresses: [10.2.0.3], hostname: pod-0}, {addresses: [10.2.0.4], conditions: {ready: false}}`))
	want := []string{
		"_near._tcp.near.example.test SRV 0 50 30081 near.example.test.",
		"_nodes._tcp.nodes.example.test SRV 0 50 30080 nodes.example.test.",
		"away.example.test CNAME www.example.org",
		"lb.example.test A 192.0.2.7",
		"lb.in.example.test A 10.0.0.1",
		"near.example.test A 192.0.2.2",
		"nodes.example.test A 192.0.2.1, 192.0.2.2",
		"pod-0.pods.example.test A 10.2.0.3",
		"pods.example.test A 10.2.0.3",
	}
	if got := h.planned(cf); !slices.Equal(got, want) {
		t.Errorf("planned:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := h.planned(cf, "--dns-publish-internal-services=on"); !slices.Contains(got, "inside.example.test A 10.0.0.4") {
		t.Errorf("with internal ones: %q", got)
	}
	if got := h.planned(cf, "--dns-record-types=a,cname"); !slices.Equal(got, want[2:]) {
		t.Errorf("without services: %q", got)
	}
	if got := h.planned(cf, "--dns-sources=ingress"); len(got) > 0 {
		t.Errorf("without the source: %q", got)
	}
	h.run(cf.HTTPClient(), h.atCloudflare()...)
	pods := func(want ...string) {
		t.Helper()
		h.await("records of Pods", func() string {
			var found []string
			for _, r := range cf.Records("example.test") {
				if r.Name == "pods.example.test" {
					found = append(found, r.Content)
				}
			}
			if !slices.Equal(found, want) {
				return fmt.Sprintf("%q, want %q", found, want)
			}
			return ""
		})
	}
	pods("10.2.0.3")
	h.await("metrics", func() string {
		if !strings.Contains(h.metrics(), `lintel_dns_records{state="ready",zone="example.test"} 9`) {
			return "not all are ready"
		}
		return ""
	})
	h.write("pods.yaml", homeEndpoints(`{addresses: [10.2.0.3], hostname: pod-0}, {addresses: [10.2.0.4]}`))
	pods("10.2.0.3", "10.2.0.4")
	if log := h.log.String(); !strings.Contains(log, "object=service/default/inside annotation=external-dns.kubernetes.io/hostname") {
		t.Errorf("nothing about the hostname of what is reached from inside alone:\n%s", log)
	}
}

// homeDNSEndpoints say a record of each type, and some that get none.
const homeDNSEndpoints = `apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: all}
spec:
  endpoints:
  - {dnsName: a.example.test, recordType: A, targets: [192.0.2.1, 192.0.2.2], recordTTL: 300}
  - {dnsName: a.example.test, recordType: AAAA, targets: ["2001:db8::1"]}
  - {dnsName: c.example.test, recordType: CNAME, targets: [a.example.test], providerSpecific: [{name: external-dns.alpha.kubernetes.io/cloudflare-proxied, value: "true"}]}
  - {dnsName: a.example.test, recordType: TXT, targets: ["v=spf1 -all"]}
  - {dnsName: _sip._tcp.example.test, recordType: SRV, targets: [10 20 5060 a.example.test]}
  - {dnsName: a.example.test, recordType: HTTPS, targets: ['1 . alpn="h3,h2" port=8443']}
  - {dnsName: a.example.test, recordType: MX, targets: [10 mail.example.test]}
---
apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: other, annotations: {external-dns.alpha.kubernetes.io/controller: other}}
spec: {endpoints: [{dnsName: other.example.test, recordType: A, targets: [192.0.2.1]}]}
`

func TestDNSEndpointsGetTheirRecords(t *testing.T) {
	t.Parallel()
	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
	h := newDNSHome(t)
	h.write("endpoints.yaml", homeDNSEndpoints)
	h.run(cf.HTTPClient(), h.atCloudflare()...)
	h.await("metrics", func() string {
		text := h.metrics()
		for _, want := range []string{`lintel_dns_records{state="ready",zone="example.test"} 6`, `lintel_dns_records{state="refused",zone="example.test"} 1`} {
			if !strings.Contains(text, want) {
				return "no " + want
			}
		}
		return ""
	})
	found := map[string]int{}
	for _, r := range cf.Records("example.test") {
		found[r.Type]++
		if r.Type == "TXT" && strings.Contains(r.Content, "external-dns/owner") && !strings.Contains(r.Content, "external-dns/resource=crd/default/all") {
			t.Errorf("a mark says %s", r.Content)
		}
	}
	if want := map[string]int{"A": 2, "AAAA": 1, "CNAME": 1, "TXT": 7, "SRV": 1, "HTTPS": 1}; !maps.Equal(found, want) {
		t.Errorf("records by type: %v, want %v", found, want)
	}
	if log := h.log.String(); !strings.Contains(log, "MX records are not among the types that are looked after") {
		t.Errorf("nothing about MX:\n%s", log)
	}
	if got := h.planned(cf); len(got) > 0 {
		t.Errorf("and again: %q", got)
	}
}

func TestDNSEndpointsGetTheirRecordsAtANameServer(t *testing.T) {
	t.Parallel()
	server := knot.ForTest(t, knot.Options{Zones: []string{"example.test"}})
	h := newDNSHome(t)
	h.write("endpoints.yaml", strings.ReplaceAll(homeDNSEndpoints, `cloudflare-proxied, value: "true"`, `cloudflare-proxied, value: "false"`))
	h.run(nil, h.atNameServer(server, "--dns-interval=1s")...)
	for _, c := range []struct {
		name string
		kind uint16
		want []string
	}{
		{"a.example.test", dns.TypeA, []string{"300 A 192.0.2.1", "300 A 192.0.2.2"}},
		{"a.example.test", dns.TypeAAAA, []string{"300 AAAA 2001:db8::1"}},
		{"a.example.test", dns.TypeTXT, []string{`300 TXT "v=spf1 -all"`}},
		{"a.example.test", dns.TypeHTTPS, []string{`300 HTTPS 1 . alpn="h3,h2" port="8443"`}},
		{"_sip._tcp.example.test", dns.TypeSRV, []string{"300 SRV 10 20 5060 a.example.test."}},
	} {
		h.await(c.name+" "+dns.TypeToString[c.kind], func() string {
			found, err := server.LookUp(t.Context(), c.name, c.kind)
			if slices.Sort(found); err != nil || !slices.Equal(found, c.want) {
				return fmt.Sprintf("%q, %v", found, err)
			}
			return ""
		})
	}
	before, err := server.Work()
	if err != nil {
		t.Fatal(err)
	}
	h.await("a steady state", func() string {
		work, err := server.Work()
		if err != nil || work.Since(before).Transfers < 3 {
			return fmt.Sprint(work, err)
		}
		if n := work.Since(before).Updates; n > 0 {
			t.Fatalf("%d updates of what is as wanted", n)
		}
		return ""
	})
}
