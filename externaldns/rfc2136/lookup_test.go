package rfc2136_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/knot"
	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/externaldns/rfc2136"
	"github.com/miekg/dns"
)

// looking is a server that hands out no zones.
func looking(t *testing.T) *setup {
	s := start(t, knot.Options{NoTransfer: true})
	s.lookUp = true
	s.restart()
	return s
}

func TestWhatIsNoLongerWantedGoesThoughNoZoneIsRead(t *testing.T) {
	s := looking(t)
	stays, goes := a("stays.example.test", "192.0.2.1"), a("goes.example.test", "192.0.2.1")
	s.reconcile(stays, goes)
	s.reconcile(stays)
	for name, want := range map[string]int{"stays.example.test": 1, "goes.example.test": 0, "a-mark.goes.example.test": 0, "a-mark.stays.example.test": 1} {
		if n := len(s.at(name, dns.TypeA)) + len(s.at(name, dns.TypeTXT)); n != want {
			t.Errorf("%s has %d records, want %d", name, n, want)
		}
	}
	before, err := s.server.Work()
	if err != nil {
		t.Fatal(err)
	}
	s.reconcile(stays)
	s.restart()
	s.reconcile(stays) // it is known again by its mark
	if work, err := s.server.Work(); err != nil || work != before {
		t.Errorf("steady, and after a restart: %+v, %v", work.Since(before), err)
	}
	if state := s.state(stays); state.Stage != externaldns.Ready {
		t.Errorf("%+v", state)
	}
}

// What a leader and its successor were told is the same.
func TestASuccessorKnowsWhatWasWantedWhenItDidNotRun(t *testing.T) {
	s := looking(t)
	stays, goes := a("stays.example.test", "192.0.2.1"), a("goes.example.test", "192.0.2.1")
	leader := s.dns
	s.restart()
	successor := s.dns
	successor.Apply([]externaldns.Record{stays, goes})
	leader.Reconcile(t.Context(), []externaldns.Record{stays, goes})
	s.reconcile(stays)
	if found := s.at("goes.example.test", dns.TypeA); len(found) != 0 {
		t.Errorf("left: %v", found)
	}
}

// A wildcard answers for names that are not there. Those that say the same as it does are
// the hard ones.
func TestAWildcardIsNotTakenForTheNamesBelowIt(t *testing.T) {
	s := looking(t)
	if err := s.server.Update(t.Context(), "example.test", "*.example.test. 300 IN A 192.0.2.1", `*.example.test. 300 IN TXT "v=spf1 -all"`, "other.example.test. 300 IN A 192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	same, differs := a("same.example.test", "192.0.2.1"), a("differs.example.test", "192.0.2.2")
	s.reconcile(same, differs)
	for _, name := range []string{"same.example.test", "differs.example.test"} {
		if found := s.at("a-mark."+name, dns.TypeTXT); len(found) != 1 || !strings.Contains(found[0], "heritage=") {
			t.Errorf("the mark of %s: %v", name, found)
		}
	}
	s.reconcile(same, differs)
	s.dns.Reconcile(t.Context(), []externaldns.Record{same, differs, a("other.example.test", "192.0.2.3")})
	if state := s.state(a("other.example.test", "")); state.Kind != externaldns.Foreign || state.Stage != externaldns.Refused {
		t.Errorf("what is really there: %+v", state)
	}
	s.reconcile()
	for _, name := range []string{"same.example.test", "differs.example.test"} {
		if found := s.at(name, dns.TypeA); !slices.Equal(found, []string{"300 A 192.0.2.1"}) {
			t.Errorf("%s should be the wildcard's again: %v", name, found)
		}
	}
	if found := s.at("other.example.test", dns.TypeA); len(found) != 1 {
		t.Error("a record of somebody else is gone")
	}
}

func TestLookUpsNeedTheServerThatHasTheZone(t *testing.T) {
	other := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.org"}})
	p, err := rfc2136.New(rfc2136.Options{Server: other.DNS, Zones: []string{"example.test"}, LookUp: true})
	if err != nil {
		t.Fatal(err)
	}
	reconciler := externaldns.New(externaldns.Options{Provider: p, Rules: rules(t)})
	if round := reconciler.Reconcile(t.Context(), []externaldns.Record{a("www.example.test", "192.0.2.1")}); round.Err == nil || !strings.Contains(round.Err.Error(), "refuses to look up") {
		t.Errorf("%v", round.Err)
	}
}
