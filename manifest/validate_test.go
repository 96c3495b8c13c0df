package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	httpRoute = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: shop}\n"
	edge      = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
	service   = "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\n"
	ingress   = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: shop}\n"
	secret    = "apiVersion: v1\nkind: Secret\nmetadata: {name: shop}\n"
	endpoints = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: shop}\n"

	trustBundle = "apiVersion: certificates.k8s.io/v1beta1\nkind: ClusterTrustBundle\nmetadata: {name: \"example.com:roots\"}\n"
)

// Every case is a mistake and exactly what is said about it.
func TestValidateRefuses(t *testing.T) {
	tests := []struct {
		name string
		text string
		want []string
	}{
		{"typo in a field", httpRoute + "spec:\n  rules:\n  - matchs: []\n", []string{
			`6: HTTPRoute default/shop: spec.rules[0].matchs: unknown field (did you mean "matches"?)`,
		}},
		{"unknown field that is like none", httpRoute + "spec:\n  zebra: 1\n", []string{
			`5: HTTPRoute default/shop: spec.zebra: unknown field`,
		}},
		{"typo in the metadata", "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: shop\n  lables: {}\nspec: {}\n", []string{
			`5: HTTPRoute default/shop: metadata.lables: unknown field (did you mean "labels"?)`,
		}},
		{"typo at the top", httpRoute + "spce: {}\n", []string{
			`4: HTTPRoute default/shop: spce: unknown field (did you mean "spec"?)`,
		}},
		{"unknown kind", "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRout\nmetadata: {name: shop}\n", []string{
			`2: HTTPRout shop: kind: no matches for kind "HTTPRout" in version "gateway.networking.k8s.io/v1" (did you mean "HTTPRoute"?)`,
		}},
		{"misspelt group", "apiVersion: gateway.network.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: shop}\n", []string{
			`1: HTTPRoute shop: apiVersion: no matches for kind "HTTPRoute" in version "gateway.network.k8s.io/v1" (did you mean "gateway.networking.k8s.io/v1"?)`,
		}},
		{"group of long ago", "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: shop}\n", []string{
			`1: Ingress shop: apiVersion: no matches for kind "Ingress" in version "extensions/v1beta1" (did you mean "networking.k8s.io/v1"?)`,
		}},
		{"version that is not served", strings.Replace(httpRoute, "/v1", "/v1alpha2", 1), []string{
			`1: HTTPRoute default/shop: apiVersion: no matches for kind "HTTPRoute" in version "gateway.networking.k8s.io/v1alpha2" (served: v1, v1beta1)`,
		}},
		{"no kind", "apiVersion: v1\nmetadata: {name: shop}\n", []string{
			`1: kind: Required value`,
		}},
		{"not an object", "hello\n", []string{
			`1: not an object: a manifest has apiVersion, kind and metadata`,
		}},
		{"invalid YAML", httpRoute + "spec:\n  hostnames: [a.example\n  rules: []\n", []string{
			`6: invalid YAML: did not find expected ',' or ']' while parsing a flow sequence`,
		}},
		{"tab in the indentation", httpRoute + "spec:\n\thostnames: []\n", []string{
			`5: invalid YAML: a tab in the indentation, where only spaces may stand`,
		}},
		{"bad port", edge + "spec:\n  gatewayClassName: lintel\n  listeners:\n  - name: http\n    protocol: HTTP\n    port: 70000\n", []string{
			`9: Gateway default/edge: spec.listeners[0].port: Invalid value: 70000: spec.listeners[0].port in body should be less than or equal to 65535`,
		}},
		{"wrong enum", httpRoute + "spec:\n  rules:\n  - matches:\n    - path:\n        type: Prefix\n", []string{
			`8: HTTPRoute default/shop: spec.rules[0].matches[0].path.type: Unsupported value: "Prefix": supported values: "Exact", "PathPrefix", "RegularExpression"`,
		}},
		{"broken rule", httpRoute + "spec:\n  rules:\n  - matches:\n    - path: {type: Exact, value: shop}\n", []string{
			`7: HTTPRoute default/shop: spec.rules[0].matches[0].path: Invalid value: value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']`,
		}},
		{"duplicate key", service + "spec:\n  ports:\n  - port: 80\n    port: 81\n", []string{
			`7: Service default/shop: spec.ports[0].port: duplicate field`,
		}},
		{"no line between objects", service + "spec: {ports: [{port: 80}]}\n" + service + "spec: {ports: [{port: 81}]}\n", []string{
			`5: Service default/shop: apiVersion: a second object begins here: put --- in front of it`,
		}},
		{"duplicate object", service + "spec: {ports: [{port: 80}]}\n---\n" + service + "spec: {ports: [{port: 80}]}\n", []string{
			`6: Service default/shop: already declared at :1`,
		}},
		{"missing fields, by line", edge + "spec:\n  listeners:\n  - name: http\n    port: 80\n", []string{
			`4: Gateway default/edge: spec.gatewayClassName: Required value`,
			`6: Gateway default/edge: spec.listeners[0].protocol: Required value`,
		}},
		{"missing name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {labels: {a: b}}\n", []string{
			`3: ConfigMap default/(no name): metadata.name: Required value: name is required`,
		}},
		{"wrong type, with a schema", httpRoute + "spec:\n  hostnames: a.example\n", []string{
			`5: HTTPRoute default/shop: spec.hostnames: Invalid value: "string": spec.hostnames in body must be of type array: "string"`,
		}},
		{"wrong type, without a schema", service + "spec:\n  ports:\n  - port: '80'\n", []string{
			`6: Service default/shop: spec.ports[0].port: Invalid value: "string": spec.ports[0].port in body must be of type integer: "string"`,
		}},
		{"boolean of YAML 1.1", httpRoute + "spec:\n  hostnames:\n  - a.example\n  - on\n", []string{
			`7: HTTPRoute default/shop: spec.hostnames[1]: Invalid value: "boolean": spec.hostnames[1] in body must be of type string: "boolean"`,
		}},
		{"number that does not fit", service + "spec: {ports: [{port: 5000000000}]}\n", []string{
			`4: Service default/shop: spec.ports[0].port: Invalid value: 5000000000: does not fit into int32`,
		}},
		{"bad name", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}\n", []string{
			`3: Namespace a.b: metadata.name: Invalid value: "a.b": must not contain dots`,
		}},
		{"Service without ports, and with twins", service + "spec:\n  ports:\n  - {name: a, port: 80}\n  - {name: a, port: 80}\n", []string{
			`7: Service default/shop: spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80,"targetPort":0}`,
			`7: Service default/shop: spec.ports[1].name: Duplicate value: "a"`,
		}},
		{"Ingress path", ingress + "spec:\n  rules:\n  - http:\n      paths:\n      - path: shop\n        pathType: Prefix\n        backend: {service: {name: shop, port: {}}}\n      - path: /\n        backend: {service: {name: shop, port: {number: 80}}}\n", []string{
			`8: Ingress default/shop: spec.rules[0].http.paths[0].path: Invalid value: "shop": must be an absolute path`,
			`10: Ingress default/shop: spec.rules[0].http.paths[0].backend.service.port: Required value: port name or number is required`,
			`11: Ingress default/shop: spec.rules[0].http.paths[1].pathType: Required value: pathType must be specified`,
		}},
		{"Ingress without a rule", ingress + "spec: {}\n", []string{
			"4: Ingress default/shop: spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
		}},
		{"TLS Secret without a key", secret + "type: kubernetes.io/tls\nstringData: {tls.crt: x}\n", []string{
			`1: Secret default/shop: data[tls.key]: Required value`,
		}},
		{"Secret that is not base64 is not repeated", secret + "data:\n  password: hunter-2\n", []string{
			`5: Secret default/shop: data[password]: Invalid value: illegal base64 data at input byte 6`,
		}},
		{"ClusterTrustBundle without a certificate", trustBundle + "spec: {trustBundle: ''}\n", []string{
			`4: ClusterTrustBundle example.com:roots: spec.trustBundle: Required value: must be at least one certificate in PEM`,
		}},
		{"ClusterTrustBundle with something else", trustBundle + "spec:\n  trustBundle: |\n    -----BEGIN CERTIFICATE-----\n    AAAA\n    -----END CERTIFICATE-----\n", []string{
			`5: ClusterTrustBundle example.com:roots: spec.trustBundle: Invalid value: "<value omitted>": must be certificates: x509: malformed certificate`,
		}},
		{"EndpointSlice address", endpoints + "addressType: IPv4\nendpoints:\n- addresses: [127.0.0.1]\n- addresses: ['::1']\n- addresses: [localhost]\n", []string{
			`7: EndpointSlice default/shop: endpoints[1].addresses[0]: Invalid value: "::1": must be an IPv4 address`,
			`8: EndpointSlice default/shop: endpoints[2].addresses[0]: Invalid value: "localhost": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`,
		}},
		{"object in a List", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: {ports: [{port: 80}]}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n  spec: {prots: []}\n", []string{
			`11: Service default/b: spec.prots: unknown field (did you mean "ports"?)`,
		}},
		{"alias that contains itself", "apiVersion: v1\nkind: ConfigMap\nmetadata: &m {name: a, labels: *m}\n", []string{
			`3: ConfigMap default/a: metadata.labels: alias *m contains itself`,
		}},
		{"the rest of a broken file", service + "spec: [\n---\n" + httpRoute + "spec: {zebra: 1}\n", []string{
			`4: invalid YAML: did not find expected node content while parsing a flow node`,
			`9: HTTPRoute default/shop: spec.zebra: unknown field`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range Validate([]byte(tt.text)) {
				got = append(got, strings.TrimPrefix(p.String(), ":"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s\nof:\n%s", diff, tt.text)
			}
		})
	}
}

