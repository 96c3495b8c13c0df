package gateway

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestServiceNameIsTaken: while the Service that a Gateway should have is somebody else's,
// its status says so, and nothing else of it changes.
func TestServiceNameIsTaken(t *testing.T) {
	s := benchSnapshot(1)
	s.Settings.GatewayServices = true
	ref := ObjectRef{kindGateway, s.Gateways[0].Namespace, s.Gateways[0].Name}
	condition := func() *metav1.Condition {
		for _, status := range Build(s, &Memo{}).Statuses {
			if status.Object != ref {
				continue
			}
			if i := slices.IndexFunc(status.Gateway.Conditions, func(c metav1.Condition) bool { return c.Type == "lintel.dev/NoService" }); i >= 0 {
				return &status.Gateway.Conditions[i]
			}
		}
		return nil
	}
	if c := condition(); c != nil {
		t.Errorf("a condition without a conflict: %+v", c)
	}
	s.Observed.Infrastructure = map[ObjectRef]string{ref: "Service a/b is somebody else's"}
	if c := condition(); c == nil || c.Status != metav1.ConditionTrue || c.Reason != "NameTaken" || c.Message != "metadata.name: Service a/b is somebody else's" {
		t.Errorf("the condition is %+v", c)
	}
	s.Settings.GatewayServices = false
	if c := condition(); c != nil {
		t.Errorf("a condition though no Service is wanted: %+v", c)
	}
	if plan := Build(s, &Memo{}); len(plan.Infrastructure) != 1 || !plan.Infrastructure[0].None() {
		t.Errorf("wanted is %+v", plan.Infrastructure)
	}
}
