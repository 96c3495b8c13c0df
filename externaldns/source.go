package externaldns

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Source is an object that wants names to lead to it by a Gateway: a Route or an Ingress.
type Source struct {
	// Resource is KIND/NAMESPACE/NAME in lower case, like "httproute/default/www".
	Resource    string
	Annotations map[string]string
	// Hostnames are those of its spec. A Source without takes those of its Parents.
	Hostnames []string
	// Parents are what it is reached by. An Ingress is its own: one Parent
	// that has Targets alone.
	Parents []Parent
}

// Parent is a Listener that a Route is attached to, with what its Gateway says.
type Parent struct {
	Resource    string // of the Gateway; empty where there is none
	Hostname    string // of the Listener; empty is any
	Annotations map[string]string
	Targets     []string // addresses or names of the Gateway
}

// Objects are all that want records.
type Objects struct {
	Sources   []Source
	Services  []Service
	Endpoints []DNSEndpoint
}

// Wanted returns the records that lead to objects, and the annotations that have no
// effect, both in one order. A Gateway's annotations are defaults, and the Route's own
// come first; ExternalDNS takes the target from the Gateway alone, and all else from the
// Route alone.
//
// Several objects may have one name. They share the targets of all of them, as far as they
// agree about everything else, and each has a Record of its own.
func Wanted(o Objects) ([]Record, []Mistake) {
	var records []Record
	var mistakes []Mistake
	add := func(made []Record, wrong []Mistake) {
		records, mistakes = append(records, made...), append(mistakes, wrong...)
	}
	for i := range o.Sources {
		if s := &o.Sources[i]; !annotations(s.Annotations).others() {
			add(s.records())
		}
	}
	for i := range o.Services {
		if s := &o.Services[i]; !annotations(s.Annotations).others() {
			add(s.records())
		}
	}
	for i := range o.Endpoints {
		add(o.Endpoints[i].records())
	}
	share(records)
	slices.SortStableFunc(records, func(a, b Record) int {
		return cmp.Or(compareKeys(a.Key(), b.Key()), cmp.Compare(a.Resource, b.Resource))
	})
	slices.SortFunc(mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Annotation, b.Annotation))
	})
	return records, slices.Compact(mistakes)
}

