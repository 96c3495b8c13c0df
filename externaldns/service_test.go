package externaldns

import (
	"slices"
	"testing"
)

func TestWhatAServiceWants(t *testing.T) {
	const name, inside = newPrefix + "hostname", newPrefix + "internal-hostname"
	balancer := Service{Kind: LoadBalancer, External: []string{"192.0.2.1", "lb.example.net"}, Internal: "10.0.0.1"}
	cluster := Service{Kind: ClusterIP, Internal: "10.0.0.1"}
	nodes := Service{
		Kind: NodePort, Nodes: []Node{{External: []string{"192.0.2.1"}, Internal: []string{"10.1.0.1"}}, {Internal: []string{"10.1.0.2"}}},
		NodePorts: []Port{{"TCP", 30080}, {"UDP", 30081}}, Internal: "10.0.0.1",
	}
	headless := Service{Kind: Headless, Endpoints: []Endpoint{
		{Hostname: "a-0", Address: "10.2.0.1", Node: Node{External: []string{"192.0.2.1"}, Internal: []string{"10.1.0.1", "10.1.0.9"}}},
		{Address: "10.2.0.2"},
	}}
	ports := []string{"_web._tcp.a.example.com SRV 0 50 30080 a.example.com.", "_web._udp.a.example.com SRV 0 50 30081 a.example.com."}
	for _, c := range []struct {
		what        string
		service     Service
		annotations map[string]string
		want        []string
		mistakeIn   string
	}{
		{what: "nothing by itself", service: balancer},
		{
			what: "a load balancer", service: balancer, annotations: map[string]string{oldPrefix + "hostname": "A.example.com., b.example.com", newPrefix + "ttl": "60"},
			want: []string{
				"a.example.com A 192.0.2.1 ttl 1m0s", "a.example.com CNAME lb.example.net ttl 1m0s",
				"b.example.com A 192.0.2.1 ttl 1m0s", "b.example.com CNAME lb.example.net ttl 1m0s",
			},
		},
		{what: "its cluster IP", service: balancer, annotations: map[string]string{inside: "a.example.com"}, want: []string{"a.example.com A 10.0.0.1"}},
		{
			what: "other targets", service: nodes, annotations: map[string]string{name: "a.example.com", newPrefix + "target": "x.example.net", newPrefix + "cloudflare-proxied": "true"},
			want: []string{"a.example.com CNAME x.example.net proxied true"},
		},
		{what: "a cluster IP alone", service: cluster, annotations: map[string]string{name: "a.example.com"}, mistakeIn: name},
		{what: "a cluster IP by its own name", service: cluster, annotations: map[string]string{inside: "a.example.com"}, want: []string{"a.example.com A 10.0.0.1"}},
		{
			what: "a cluster IP with a target", service: cluster, annotations: map[string]string{name: "a.example.com", newPrefix + "target": "192.0.2.9"},
			want: []string{"a.example.com A 192.0.2.9"},
		},
		{
			what: "nodes", service: nodes, annotations: map[string]string{name: "a.example.com", newPrefix + "cloudflare-proxied": "true"},
			want: append(slices.Clone(ports), "a.example.com A 192.0.2.1 proxied true"),
		},
		{
			what: "nodes from inside", service: nodes, annotations: map[string]string{name: "a.example.com", newPrefix + "access": "private"},
			want: append(slices.Clone(ports), "a.example.com A 10.1.0.1, 10.1.0.2"),
		},
		{
			what: "nodes without an external address", service: Service{Kind: NodePort, Nodes: nodes.Nodes[1:]}, annotations: map[string]string{name: "a.example.com"},
			want: []string{"a.example.com A 10.1.0.2"},
		},
		{
			what: "nodes that must have one", service: Service{Kind: NodePort, Nodes: nodes.Nodes[1:]}, annotations: map[string]string{name: "a.example.com", newPrefix + "access": "public"},
		},
		{
			what: "access how?", service: Service{Kind: NodePort, Nodes: nodes.Nodes}, annotations: map[string]string{name: "a.example.com", newPrefix + "access": "all"},
			want: []string{"a.example.com A 192.0.2.1"}, mistakeIn: newPrefix + "access",
		},
		{
			what: "Pods", service: headless, annotations: map[string]string{name: "a.example.com"},
			want: []string{"a-0.a.example.com A 10.2.0.1", "a.example.com A 10.2.0.1, 10.2.0.2"},
		},
		{
			what: "hosts of Pods", service: headless, annotations: map[string]string{name: "a.example.com", oldPrefix + "endpoints-type": "HostIP"},
			want: []string{"a-0.a.example.com A 10.1.0.1", "a.example.com A 10.1.0.1"},
		},
		{
			what: "external addresses of hosts of Pods", service: headless, annotations: map[string]string{name: "a.example.com", oldPrefix + "endpoints-type": "NodeExternalIP"},
			want: []string{"a-0.a.example.com A 192.0.2.1", "a.example.com A 192.0.2.1"},
		},
		{
			what: "another name", service: Service{Kind: ExternalName, External: []string{"x.example.net"}}, annotations: map[string]string{name: "a.example.com"},
			want: []string{"a.example.com CNAME x.example.net"},
		},
		{what: "another program's", service: balancer, annotations: map[string]string{name: "a.example.com", oldPrefix + "controller": "other"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.service.Resource, c.service.Annotations = "service/default/web", c.annotations
			records, mistakes := Wanted(Objects{Services: []Service{c.service}})
			if got := wantedLines(records); !slices.Equal(got, c.want) {
				t.Errorf("it wants %q, and should want %q", got, c.want)
			}
			if c.mistakeIn == "" && len(mistakes) > 0 || c.mistakeIn != "" && (len(mistakes) != 1 || mistakes[0].Annotation != c.mistakeIn) {
				t.Errorf("mistakes: %+v", mistakes)
			}
		})
	}
	cluster.Resource, cluster.Annotations, cluster.PublishInternal = "service/default/web", map[string]string{name: "a.example.com"}, true
	if records, mistakes := Wanted(Objects{Services: []Service{cluster}}); len(mistakes) > 0 || !slices.Equal(wantedLines(records), []string{"a.example.com A 10.0.0.1"}) {
		t.Errorf("with cluster IPs it wants %q, %v", records, mistakes)
	}
}

