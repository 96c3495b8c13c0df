package externaldns

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	newPrefix = "external-dns.kubernetes.io/"
	oldPrefix = "external-dns.alpha.kubernetes.io/"
)

func wantedLines(records []Record) []string {
	var lines []string
	for _, r := range records {
		line := r.String()
		if r.TTL > 0 {
			line += fmt.Sprintf(" ttl %s", r.TTL)
		}
		if r.Proxied != ProxiedDefault {
			line += fmt.Sprintf(" proxied %v", r.Proxied == ProxiedYes)
		}
		if r.Comment != "" {
			line += " comment " + r.Comment
		}
		if len(r.Tags) > 0 {
			line += " tags " + strings.Join(r.Tags, " ")
		}
		lines = append(lines, line)
	}
	return lines
}

func TestWhatASourceWants(t *testing.T) {
	gateway := Parent{Targets: []string{"192.0.2.1", "2001:db8::1"}}
	for _, c := range []struct {
		what      string
		source    Source
		want      []string
		mistakeIn string
	}{
		{
			what: "a name at its Gateway's addresses", source: Source{Hostnames: []string{"WWW.example.com"}, Parents: []Parent{gateway}},
			want: []string{"www.example.com A 192.0.2.1", "www.example.com AAAA 2001:db8::1"},
		},
		{
			what: "a Gateway with a name", source: Source{Hostnames: []string{"www.example.com"}, Parents: []Parent{{Targets: []string{"lb.example.net."}}}},
			want: []string{"www.example.com CNAME lb.example.net"},
		},
		{
			what: "the Listener's name", source: Source{Parents: []Parent{{Hostname: "*.example.com", Targets: []string{"192.0.2.1"}}, {Targets: []string{"192.0.2.1"}}}},
			want: []string{"*.example.com A 192.0.2.1"},
		},
		{
			what: "what both have", source: Source{
				Hostnames: []string{"a.example.com", "b.example.org", "*.c.example.com"},
				Parents:   []Parent{{Hostname: "*.example.com", Targets: []string{"192.0.2.1"}}},
			},
			want: []string{"*.c.example.com A 192.0.2.1", "a.example.com A 192.0.2.1"},
		},
		{
			what: "two Gateways", source: Source{Hostnames: []string{"a.example.com"}, Parents: []Parent{{Targets: []string{"192.0.2.1"}}, {Targets: []string{"192.0.2.2"}}}},
			want: []string{"a.example.com A 192.0.2.1, 192.0.2.2"},
		},
		{
			what: "names by annotation, too", source: Source{
				Hostnames: []string{"a.example.com"}, Annotations: map[string]string{oldPrefix + "hostname": "b.example.com, c.example.com"},
				Parents: []Parent{{Targets: []string{"192.0.2.1"}}},
			},
			want: []string{"a.example.com A 192.0.2.1", "b.example.com A 192.0.2.1", "c.example.com A 192.0.2.1"},
		},
		{
			what: "names by annotation alone", source: Source{
				Hostnames:   []string{"a.example.com"},
				Annotations: map[string]string{newPrefix + "hostname": "b.example.com", newPrefix + "gateway-hostname-source": "annotation-only"},
				Parents:     []Parent{{Targets: []string{"192.0.2.1"}}},
			},
			want: []string{"b.example.com A 192.0.2.1"},
		},
		{
			what: "names of the spec alone", source: Source{
				Hostnames:   []string{"a.example.com"},
				Annotations: map[string]string{newPrefix + "hostname": "b.example.com", oldPrefix + "ingress-hostname-source": "defined-hosts-only"},
				Parents:     []Parent{{Targets: []string{"192.0.2.1"}}},
			},
			want: []string{"a.example.com A 192.0.2.1"},
		},
		{
			what: "the Gateway gives defaults", source: Source{
				Hostnames: []string{"a.example.com"},
				Parents: []Parent{{Targets: []string{"192.0.2.1"}, Annotations: map[string]string{
					newPrefix + "target": "t.cfargotunnel.com", newPrefix + "ttl": "300", newPrefix + "cloudflare-proxied": "true",
					newPrefix + "cloudflare-record-comment": "of the Gateway", newPrefix + "cloudflare-tags": "team:a,env:b",
				}}},
			},
			want: []string{"a.example.com CNAME t.cfargotunnel.com ttl 5m0s proxied true comment of the Gateway tags team:a env:b"},
		},
		{
			what: "the Route wins", source: Source{
				Hostnames: []string{"a.example.com"},
				Annotations: map[string]string{
					oldPrefix + "target": "192.0.2.7,192.0.2.8", oldPrefix + "ttl": "10m", oldPrefix + "cloudflare-proxied": "false",
				},
				Parents: []Parent{{Targets: []string{"192.0.2.1"}, Annotations: map[string]string{
					newPrefix + "target": "t.cfargotunnel.com", newPrefix + "ttl": "300", newPrefix + "cloudflare-proxied": "true",
				}}},
			},
			want: []string{"a.example.com A 192.0.2.7, 192.0.2.8 ttl 10m0s proxied false"},
		},
		{
			what: "of both prefixes the new one counts", source: Source{
				Hostnames: []string{"a.example.com"}, Annotations: map[string]string{oldPrefix + "target": "192.0.2.7", newPrefix + "target": "192.0.2.8"}, Parents: []Parent{gateway},
			},
			want: []string{"a.example.com A 192.0.2.8"},
		},
		{what: "another program's", source: Source{Hostnames: []string{"a.example.com"}, Annotations: map[string]string{oldPrefix + "controller": "other"}, Parents: []Parent{gateway}}},
		{what: "another program's Gateway", source: Source{Hostnames: []string{"a.example.com"}, Parents: []Parent{{Targets: []string{"192.0.2.1"}, Annotations: map[string]string{newPrefix + "controller": "other"}}}}},
		{what: "no name at all", source: Source{Parents: []Parent{gateway}}},
		{what: "nothing that it is reached by", source: Source{Hostnames: []string{"a.example.com"}}},
		{
			what: "a TTL that is none", source: Source{Hostnames: []string{"a.example.com"}, Annotations: map[string]string{oldPrefix + "ttl": "soon"}, Parents: []Parent{{Targets: []string{"192.0.2.1"}}}},
			want: []string{"a.example.com A 192.0.2.1"}, mistakeIn: oldPrefix + "ttl",
		},
		{
			what: "proxied how?", source: Source{Hostnames: []string{"a.example.com"}, Annotations: map[string]string{newPrefix + "cloudflare-proxied": "yes"}, Parents: []Parent{{Targets: []string{"192.0.2.1"}}}},
			want: []string{"a.example.com A 192.0.2.1"}, mistakeIn: newPrefix + "cloudflare-proxied",
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.source.Resource = "httproute/default/a"
			records, mistakes := Wanted(Objects{Sources: []Source{c.source}})
			if got := wantedLines(records); !slices.Equal(got, c.want) {
				t.Errorf("it wants %q, and should want %q", got, c.want)
			}
			for _, r := range records {
				if r.Resource != c.source.Resource {
					t.Errorf("%s is for %q", r, r.Resource)
				}
			}
			if c.mistakeIn == "" && len(mistakes) > 0 || c.mistakeIn != "" && (len(mistakes) != 1 || mistakes[0].Annotation != c.mistakeIn) {
				t.Errorf("mistakes: %+v", mistakes)
			}
		})
	}
}

