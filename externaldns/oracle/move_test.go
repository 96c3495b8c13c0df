package oracle

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"

	"github.com/lintel-dev/lintel/conformance/knot"
	"github.com/lintel-dev/lintel/externaldns"
	ours2136 "github.com/lintel-dev/lintel/externaldns/rfc2136"
	"sigs.k8s.io/external-dns/endpoint"
	config "sigs.k8s.io/external-dns/pkg/apis/externaldns"
	"sigs.k8s.io/external-dns/plan"
	theirs2136 "sigs.k8s.io/external-dns/provider/rfc2136"
	"sigs.k8s.io/external-dns/registry/txt"
)

// TestTheMoveAtANameServer lets ExternalDNS, with its own provider, make the records of a
// zone that Knot DNS has. Lintel takes them over without an update, changes some, and hands
// them back.
func TestTheMoveAtANameServer(t *testing.T) {
	for _, lookUp := range []bool{false, true} {
		t.Run(fmt.Sprintf("look-ups %v", lookUp), func(t *testing.T) { move(t, lookUp) })
	}
}

func move(t *testing.T, lookUp bool) {
	server := knot.ForTest(t, knot.Options{Zones: []string{"example.com"}})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	host, port, err := net.SplitHostPort(server.Address)
	must(err)
	c := &config.Config{
		RFC2136Host: []string{host}, RFC2136Zone: []string{"example.com"}, RFC2136TSIGKeyName: server.Key.Name, RFC2136TSIGSecret: server.Key.Secret,
		RFC2136TSIGSecretAlg: "hmac-sha256", RFC2136AXFR: true, RFC2136BatchChangeSize: 50, Policy: "sync",
		TXTOwnerID: "home", TXTPrefix: "%{record_type}-edns.", TXTWildcardReplacement: "any",
		ManagedDNSRecordTypes: types(),
	}
	c.RFC2136Port, err = strconv.Atoi(port)
	must(err)
	provider, err := theirs2136.New(t.Context(), c, endpoint.NewDomainFilter(nil))
	must(err)
	// theirs does one round of ExternalDNS, and returns how many changes it took.
	theirs := func(want []externaldns.Record) int {
		t.Helper()
		registry, err := txt.New(c, provider)
		must(err)
		current, err := registry.Records(t.Context())
		must(err)
		p := &plan.Plan{Policies: []plan.Policy{&plan.SyncPolicy{}}, Current: current, OwnerID: c.TXTOwnerID, ManagedRecords: types()}
		for _, r := range want {
			p.Desired = append(p.Desired, toEndpoint(r))
		}
		changes := p.Calculate().Changes
		if changes.HasChanges() {
			must(registry.ApplyChanges(t.Context(), changes))
		}
		return len(changes.Create) + len(changes.UpdateNew) + len(changes.Delete)
	}
	// ours does one round of Lintel, and returns how many updates it took.
	ours := func(want []externaldns.Record) int {
		t.Helper()
		registry, err := externaldns.NewRegistry(externaldns.RegistryOptions{Owner: c.TXTOwnerID, Prefix: c.TXTPrefix, WildcardReplacement: c.TXTWildcardReplacement})
		must(err)
		p, err := ours2136.New(ours2136.Options{Server: server.Address, Zones: c.RFC2136Zone, LookUp: lookUp, Key: ours2136.Key{
			Name: server.Key.Name, Secret: func() (string, error) { return server.Key.Secret, nil },
		}})
		must(err)
		reconciler := externaldns.New(externaldns.Options{Provider: p, Rules: externaldns.Rules{Registry: registry}})
		before, err := server.Work()
		must(err)
		must(reconciler.Reconcile(t.Context(), want).Err)
		for key, state := range reconciler.States() {
			if state.Stage != externaldns.Ready {
				t.Errorf("%v: %+v", key, state)
			}
		}
		after, err := server.Work()
		must(err)
		return after.Since(before).Updates
	}
	want := []externaldns.Record{
		{Name: "example.com", Type: "A", Targets: []string{"192.0.2.1", "192.0.2.2"}, Resource: "ingress/default/apex"},
		{Name: "www.example.com", Type: "A", Targets: []string{"192.0.2.1"}, Resource: "httproute/default/www"},
		{Name: "www.example.com", Type: "AAAA", Targets: []string{"2001:db8::1"}, Resource: "httproute/default/www"},
		{Name: "*.apps.example.com", Type: "CNAME", Targets: []string{"www.example.com"}, Resource: "httproute/default/apps"},
	}
	if n := theirs(want); n != len(want) {
		t.Fatalf("ExternalDNS made %d changes", n)
	}
	if n := ours(want); n != 0 {
		t.Errorf("%d updates to take over", n)
	}
	want[1].Targets = []string{"192.0.2.3"}
	want = append(want, externaldns.Record{Name: "new.example.com", Type: "A", Targets: []string{"192.0.2.1"}, Resource: "httproute/default/new"})
	if n := ours(want); n != 1 {
		t.Errorf("%d updates to go on", n)
	}
	if n := theirs(want); n != 0 {
		t.Errorf("%d changes to hand back", n)
	}
	want = slices.Delete(want, 2, 3)
	if n := theirs(want); n != 1 {
		t.Errorf("%d changes of ExternalDNS to go on", n)
	}
	if n := ours(want); n != 0 {
		t.Errorf("%d updates to take over again", n)
	}
}
