package main

import (
	"cmp"
	"slices"

	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
)

// readDNSEndpoints takes over those that get records, and makes their statuses.
func (c *dnsCare) readDNSEndpoints(all []*dnsapi.DNSEndpoint) {
	c.endpoints = c.endpoints[:0]
	statuses := make(map[gateway.ObjectRef]*gateway.Status, len(all))
	for _, e := range all {
		if !c.settings.reads(dnsapi.KindDNSEndpoint) || !c.selects(e.Labels, e.Annotations) || externaldns.LeftToOthers(e.Annotations) {
			continue
		}
		c.endpoints = append(c.endpoints, e)
		ref := dnsEndpointRef(e)
		status := c.statuses[ref]
		if status == nil || status.UID != e.UID || status.Generation != e.Generation {
			status = &gateway.Status{
				Object: ref, UID: e.UID, Generation: e.Generation, DNSEndpoint: &dnsapi.DNSEndpointStatus{ObservedGeneration: e.Generation},
			}
		}
		statuses[ref] = status
	}
	c.statuses = statuses
	slices.SortFunc(c.endpoints, func(x, y *dnsapi.DNSEndpoint) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
}

func dnsEndpointRef(e *dnsapi.DNSEndpoint) gateway.ObjectRef {
	return gateway.ObjectRef{Kind: dnsapi.KindDNSEndpoint, Namespace: e.Namespace, Name: e.Name}
}

// endpointStatuses are those of the last Snapshot's DNSEndpoints.
func (c *dnsCare) endpointStatuses() []*gateway.Status {
	if c == nil {
		return nil
	}
	all := make([]*gateway.Status, len(c.endpoints))
	for i, e := range c.endpoints {
		all[i] = c.statuses[dnsEndpointRef(e)]
	}
	return all
}

// dnsEndpointObjects converts DNSEndpoints.
func (c *dnsCare) dnsEndpointObjects(objects map[string]gateway.ObjectRef) []externaldns.DNSEndpoint {
	var all []externaldns.DNSEndpoint
	for _, e := range c.endpoints {
		resource := note(objects, dnsEndpointRef(e))
		for i := range e.Spec.Endpoints {
			said := &e.Spec.Endpoints[i]
			record := externaldns.DNSEndpoint{
				Resource: resource, Name: said.DNSName, Type: said.RecordType, Targets: said.Targets, TTL: said.RecordTTL,
				Properties: make(map[string]string, len(said.ProviderSpecific)), SetIdentifier: said.SetIdentifier,
			}
			for _, p := range said.ProviderSpecific {
				record.Properties[p.Name] = p.Value
			}
			all = append(all, record)
		}
	}
	return all
}