func TestSourcesOfOneNameShareIt(t *testing.T) {
	sources := []Source{
		{Resource: "httproute/default/b", Hostnames: []string{"a.example.com"}, Parents: []Parent{{Targets: []string{"192.0.2.2"}}}},
		{Resource: "httproute/default/a", Hostnames: []string{"a.example.com"}, Parents: []Parent{{Targets: []string{"192.0.2.1"}}}},
	}
	records, _ := Wanted(Objects{Sources: sources})
	rules := Rules{Registry: registry(t, RegistryOptions{})}
	w := newWorld()
	plan := Calculate(records, w.read(), rules)
	if got := describe(plan); got != "create a.example.com A 192.0.2.1, 192.0.2.2" {
		t.Errorf("the plan says:\n%s", got)
	}
	w.apply(t, plan)
	records, _ = Wanted(Objects{Sources: sources[:1]})
	if got := describe(Calculate(records, w.read(), rules)); got != "update a.example.com A 192.0.2.1, 192.0.2.2 to 192.0.2.2" {
		t.Errorf("without the other, the plan says:\n%s", got)
	}
}

func TestAPlanIsPrintedForPeople(t *testing.T) {
	w := newWorld(slices.Concat(marked(t, "lintel", a("old.example.com", "192.0.2.1")), marked(t, "lintel", a("same.example.com", "192.0.2.1")), marked(t, "other", a("their.example.com", "192.0.2.3")))...)
	changed := a("same.example.com", "192.0.2.2")
	changed.TTL = time.Minute
	plan := Calculate([]Record{a("new.example.com", "192.0.2.1"), changed, a("their.example.com", "192.0.2.1")}, w.read(), Rules{Registry: registry(t, RegistryOptions{})})
	var out strings.Builder
	if err := plan.Print(&out); err != nil {
		t.Fatal(err)
	}
	const want = `+  new.example.com    A  192.0.2.1
~  same.example.com   A  192.0.2.2 (TTL 60)  instead of 192.0.2.1
-  old.example.com    A  192.0.2.1
?  their.example.com  A  192.0.2.1  foreign: the record that is there (their.example.com A 192.0.2.3) belongs to owner "other"
1 to create, 1 to change, 1 to delete, of 2 that are ours; 1 can't be made
`
	if out.String() != want {
		t.Errorf("it prints\n%s\nand should print\n%s", out.String(), want)
	}
}
