package knot

import (
	"slices"
	"testing"

	"github.com/miekg/dns"
)

func TestAZoneIsUpdatedAndTransferred(t *testing.T) {
	s := ForTest(t, Options{Zones: []string{"example.test", "other.test"}})
	if err := s.Update(t.Context(), "example.test", `a.example.test. 60 IN A 192.0.2.1`, `a.example.test. 60 IN TXT "one" "two"`); err != nil {
		t.Fatal(err)
	}
	found, err := s.LookUp(t.Context(), "a.example.test", dns.TypeA)
	if err != nil || !slices.Equal(found, []string{"60 A 192.0.2.1"}) {
		t.Errorf("found %q, %v", found, err)
	}
	records, err := s.Transfer("example.test")
	if err != nil || len(records) != 4 { // NS, its address, and ours
		t.Errorf("transferred %v, %v", records, err)
	}
	if err := s.Delete(t.Context(), "example.test", "a.example.test", dns.TypeA); err != nil {
		t.Fatal(err)
	}
	if found, err := s.LookUp(t.Context(), "a.example.test", dns.TypeA); err != nil || len(found) != 0 {
		t.Errorf("found %q after its deletion, %v", found, err)
	}
	if work, err := s.Work(); err != nil || work != (Work{Transfers: 1, Updates: 2}) {
		t.Errorf("the work is %+v, %v", work, err)
	}
	if err := s.Update(t.Context(), "nobody.test", `a.nobody.test. 60 IN A 192.0.2.1`); err == nil {
		t.Error("a zone that is not served was updated")
	}
}

func TestOnlyTheKeyOpensAZone(t *testing.T) {
	s := ForTest(t, Options{Zones: []string{"example.test"}, NoTransfer: true})
	if _, err := s.Transfer("example.test"); err == nil {
		t.Error("the zone was transferred")
	}
	s.Key.Secret = "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3I="
	if err := s.Update(t.Context(), "example.test", `a.example.test. 60 IN A 192.0.2.1`); err == nil {
		t.Error("a wrong key changed the zone")
	}
}
