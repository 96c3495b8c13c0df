package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
)

// wanted are the records that a Plan wants, and annotations that have no effect.
func (c *dnsCare) wanted(plan *gateway.Plan) (*dnsWanted, []externaldns.Mistake) {
	objects := make(map[string]gateway.ObjectRef)
	sources := c.sources(plan, objects)
	records, mistakes := externaldns.Wanted(externaldns.Objects{
		Sources: sources, Services: c.dnsServices(objects), Endpoints: c.dnsEndpointObjects(objects),
	})
	c.tellNowhere(sources, records)
	return newDNSWanted(records, objects), mistakes
}

// tellNowhere says in the log which names get no record because there is nothing that it
// would lead to, when these have changed.
func (c *dnsCare) tellNowhere(sources []externaldns.Source, want []externaldns.Record) {
	led := make(map[string]bool, len(want))
	for i := range want {
		led[want[i].Name] = true
	}
	nowhere := make(map[string]bool)
	for i := range sources {
		for _, host := range sources[i].Hosts() {
			if len(sources[i].Parents[host.Parent].Targets) == 0 && !led[host.Name] {
				nowhere[host.Name] = true
			}
		}
	}
	names := slices.Sorted(maps.Keys(nowhere))
	if len(names) > 0 && !slices.Equal(names, c.nowhere) {
		c.log.Warn("names get no DNS records, because their Gateways have no address; the setting publish-address says one, or the annotation target", "names", len(names), "first", names[0])
	}
	c.nowhere = names
}

// sources converts what a Plan serves, as far as the settings want records for it, and notes
// the objects.
func (c *dnsCare) sources(plan *gateway.Plan, objects map[string]gateway.ObjectRef) []externaldns.Source {
	sources := make([]externaldns.Source, 0, len(plan.Names))
	for i := range plan.Names {
		n := &plan.Names[i]
		if !c.settings.reads(n.Object.Kind) || !c.selects(n.Labels, n.Annotations) {
			continue
		}
		source := externaldns.Source{Resource: note(objects, n.Object), Annotations: n.Annotations, Hostnames: n.Hostnames}
		for _, e := range n.Entries {
			// A Tunnel says by itself which names lead to it from the internet; a name server of
			// the local network gets the local addresses.
			if e.Tunnel.Name != "" && c.settings.Provider == solverCloudflare {
				continue
			}
			source.Parents = append(source.Parents, externaldns.Parent{Resource: note(objects, e.Gateway), Hostname: e.Hostname, Annotations: e.Annotations, Targets: e.Addresses})
		}
		sources = append(sources, source)
	}
	return sources
}

// note notes an object by what marks say of it.
func note(objects map[string]gateway.ObjectRef, o gateway.ObjectRef) string {
	if o.Name == "" {
		return ""
	}
	resource := dnsResource(o)
	objects[resource] = o
	return resource
}

// dnsResource is what marks say of an object.
func dnsResource(o gateway.ObjectRef) string {
	kind := strings.ToLower(o.Kind)
	if o.Kind == dnsapi.KindDNSEndpoint {
		kind = sourceCRD
	}
	return kind + "/" + o.Namespace + "/" + o.Name
}

// reads tells whether objects of a kind get records.
func (s *dnsSettings) reads(kind string) bool {
	return len(s.Sources) == 0 || slices.Contains(s.Sources, dnsSourceKinds()[kind])
}

// sourceCRD is what ExternalDNS calls DNSEndpoints, as a source and in marks.
const sourceCRD = "crd"

// dnsSourceKinds are the kinds of objects that get records, with what ExternalDNS calls each
// as a source.
func dnsSourceKinds() map[string]string {
	return map[string]string{
		"HTTPRoute": "gateway-httproute", "GRPCRoute": "gateway-grpcroute", "TLSRoute": "gateway-tlsroute",
		"TCPRoute": "gateway-tcproute", "UDPRoute": "gateway-udproute", "Ingress": "ingress", kindService: "service", dnsapi.KindDNSEndpoint: sourceCRD,
	}
}

// dnsSources are all of these names, sorted.
func dnsSources() []string { return slices.Sorted(maps.Values(dnsSourceKinds())) }

// selects tells whether the filters let an object have records.
func (c *dnsCare) selects(has, annotations map[string]string) bool {
	return c.labels.Matches(labels.Set(has)) && c.annotations.Matches(labels.Set(annotations))
}

// selectedZones are zones of a Provider that the settings name by their IDs.
type selectedZones struct {
	externaldns.Provider
	ids []string
}

// Zones implements [externaldns.Provider].
func (z *selectedZones) Zones(ctx context.Context) ([]externaldns.Zone, error) {
	all, err := z.Provider.Zones(ctx)
	if err != nil {
		return nil, err
	}
	var selected []externaldns.Zone
	for _, zone := range all {
		if slices.Contains(z.ids, zone.ID) {
			selected = append(selected, zone)
		}
	}
	if len(selected) == 0 {
		return nil, fmt.Errorf("setting dns-zone-ids: none is the ID of a zone that the token sees, and that dns-zones names if it is set: %s", zoneList(all))
	}
	return selected, nil
}

func zoneList(zones []externaldns.Zone) string {
	if len(zones) == 0 {
		return "there are none"
	}
	texts := make([]string, len(zones))
	for i, zone := range zones {
		texts[i] = zone.ID + " (" + zone.Name + ")"
	}
	return strings.Join(texts, ", ")
}

// markKey says how the key of marks is read; nil without one.
func markKey(s *dnsSettings, read credentialReader) func() (string, error) {
	if s.MarkKey == "" {
		return nil
	}
	return namingCredential("dns-mark-key", read(s.MarkKey))
}

// credentialError is why a credential can't be read.
type credentialError struct {
	setting string
	err     error
}

func (e *credentialError) Error() string { return "setting " + e.setting + ": " + e.err.Error() }

func (e *credentialError) Unwrap() error { return e.err }

// Cause is for [externaldns.CauseOf].
func (e *credentialError) Cause() externaldns.Cause { return externaldns.CauseCredential }

// namingCredential lets errors name the setting.
func namingCredential(setting string, read func() (string, error)) func() (string, error) {
	return func() (string, error) {
		text, err := read()
		if err != nil {
			return "", &credentialError{setting, err}
		}
		return text, nil
	}
}
