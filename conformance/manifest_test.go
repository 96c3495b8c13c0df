// Package conformance compares Lintel with the real Kubernetes.
package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/lintel-dev/lintel/conformance/cluster/controlplane"
	"github.com/lintel-dev/lintel/manifest"
)

// TestManifestsAreRefusedInTheSameWords gives broken manifests to the API server
// and to package manifest. Unknown fields are left out: there manifest says more.
// The field that manifest names may lie deeper than the API server's.
func TestManifestsAreRefusedInTheSameWords(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server")
	}
	plane := controlplane.ForTest(t)
	client, err := kubernetes.NewForConfig(plane.Config)
	if err == nil {
		err = plane.InstallCRDFiles(t.Context(), "../deploy/chart/files/tunnels.lintel.dev.yaml")
	}
	if err != nil {
		t.Fatal(err)
	}
	const (
		gateway   = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a, namespace: default}\n"
		httpRoute = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a, namespace: default}\n"
		tunnel    = "apiVersion: lintel.dev/v1alpha1\nkind: Tunnel\nmetadata: {name: a, namespace: default}\n"
		class     = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: a}\n"
		grant     = "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: a, namespace: default}\n"
		ingress   = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a, namespace: default}\n"
		service   = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: default}\n"
		secret    = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: default}\n"
		slice     = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, namespace: default}\n"
	)
	for _, test := range []struct{ name, text string }{
		{"port out of range", gateway + "spec: {gatewayClassName: x, listeners: [{name: a, protocol: HTTP, port: 70000}]}"},
		{"missing fields", gateway + "spec: {listeners: [{name: a, port: 80}]}"},
		{"no Listeners", gateway + "spec: {gatewayClassName: x, listeners: []}"},
		{"twin Listeners", gateway + "spec: {gatewayClassName: x, listeners: [{name: a, protocol: HTTP, port: 80}, {name: a, protocol: HTTP, port: 81}]}"},
		{"Listeners of one port", gateway + "spec: {gatewayClassName: x, listeners: [{name: a, protocol: HTTP, port: 80}, {name: b, protocol: HTTP, port: 80}]}"},
		{"TLS on an HTTP Listener", gateway + "spec: {gatewayClassName: x, listeners: [{name: a, protocol: HTTP, port: 80, tls: {certificateRefs: [{name: c}]}}]}"},
		{"Listener name", gateway + "spec: {gatewayClassName: x, listeners: [{name: A_B, protocol: HTTP, port: 80}]}"},
		{"path type", httpRoute + "spec: {rules: [{matches: [{path: {type: Prefix, value: /}}]}]}"},
		{"relative path", httpRoute + "spec: {rules: [{matches: [{path: {type: Exact, value: shop}}]}]}"},
		{"path with dots", httpRoute + "spec: {rules: [{matches: [{path: {type: PathPrefix, value: /a/../b}}]}]}"},
		{"hostname", httpRoute + "spec: {hostnames: [a_b]}"},
		{"IP as hostname", httpRoute + "spec: {hostnames: ['*.*.example']}"},
		{"wrong type", httpRoute + "spec: {hostnames: a.example}"},
		{"weight", httpRoute + "spec: {rules: [{backendRefs: [{name: a, port: 80, weight: -1}]}]}"},
		{"backend without a port", httpRoute + "spec: {rules: [{backendRefs: [{name: a}]}]}"},
		{"filter without its field", httpRoute + "spec: {rules: [{filters: [{type: RequestRedirect}]}]}"},
		{"two redirects", httpRoute + "spec: {rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}, {type: RequestRedirect, requestRedirect: {}}]}]}"},
		{"redirect and rewrite", httpRoute + "spec: {rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}]}]}"},
		{"twin headers", httpRoute + "spec: {rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}, {name: a, value: c}]}}]}]}"},
		{"redirect status", httpRoute + "spec: {rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 200}}]}]}"},
		{"method", httpRoute + "spec: {rules: [{matches: [{method: get}]}]}"},
		{"twin parents", httpRoute + "spec: {parentRefs: [{name: a}, {name: a}]}"},
		{"timeout", httpRoute + "spec: {rules: [{timeouts: {request: 1 hour}}]}"},
		{"timeouts the wrong way round", httpRoute + "spec: {rules: [{timeouts: {request: 1s, backendRequest: 2s}}]}"},
		{"no controller", class + "spec: {}"},
		{"controller without a domain", class + "spec: {controllerName: lintel}"},
		{"no from", grant + "spec: {to: [{group: '', kind: Service}]}"},
		{"empty Ingress", ingress + "spec: {}"},
		{"Ingress path", ingress + "spec: {rules: [{http: {paths: [{path: shop, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}"},
		{"Ingress without a path type", ingress + "spec: {rules: [{http: {paths: [{path: /, backend: {service: {name: a, port: {number: 80}}}}]}}]}"},
		{"Ingress host", ingress + "spec: {rules: [{host: 'a b', http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}"},
		{"Ingress backend without a port", ingress + "spec: {defaultBackend: {service: {name: a}}}"},
		{"Service port", service + "spec: {ports: [{port: 0}]}"},
		{"Service without ports", service + "spec: {}"},
		{"Service ports without names", service + "spec: {ports: [{port: 80}, {port: 81}]}"},
		{"TLS Secret without a key", secret + "type: kubernetes.io/tls\ndata: {tls.crt: eA==}"},
		{"Secret key", secret + "data: {'a b': eA==}"},
		{"EndpointSlice address", slice + "addressType: IPv4\nendpoints: [{addresses: ['2001:db8::1']}]"},
		{"Tunnel without credentials", tunnel + "spec: {}"},
		{"Tunnel with none", tunnel + "spec: {credentials: {}}"},
		{"Tunnel with two", tunnel + "spec: {credentials: {token: {name: a}, file: {name: a}}}"},
		{"Tunnel protocol", tunnel + "spec: {credentials: {token: {name: a}}, protocol: http2}"},
		{"wildcard of no domain", tunnel + "spec: {credentials: {token: {name: a}}, dns: {mode: Wildcard}}"},
		{"domain", tunnel + "spec: {credentials: {token: {name: a}}, dns: {domains: ['*.example.com']}}"},
		{"account", tunnel + "spec: {credentials: {create: {accountID: home, name: home, apiToken: {name: a}}}}"},
		{"edge without a port", tunnel + "spec: {credentials: {token: {name: a}}, edge: {addresses: [192.0.2.1]}}"},
		{"team domain", tunnel + "spec: {credentials: {token: {name: a}}, access: {teamDomain: home.example.com, audiences: []}}"},
		{"object name", strings.Replace(httpRoute, "name: a,", "name: A_B,", 1) + "spec: {}"},
		{"label", strings.Replace(service, "name: a,", "name: a, labels: {a: 'b c'},", 1) + "spec: {ports: [{port: 80}]}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := manifest.Validate([]byte(test.text))
			want := refusal(t, client.Discovery().RESTClient(), test.text)
			slices.SortFunc(got, func(x, y manifest.Problem) int { return compare(x.Field, x.Message, y.Field, y.Message) })
			slices.SortFunc(want, func(x, y metav1.StatusCause) int { return compare(x.Field, x.Message, y.Field, y.Message) })
			if !slices.EqualFunc(got, want, func(x manifest.Problem, y metav1.StatusCause) bool {
				return x.Message == y.Message && strings.HasPrefix(x.Field, y.Field)
			}) {
				t.Errorf("API server:\n%s\nmanifest:\n%s", lines(want), lines(got))
			}
		})
	}
}

