// Package dnsapi is the API group externaldns.k8s.io in version v1alpha1: the Go types of the
// CRD DNSEndpoint, which is ExternalDNS's.
package dnsapi

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Names of the group, its version, and the kind.
const (
	Group           = "externaldns.k8s.io"
	Version         = "v1alpha1"
	KindDNSEndpoint = "DNSEndpoint"
)

// GroupVersion is both.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

// AddToScheme makes the types known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(), &DNSEndpoint{}, &DNSEndpointList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}

// DNSEndpoint says DNS records in full.
type DNSEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   DNSEndpointSpec   `json:"spec,omitempty"`
	Status DNSEndpointStatus `json:"status,omitempty"`
}

// DNSEndpointList is a list of them.
type DNSEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []DNSEndpoint `json:"items"`
}

// DNSEndpointSpec is what a person writes.
type DNSEndpointSpec struct {
	Endpoints []Endpoint `json:"endpoints,omitempty"`
}

// Endpoint is a set of records: all of one name and type.
type Endpoint struct {
	DNSName          string            `json:"dnsName,omitempty"`
	Targets          []string          `json:"targets,omitempty"`
	RecordType       string            `json:"recordType,omitempty"`
	SetIdentifier    string            `json:"setIdentifier,omitempty"`
	RecordTTL        int64             `json:"recordTTL,omitempty"` // in seconds
	Labels           map[string]string `json:"labels,omitempty"`
	ProviderSpecific []Property        `json:"providerSpecific,omitempty"`
}

// Property is what a provider alone reads.
type Property struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
}

// DNSEndpointStatus says which generation of the spec was read.
type DNSEndpointStatus struct {
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// DeepCopyObject implements [runtime.Object].
func (e *DNSEndpoint) DeepCopyObject() runtime.Object { return e.DeepCopy() }

// DeepCopy returns a copy that shares nothing with e.
func (e *DNSEndpoint) DeepCopy() *DNSEndpoint {
	c := &DNSEndpoint{TypeMeta: e.TypeMeta, Status: e.Status}
	c.ObjectMeta = *e.ObjectMeta.DeepCopy()
	for i := range e.Spec.Endpoints {
		endpoint := e.Spec.Endpoints[i]
		endpoint.Targets = slices.Clone(endpoint.Targets)
		endpoint.ProviderSpecific = slices.Clone(endpoint.ProviderSpecific)
		endpoint.Labels = maps.Clone(endpoint.Labels)
		c.Spec.Endpoints = append(c.Spec.Endpoints, endpoint)
	}
	return c
}

// DeepCopyObject implements [runtime.Object].
func (l *DNSEndpointList) DeepCopyObject() runtime.Object {
	c := &DNSEndpointList{TypeMeta: l.TypeMeta}
	l.DeepCopyInto(&c.ListMeta)
	for i := range l.Items {
		c.Items = append(c.Items, *l.Items[i].DeepCopy())
	}
	return c
}
