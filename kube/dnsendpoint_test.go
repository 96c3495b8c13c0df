package kube

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
)

// dnsEndpointCRD is as much of ExternalDNS's as an API server wants to know.
func dnsEndpointCRD() *apiextensionsv1.CustomResourceDefinition {
	open := apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}
	status := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"observedGeneration": {Type: "integer", Format: "int64"},
	}}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name: "dnsendpoints." + dnsapi.Group, Annotations: map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: "https://github.com/kubernetes-sigs/external-dns/pull/2007"},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: dnsapi.Group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: dnsapi.KindDNSEndpoint, ListKind: "DNSEndpointList", Plural: "dnsendpoints", Singular: "dnsendpoint"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: dnsapi.Version, Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": open, "status": status},
				}},
			}},
		},
	}
}

func TestDNSEndpointsAreFollowedWhereTheirCRDIs(t *testing.T) {
	f := newFixture(t)
	crds := must(apiextensions.NewForConfig(f.plane.Config))(f).ApiextensionsV1().CustomResourceDefinitions()
	s, log := f.runStore(StoreOptions{DNSEndpoints: true})
	without, _ := f.runStore(StoreOptions{})
	f.wait(s)
	f.wait(without)
	if log.count("DNSEndpoint") != 0 {
		t.Errorf("a CRD that few have is no news:\n%s", log)
	}

	must(crds.Create(t.Context(), dnsEndpointCRD(), metav1.CreateOptions{}))(f)
	api := f.clients.dnsEndpoints(f.namespace)
	e := &dnsapi.DNSEndpoint{ObjectMeta: meta("a"), Spec: dnsapi.DNSEndpointSpec{Endpoints: []dnsapi.Endpoint{{
		DNSName: "a.example.com", RecordType: "TXT", Targets: []string{"a text"}, RecordTTL: 60, ProviderSpecific: []dnsapi.Property{{Name: "n", Value: "v"}},
	}}}}
	f.eventually("the API server knows the CRD", func() bool {
		created, err := api.Create(t.Context(), e, metav1.CreateOptions{})
		if err == nil {
			e = created
		}
		return err == nil
	})
	f.waitUntil(s, "the DNSEndpoint", func(got *gateway.Snapshot) bool {
		return len(got.DNSEndpoints) == 1 && got.DNSEndpoints[0].Spec.Endpoints[0].ProviderSpecific[0].Value == "v"
	})
	if n := len(without.Snapshot().DNSEndpoints); n != 0 {
		t.Errorf("%d that nobody asked for", n)
	}

	w := f.writer(s)
	want := &gateway.Status{Object: refOf(dnsapi.KindDNSEndpoint, e), UID: e.UID, Generation: e.Generation, DNSEndpoint: &dnsapi.DNSEndpointStatus{ObservedGeneration: e.Generation}}
	f.write(w, want)
	read := must(api.Get(t.Context(), "a", metav1.GetOptions{}))(f)
	if read.Status.ObservedGeneration != 1 {
		t.Errorf("status: %+v", read.Status)
	}
	f.eventually("the Store has the status", func() bool { return s.Snapshot().DNSEndpoints[0].Status.ObservedGeneration == 1 })
	version := read.ResourceVersion
	f.write(w, new(*want))
	if read = must(api.Get(t.Context(), "a", metav1.GetOptions{}))(f); read.ResourceVersion != version {
		t.Error("what is there was written again")
	}

	if err := crds.Delete(t.Context(), "dnsendpoints."+dnsapi.Group, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.waitUntil(s, "no DNSEndpoint", func(got *gateway.Snapshot) bool { return len(got.DNSEndpoints) == 0 })
}
