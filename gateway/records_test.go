package gateway

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const recordsInput = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: lintel}
spec: {controllerName: lintel.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: lintel
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: www, generation: 3}
spec:
  hostnames: [b.example.com, a.example.com]
  parentRefs: [{name: web}, {name: web, sectionName: none}]
`

func TestRoutesSayHowTheirRecordsFare(t *testing.T) {
	www := ObjectRef{Kind: kindHTTPRoute, Namespace: "default", Name: "www"}
	ready := RecordsState{Ready: metav1.ConditionTrue, Reason: "Ready", Message: "a.example.com A", Generation: 2, Hostnames: []string{"a.example.com"}}
	same := ready
	same.Hostnames = []string{"a.example.com", "b.example.com"}
	for _, c := range []struct {
		what    string
		records map[ObjectRef]RecordsState
		want    string
		keeps   bool
	}{
		{what: "none are kept"},
		{what: "not known yet", records: map[ObjectRef]RecordsState{}, keeps: true},
		{what: "it wants none", records: map[ObjectRef]RecordsState{www: {}}},
		{what: "those of other hostnames", records: map[ObjectRef]RecordsState{www: ready}, want: "True Ready a.example.com A at 2"},
		{what: "those of its hostnames", records: map[ObjectRef]RecordsState{www: same}, want: "True Ready a.example.com A at 3"},
	} {
		snapshot := readSnapshot(t, []byte(recordsInput))
		snapshot.Observed.Records = c.records
		for _, s := range Build(snapshot, &Memo{}).Statuses {
			if s.Object != www {
				continue
			}
			if s.Route.KeepsRecords != c.keeps {
				t.Errorf("%s: keeps %v", c.what, s.Route.KeepsRecords)
			}
			for i, want := range []string{c.want, ""} { // the second parent does not take it
				got := ""
				if is := meta.FindStatusCondition(s.Route.Parents[i].Conditions, ConditionRecords); is != nil {
					got = fmt.Sprintf("%s %s %s at %d", is.Status, is.Reason, is.Message, is.ObservedGeneration)
				}
				if got != want {
					t.Errorf("%s: parent %d says %q, want %q", c.what, i, got, want)
				}
			}
		}
	}
}
