package kube

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/gentype"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
)

func dnsEndpointResource() schema.GroupResource {
	return schema.GroupResource{Group: dnsapi.Group, Resource: "dnsendpoints"}
}

// dnsEndpoints returns the API of DNSEndpoints in a namespace; "" is all.
func (c clients) dnsEndpoints(namespace string) *gentype.ClientWithList[*dnsapi.DNSEndpoint, *dnsapi.DNSEndpointList] {
	return gentype.NewClientWithList(dnsEndpointResource().Resource, c.dns, c.dns.parameters, namespace,
		func() *dnsapi.DNSEndpoint { return &dnsapi.DNSEndpoint{} }, func() *dnsapi.DNSEndpointList { return &dnsapi.DNSEndpointList{} })
}

// dnsKinds are those that are watched for DNS records alone.
func dnsKinds() []*kind {
	return []*kind{
		typed[*dnsapi.DNSEndpoint, *dnsapi.DNSEndpointList]{
			name: dnsapi.KindDNSEndpoint, feature: dnsEndpointResource(), version: dnsapi.Version,
			example: &dnsapi.DNSEndpoint{}, matters: generationDiffers,
			client: func(c clients, ns string) lister[*dnsapi.DNSEndpointList] { return c.dnsEndpoints(ns) },
			list:   func(s *gateway.Snapshot) *[]*dnsapi.DNSEndpoint { return &s.DNSEndpoints },
		}.kind(),
	}
}

// newDNSEndpointStatusKind writes which generation was read.
func newDNSEndpointStatusKind(c clients) statusKind {
	return newStatusKind(
		func(ns string) statusClient[*dnsapi.DNSEndpoint] { return c.dnsEndpoints(ns) },
		func(_ merger, o *dnsapi.DNSEndpoint, want *gateway.Status) statusFields {
			f := statusFields{}
			if o.Status.ObservedGeneration < want.DNSEndpoint.ObservedGeneration { // a later one is another's, who was quicker
				f["observedGeneration"] = want.DNSEndpoint.ObservedGeneration
			}
			return f
		})
}
