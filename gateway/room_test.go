package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestStatusWithoutRoom: of more Gateways than a policy's status has room for, those that
// are shown already stay, and the others are reported.
func TestStatusWithoutRoom(t *testing.T) {
	const gateways = 18
	var input strings.Builder
	input.WriteString(`kind: GatewayClass
metadata: {name: lintel}
spec: {controllerName: lintel.dev/gateway-controller}
---
kind: Service
metadata: {name: app, namespace: default}
spec: {ports: [{port: 443}]}
---
kind: BackendTLSPolicy
metadata: {name: app, namespace: default}
spec:
  targetRefs: [{group: "", kind: Service, name: app}]
  validation: {hostname: app.internal, wellKnownCACertificates: System}
status:
  ancestors:
  - {controllerName: example.com/other, ancestorRef: {name: g01, namespace: default}}
  - {controllerName: lintel.dev/gateway-controller, ancestorRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g18, namespace: default}}
`)
	parents := make([]string, gateways)
	for i := range gateways {
		name := fmt.Sprintf("g%02d", i+1)
		parents[i] = "{name: " + name + "}"
		fmt.Fprintf(&input, `---
kind: Gateway
metadata: {name: %s, namespace: default}
spec: {gatewayClassName: lintel, listeners: [{name: http, port: %d, protocol: HTTP}]}
`, name, 8000+i)
	}
	fmt.Fprintf(&input, `---
kind: HTTPRoute
metadata: {name: app, namespace: default}
spec: {parentRefs: [%s], rules: [{backendRefs: [{name: app, port: 443}]}]}
status:
  parents: [%s]
`, strings.Join(parents, ", "), strings.TrimSuffix(strings.Repeat("{controllerName: example.com/other, parentRef: {name: other}}, ", 16), ", "))

	plan := Build(readSnapshot(t, []byte(input.String())), &Memo{})
	var ancestors []string
	parentsShown := 0
	for _, s := range plan.Statuses {
		switch {
		case s.Policy != nil:
			for _, a := range s.Policy.Ancestors {
				ancestors = append(ancestors, string(a.AncestorRef.Name))
			}
		case s.Route != nil:
			parentsShown = len(s.Route.Parents)
		}
	}
	if len(ancestors) != maxAncestors-1 || !slices.Contains(ancestors, "g18") || !slices.Contains(ancestors, "g14") || slices.Contains(ancestors, "g15") {
		t.Errorf("the status of the policy shows %v", ancestors)
	}
	if parentsShown != maxParents-16 {
		t.Errorf("the status of the Route shows %d parents", parentsShown)
	}
	problems := renderProblems(plan.Problems)
	for _, want := range []string{
		"status.ancestors: holds 16 entries, those of other controllers included, and has no room for Gateway default/g15, Gateway default/g16, Gateway default/g17;",
		"status.parents: holds 32 entries, those of other controllers included, and has no room for spec.parentRefs[16], spec.parentRefs[17];",
	} {
		if !strings.Contains(problems, want) {
			t.Errorf("no problem %q in:\n%s", want, problems)
		}
	}
}