// What an API server takes, and what is nobody's business here, is not a problem.
func TestValidateAccepts(t *testing.T) {
	tests := []struct{ name, text string }{
		{"nothing", ""},
		{"comments and marks", "# nothing\n---\n# here\n---\n...\n"},
		{"other people's kinds", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {what: ever}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n---\napiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: ServiceAccount\n---\napiVersion: networking.istio.io/v1\nkind: Gateway\n---\napiVersion: serving.knative.dev/v1\nkind: Service\n---\napiVersion: traefik.io/v1alpha1\nkind: IngressRoute\n"},
		{"JSON with tabs", "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"a\"}\n}\n"},
		{"older version", strings.Replace(httpRoute, "/v1", "/v1beta1", 1) + "spec: {}\n"},
		{"what kubectl get prints", "apiVersion: v1\nkind: HTTPRouteList\nitems:\n- apiVersion: gateway.networking.k8s.io/v1\n  kind: HTTPRoute\n  metadata: {name: a, uid: x, resourceVersion: '7', generation: 3, creationTimestamp: '2024-01-01T00:00:00Z', managedFields: [{manager: kubectl, operation: Apply, fieldsType: FieldsV1, fieldsV1: {'f:spec': {}}}]}\n  spec: {}\n  status: {parents: []}\n"},
		{"namespace of a kind that has none", "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: a, namespace: b}\nspec: {controller: lintel.dev/ingress-controller}\n"},
		{"loopback endpoint", endpoints + "addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]\nports: [{port: 8080}]\n"},
		{"merge and alias", "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: &l {a: b}}\nspec: {selector: {<<: *l, c: d}, ports: [{port: 80}]}\n"},
		{"keys that are numbers", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {8080: web}\n"},
		{"Windows line ends", strings.ReplaceAll(service+"spec: {ports: [{port: 80}]}\n---\n"+httpRoute+"spec: {}\n", "\n", "\r\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, p := range Validate([]byte(tt.text)) {
				t.Error(p)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"matches", "name", "filters", "backendRefs", "timeouts"}
	for name, want := range map[string]string{
		"matchs": "matches", "Matches": "matches", "nam": "name", "backendRef": "backendRefs",
		"timeout": "timeouts", "x": "", "spec": "", "": "",
	} {
		if got := nearest(name, candidates); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

// Whatever the bytes, there is an answer and no panic.
func FuzzValidate(f *testing.F) {
	for _, seed := range []string{
		httpRoute + "spec: {rules: [{matches: [{path: {type: Exact, value: shop}}]}]}\n",
		edge + "spec: {gatewayClassName: a, listeners: [{name: http, port: 80, protocol: HTTP}]}\n",
		service + "spec: {ports: [{port: 80}]}\n", ingress + "spec: {rules: [{http: {paths: [{}]}}]}\n",
		secret + "stringData: {a: b}\n", endpoints + "addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]\n",
		"apiVersion: v1\nkind: List\nitems: [1, null, {}, [a]]\n", "a: &a [*a]\n", "? [a]\n: b\n", "<<: [{a: b}, 3]\n",
		"---\n---\n%YAML 1.2\n---\n...\n", strings.Repeat("[", 300), "\xff\xfe", "!!binary a", "\r0",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := 1
		for _, r := range string(text) {
			if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) { // what ends a line for YAML
				lines++
			}
		}
		for _, p := range Validate(text) {
			if p.Line < 1 || p.Line > lines || p.Message == "" {
				t.Errorf("problem without a place: %+v", p)
			}
		}
	})
}