// records returns those of one Source.
func (s *Source) records() ([]Record, []Mistake) {
	var mistakes []Mistake
	mistake := func(annotation, reason string) {
		mistakes = append(mistakes, Mistake{s.Resource, annotation, reason})
	}
	own := annotations(s.Annotations)
	said := own.settings(mistake)
	targets := map[string][]string{} // by name
	defaults := map[string]settings{}
	var names []string
	for _, host := range s.hosts(mistake) {
		name, parent := host.Name, s.Parents[host.Parent]
		theirs := annotations(parent.Annotations)
		if theirs.others() {
			continue
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		targets[name] = append(targets[name], leadTo(own, theirs, parent.Targets)...)
		defaults[name] = defaults[name].or(theirs.settings(func(annotation, reason string) {
			mistakes = append(mistakes, Mistake{parent.Resource, annotation, reason})
		}))
	}
	var records []Record
	for _, name := range names {
		records = append(records, recordMaker{s.Resource, said.or(defaults[name])}.toRecords(name, targets[name])...)
	}
	return records, mistakes
}

// Host is a name of a Source at one of its Parents.
type Host struct {
	Name   string // in lower case; "*.example.com" for all below
	Parent int    // its index in Source.Parents
}

// Hosts returns the names that a Source has, whoever keeps their records: those of its spec
// as far as its Parents let them, and those of its annotations.
func (s Source) Hosts() []Host { return s.hosts(func(string, string) {}) }

func (s Source) hosts(mistake func(annotation, reason string)) []Host {
	var hosts []Host
	for _, wanted := range s.names(mistake) {
		for i, parent := range s.Parents {
			if name, fits := intersect(wanted, canonicalName(parent.Hostname)); fits && name != "" {
				hosts = append(hosts, Host{name, i})
			}
		}
	}
	return hosts
}

// names are the wanted names; an empty one stands for those of the Parents.
func (s *Source) names(mistake func(annotation, reason string)) []string {
	own := annotations(s.Annotations)
	kind, full := own.get(annotationGatewaySource)
	if full == "" {
		kind, full = own.get(annotationIngressSource)
	}
	var names []string
	for _, name := range s.Hostnames {
		names = append(names, canonicalName(name))
	}
	annotated := own.list(annotationHostname)
	for i := range annotated {
		annotated[i] = canonicalName(annotated[i])
	}
	switch strings.ToLower(kind) {
	case sourceOfAnnotations:
		return annotated
	case sourceOfDefinedHostnames:
		annotated = nil
	case "":
	default:
		mistake(full, fmt.Sprintf("%q is neither %s nor %s", kind, sourceOfAnnotations, sourceOfDefinedHostnames))
	}
	if len(names) == 0 {
		names = append(names, "")
	}
	return append(names, annotated...)
}

// leadTo returns the targets by one Parent: the Route's, or the Gateway's annotation, or
// where the Gateway is.
func leadTo(own, theirs annotations, addresses []string) []string {
	for _, a := range []annotations{own, theirs} {
		if targets := a.list(annotationTarget); len(targets) > 0 {
			return targets
		}
	}
	return addresses
}

// recordMaker makes the records of one object.
type recordMaker struct {
	resource string
	said     settings
}

// record returns a record without targets. Cloudflare's proxies are for addresses and names
// alone.
func (m recordMaker) record(name, kind string) Record {
	r := Record{Name: name, Type: kind, Resource: m.resource, TTL: m.said.ttl, Comment: m.said.comment, Tags: m.said.tags}
	if kind == CNAME || kind == A || kind == AAAA {
		r.Proxied = m.said.proxied
	}
	return r
}

// toRecords parts targets by what kind of record they take.
func (m recordMaker) toRecords(name string, targets []string) []Record {
	byType := map[string][]string{}
	for _, target := range targets {
		kind := CNAME
		if address, err := netip.ParseAddr(target); err == nil {
			kind = AAAA
			if address.Is4() {
				kind = A
			}
		}
		byType[kind] = append(byType[kind], target)
	}
	var records []Record
	for _, kind := range []string{A, AAAA, CNAME} {
		if len(byType[kind]) > 0 {
			r := m.record(name, kind)
			r.Targets = byType[kind]
			records = append(records, r.Canonical())
		}
	}
	return records
}

// share gives records of one name and type, which agree otherwise, the addresses of all
// of them. A name can't have several CNAMEs.
func share(records []Record) {
	type group struct {
		key     Key
		ttl     time.Duration
		proxied Proxied
	}
	groupOf := func(r Record) group { return group{r.Key(), r.TTL, r.Proxied} }
	all := map[group][]string{}
	for _, r := range records {
		if r.Type != CNAME {
			all[groupOf(r)] = append(all[groupOf(r)], r.Targets...)
		}
	}
	for i, r := range records {
		if r.Type != CNAME {
			records[i].Targets = slices.Clone(all[groupOf(r)])
			records[i] = records[i].Canonical()
		}
	}
}

// intersect returns the more specific of two host names, of which either may be a
// wildcard or empty, which is any; false when nothing is in both.
func intersect(a, b string) (string, bool) {
	switch {
	case a == b || b == "":
		return a, true
	case a == "":
		return b, true
	}
	covers := func(wildcard, name string) bool {
		suffix, is := strings.CutPrefix(wildcard, "*")
		return is && strings.HasSuffix(strings.TrimPrefix(name, "*"), suffix)
	}
	switch {
	case covers(b, a):
		return a, true
	case covers(a, b):
		return b, true
	}
	return "", false
}