func TestWhatADNSEndpointWants(t *testing.T) {
	const resource = "crd/default/all"
	records, mistakes := Wanted(Objects{Endpoints: []DNSEndpoint{
		{Resource: resource, Name: "A.example.com.", Type: "a", Targets: []string{"192.0.2.1"}, TTL: 300, Properties: map[string]string{oldPrefix + "cloudflare-proxied": "true"}},
		{Resource: resource, Name: "a.example.com", Type: "A", Targets: []string{"192.0.2.2"}, TTL: 300, Properties: map[string]string{newPrefix + "cloudflare-proxied": "true"}},
		{Resource: resource, Name: "a.example.com", Type: "TXT", Targets: []string{`"v=spf1 " "-all"`, "plain"}, Properties: map[string]string{newPrefix + "cloudflare-proxied": "true"}},
		{Resource: resource, Name: "_web._tcp.example.com", Type: "SRV", Targets: []string{"0 50 80 A.example.com"}},
		{Resource: resource, Name: "a.example.com", Type: "HTTPS", Targets: []string{"1 . alpn=h3"}},
		{Resource: resource, Name: "sub.example.com", Type: "NS", Targets: []string{"ns.example.net."}},
	}})
	want := []string{
		"_web._tcp.example.com SRV 0 50 80 a.example.com.", "a.example.com A 192.0.2.1, 192.0.2.2 ttl 5m0s proxied true", "a.example.com A 192.0.2.1, 192.0.2.2 ttl 5m0s proxied true",
		`a.example.com HTTPS 1 . alpn="h3"`, "a.example.com TXT plain, v=spf1 -all", "sub.example.com NS ns.example.net",
	}
	if got := wantedLines(records); !slices.Equal(got, want) {
		t.Errorf("it wants\n%q, and should want\n%q", got, want)
	}
	if len(mistakes) != 1 || mistakes[0].Reason != "a TXT record can't be proxied" {
		t.Errorf("mistakes: %+v", mistakes)
	}
}
