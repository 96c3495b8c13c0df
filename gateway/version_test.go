package gateway

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSupportedVersion(t *testing.T) {
	crd := func(version string) CRD { return CRD{Name: "gateways.gateway.networking.k8s.io", Version: version} }
	for _, test := range []struct {
		name   string
		crds   []CRD
		status metav1.ConditionStatus // "" for no condition
		says   string
	}{
		{"nobody knows", nil, "", ""},
		{"ours", []CRD{crd("v1.7.0")}, "True", "the CRDs are of v1.7.0"},
		{"older", []CRD{crd("v1.4.1"), {Name: "x", Version: "v1.7.0"}}, "True", "the CRDs are of v1.4.1, v1.7.0"},
		{"one before the release", []CRD{crd("v1.7.0-rc.1")}, "True", ""},
		{"newer", []CRD{crd("v1.8.0"), {Name: "x", Version: "v1.7.0"}}, "False", "gateways.gateway.networking.k8s.io v1.8.0; releases up to v1.7.0"},
		{"another major version", []CRD{crd("v2.0.0")}, "False", ""},
		{"none", []CRD{crd("")}, "False", "gateways.gateway.networking.k8s.io has none"},
		{"nonsense", []CRD{crd("monthly")}, "False", "monthly"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := benchSnapshot(1)
			s.CRDs = test.crds
			var got *metav1.Condition
			for _, status := range Build(s, &Memo{}).Statuses {
				if status.GatewayClass != nil && len(status.GatewayClass.Conditions) > 1 {
					got = &status.GatewayClass.Conditions[1]
				}
			}
			switch {
			case got == nil && test.status != "":
				t.Error("no condition")
			case got != nil && (got.Type != "SupportedVersion" || got.Status != test.status || !strings.Contains(got.Message, test.says)):
				t.Errorf("the condition is %+v", got)
			}
		})
	}
}