func compare(xField, xMessage, yField, yMessage string) int {
	return cmp.Or(cmp.Compare(xField, yField), cmp.Compare(xMessage, yMessage))
}

func lines[T any](of []T) string {
	var b strings.Builder
	for _, x := range of {
		fmt.Fprintf(&b, "%+v\n", x)
	}
	return b.String()
}

// refusal returns what the API server says of a manifest that it refuses.
func refusal(t *testing.T, client rest.Interface, text string) []metav1.StatusCause {
	t.Helper()
	var object struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	err := client.Post().AbsPath(resource(object.APIVersion, object.Kind)).Param("dryRun", "All").
		SetHeader("Content-Type", "application/yaml").Body([]byte(text)).Do(t.Context()).Error()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		t.Fatalf("API server says %v, want a refusal with causes", err)
	}
	return slices.DeleteFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool {
		return strings.Contains(c.Message, "some validation rules were not checked") // about the others, not about the manifest
	})
}

// resource is the path that objects of a kind are created at.
func resource(apiVersion, kind string) string {
	root := "/apis/" + apiVersion
	if apiVersion == "v1" {
		root = "/api/v1"
	}
	plural := strings.ToLower(kind) + "s"
	switch kind {
	case "GatewayClass":
		return root + "/gatewayclasses"
	case "Ingress":
		plural = "ingresses"
	}
	return fmt.Sprintf("%s/namespaces/default/%s", root, plural)
}
