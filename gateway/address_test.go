package gateway

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestAddressStays: a Gateway keeps its address when others come and go, before its status
// says so as well as after, and in another instance too.
func TestAddressStays(t *testing.T) {
	var leader, follower Memo
	s := pooled("b", "c")
	wantAddresses(t, Build(s, &leader), map[string]string{"b": "10.0.0.1", "c": "10.0.0.2"})

	s = pooled("a", "b", "c")
	wantAddresses(t, Build(s, &leader), map[string]string{"a": "10.0.0.3", "b": "10.0.0.1", "c": "10.0.0.2"})
	wantAddresses(t, Build(s, &follower), map[string]string{"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"})

	plan := Build(s, &leader)
	for _, g := range s.Gateways { // the leader's status arrives
		g.Status = *statusOf(plan, g.Name)
	}
	for name, memo := range map[string]*Memo{"leader": &leader, "follower": &follower, "a new instance": {}} {
		t.Run(name, func(t *testing.T) {
			wantAddresses(t, Build(s, memo), map[string]string{"a": "10.0.0.3", "b": "10.0.0.1", "c": "10.0.0.2"})
		})
	}

	s.Gateways = s.Gateways[1:]
	wantAddresses(t, Build(s, &leader), map[string]string{"b": "10.0.0.1", "c": "10.0.0.2"})
	if plan := Build(s, &leader); len(plan.Addresses) != 2 {
		t.Errorf("the Plan has the addresses %v, of two Gateways", plan.Addresses)
	}
}

// TestNewestSettingsDecide: an address that is no longer in a pool that serves the Gateway
// is given up.
func TestNewestSettingsDecide(t *testing.T) {
	var memo Memo
	s := pooled("a")
	Build(s, &memo)
	s.Settings.AddressPools[0].CIDRs = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}
	wantAddresses(t, Build(s, &memo), map[string]string{"a": "10.1.0.1"})
	s.Settings.AddressPools[0].Namespaces = []string{"other"}
	wantAddresses(t, Build(s, &memo), map[string]string{"a": ""})
}

// pooled returns a Snapshot with Gateways that were made in the same second.
func pooled(names ...string) *Snapshot {
	s := &Snapshot{Settings: testSettings()}
	s.Settings.AddressPools = []AddressPool{{Name: "lan", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}}
	class := &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "lintel"}}
	class.Spec.ControllerName = gatewayv1.GatewayController(s.Settings.ControllerName)
	s.GatewayClasses = []*gatewayv1.GatewayClass{class}
	for _, name := range names {
		s.Gateways = append(s.Gateways, &gatewayv1.Gateway{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: gatewayv1.GatewaySpec{GatewayClassName: "lintel", Listeners: []gatewayv1.Listener{
				{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType},
			}},
		})
	}
	return s
}

func statusOf(p *Plan, gateway string) *gatewayv1.GatewayStatus {
	for _, s := range p.Statuses {
		if s.Gateway != nil && s.Object.Name == gateway {
			return s.Gateway
		}
	}
	return &gatewayv1.GatewayStatus{}
}

// wantAddresses compares the first address of each Gateway, "" for none.
func wantAddresses(t *testing.T, p *Plan, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for name := range want {
		got[name] = ""
		for _, a := range statusOf(p, name).Addresses {
			got[name] += a.Value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}
