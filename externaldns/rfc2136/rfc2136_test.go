package rfc2136_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/conformance/knot"
	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/externaldns/rfc2136"
	"github.com/miekg/dns"
)

// setup is a name server and what keeps records there.
type setup struct {
	*testing.T
	server *knot.Server
	lookUp bool
	dns    *externaldns.Reconciler
}

func start(t *testing.T, o knot.Options) *setup {
	t.Helper()
	if o.Zones == nil {
		o.Zones = []string{"example.test"}
	}
	s := &setup{T: t, server: knot.ForTest(t, o)}
	s.restart()
	return s
}

// both runs a test with transfers of zones, and with look-ups of names.
func both(t *testing.T, test func(*setup)) {
	for name, lookUp := range map[string]bool{"transfer": false, "look-ups": true} {
		t.Run(name, func(t *testing.T) {
			s := start(t, knot.Options{})
			s.lookUp = lookUp
			s.restart()
			test(s)
		})
	}
}

// restart is what a new process begins with.
func (s *setup) restart() {
	s.Helper()
	s.dns = externaldns.New(externaldns.Options{Provider: s.provider([]string{"example.test"}, s.server.Key.Secret), Rules: rules(s.T)})
}

func (s *setup) provider(zones []string, secret string) *rfc2136.Provider {
	s.Helper()
	p, err := rfc2136.New(rfc2136.Options{Server: s.server.Address, Zones: zones, LookUp: s.lookUp, Key: rfc2136.Key{
		Name: s.server.Key.Name, Secret: func() (string, error) { return secret, nil },
	}})
	if err != nil {
		s.Fatal(err)
	}
	return p
}

func rules(t *testing.T) externaldns.Rules {
	t.Helper()
	registry, err := externaldns.NewRegistry(externaldns.RegistryOptions{Owner: "lintel", Prefix: "%{record_type}-mark.", WildcardReplacement: "any"})
	if err != nil {
		t.Fatal(err)
	}
	return externaldns.Rules{Registry: registry}
}

func (s *setup) reconcile(want ...externaldns.Record) {
	s.Helper()
	if round := s.dns.Reconcile(s.Context(), want); round.Err != nil {
		s.Fatal(round.Err)
	}
	for key, state := range s.dns.States() {
		if state.Stage != externaldns.Ready {
			s.Fatalf("%v: %+v", key, state)
		}
	}
}

func (s *setup) state(r externaldns.Record) externaldns.State {
	return s.dns.States()[externaldns.StateKey{Name: r.Name, Type: r.Type, Resource: r.Resource}]
}

func (s *setup) at(name string, kind uint16) []string {
	s.Helper()
	found, err := s.server.LookUp(s.Context(), name, kind)
	if err != nil {
		s.Fatal(err)
	}
	return found
}

func a(name, address string) externaldns.Record {
	return externaldns.Record{Name: name, Type: externaldns.A, Targets: []string{address}, Resource: "httproute/default/" + name}
}

func TestHundredsOfRoutes(t *testing.T) { both(t, hundredsOfRoutes) }

func hundredsOfRoutes(s *setup) {
	var want []externaldns.Record
	for i := range 500 {
		want = append(want, a(fmt.Sprintf("r%03d.example.test", i), "192.0.2.1"))
	}
	for _, step := range []struct {
		what   string
		change func()
	}{
		{"500 created", func() {}},
		{"50 changed", func() {
			for i := range 50 {
				want[i*7].Targets = []string{"192.0.2.2"}
			}
		}},
		{"250 deleted", func() { want = want[250:] }},
	} {
		step.change()
		s.reconcile(want...)
		for _, r := range want {
			if got := s.at(r.Name, dns.TypeA); !slices.Equal(got, []string{"300 A " + r.Targets[0]}) {
				s.Fatalf("%s: %s is %v, want %v", step.what, r.Name, got, r.Targets)
			}
		}
		records, err := s.server.Transfer("example.test")
		if err != nil || len(records) != 2+2*len(want) {
			s.Errorf("%s: %d records in the zone, %v; want %d with their marks, and 2 of the zone's own", step.what, len(records), err, len(want))
		}
		if plan, err := s.dns.Plan(s.Context(), want); err != nil || !plan.Empty() {
			s.Errorf("%s: still to do: %v, %v", step.what, plan, err)
		}
	}
}

func TestEveryTypeIsWrittenAndReadBack(t *testing.T) { both(t, everyTypeIsWrittenAndReadBack) }

func everyTypeIsWrittenAndReadBack(s *setup) {
	want := []externaldns.Record{
		{Name: "two.example.test", Type: "A", Targets: []string{"192.0.2.1", "192.0.2.2"}},
		{Name: "two.example.test", Type: "AAAA", Targets: []string{"2001:db8::1"}, TTL: 2 * time.Minute},
		{Name: "*.w.example.test", Type: "CNAME", Targets: []string{"two.example.test"}},
		{Name: "text.example.test", Type: "TXT", Targets: []string{`Hello, "Wörld" \ 123`, strings.Repeat("x", 300)}},
		{Name: "_s._tcp.example.test", Type: "SRV", Targets: []string{"1 2 443 two.example.test"}},
		{Name: "two.example.test", Type: "HTTPS", Targets: []string{"1 . alpn=h2,h3"}},
	}
	s.reconcile(want...)
	if plan, err := s.dns.Plan(s.Context(), want); err != nil || !plan.Empty() || len(plan.Findings) > 0 {
		s.Errorf("read back, they take %+v, %v", plan, err)
	}
	if got := s.at("x.w.example.test", dns.TypeA); !slices.Equal(got, []string{"300 A 192.0.2.1", "300 A 192.0.2.2"}) {
		s.Errorf("the wildcard is %v", got)
	}
	want[0].TTL, want[1].Targets = time.Hour, []string{"2001:db8::2"}
	want[2] = externaldns.Record{Name: "*.w.example.test", Type: "A", Targets: []string{"192.0.2.3"}}
	s.reconcile(want...)
	for name, answer := range map[string]string{"two.example.test": "3600 A 192.0.2.1", "x.w.example.test": "300 A 192.0.2.3"} {
		if got := s.at(name, dns.TypeA); len(got) == 0 || got[0] != answer {
			s.Errorf("%s is %v, want %s", name, got, answer)
		}
	}
	s.reconcile()
	if left, err := s.server.Transfer("example.test"); err != nil || len(left) != 2 {
		s.Errorf("left: %v, %v", left, err)
	}
}

func TestForeignRecordsAreLeftAlone(t *testing.T) { both(t, foreignRecordsAreLeftAlone) }

func foreignRecordsAreLeftAlone(s *setup) {
	if err := s.server.Update(s.Context(), "example.test", "hand.example.test. 60 IN A 192.0.2.50", "text.example.test. 60 IN TXT x"); err != nil {
		s.Fatal(err)
	}
	hand := a("hand.example.test", "192.0.2.1")
	// A server takes no CNAME beside a TXT, and says nothing.
	text := externaldns.Record{Name: "text.example.test", Type: "CNAME", Targets: []string{"x.example.org"}}
	s.dns.Reconcile(s.Context(), []externaldns.Record{hand, text, a("mine.example.test", "192.0.2.1")})
	if state := s.state(hand); state.Kind != externaldns.Foreign || state.Stage != externaldns.Refused {
		s.Errorf("%+v", state)
	}
	if state := s.state(text); state.Stage != externaldns.Failed || !strings.Contains(state.Reason, "another type is in the way") {
		s.Errorf("%+v", state)
	}
	if state := s.state(a("mine.example.test", "")); state.Stage != externaldns.Ready {
		s.Errorf("%+v", state)
	}
	s.reconcile()
	if left, err := s.server.Transfer("example.test"); err != nil || len(left) != 4 {
		s.Errorf("left: %v, %v", left, err)
	}
}

// The zone changes between its reading and the update: the update must not pass.
func TestWhatSomebodyElseWroteMeanwhileIsNotLost(t *testing.T) {
	s := start(t, knot.Options{})
	mine, race := a("mine.example.test", "192.0.2.1"), a("race.example.test", "192.0.2.1")
	s.reconcile(mine)
	provider := s.provider([]string{"example.test"}, s.server.Key.Secret)
	records, err := provider.Records(t.Context(), externaldns.Zone{ID: "example.test", Name: "example.test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.server.Update(t.Context(), "example.test", "race.example.test. 60 IN A 192.0.2.66", "mine.example.test. 300 IN A 192.0.2.77"); err != nil {
		t.Fatal(err)
	}
	moved := a("mine.example.test", "192.0.2.2")
	fine := a("fine.example.test", "192.0.2.1")
	zone := externaldns.Zone{ID: "example.test", Name: "example.test"}
	plan := externaldns.Calculate([]externaldns.Record{moved, race, fine}, []externaldns.ZoneRecords{{Zone: zone, Records: records}}, rules(t))
	err = provider.Apply(t.Context(), zone, plan.Zones()[0].Changes)
	failures, partly := err.(externaldns.Failures) //nolint:errorlint // it is what Apply promises
	if !partly || len(failures) != 2 {
		t.Errorf("two changes must fail: %v", err)
	}
	for name, want := range map[string][]string{
		"race.example.test": {"60 A 192.0.2.66"}, "mine.example.test": {"300 A 192.0.2.1", "300 A 192.0.2.77"}, "fine.example.test": {"300 A 192.0.2.1"},
	} {
		if got := s.at(name, dns.TypeA); !slices.Equal(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func TestFaultsSayWhatWouldBeRight(t *testing.T) {
	s := start(t, knot.Options{NoTransfer: true})
	want := []externaldns.Record{a("www.example.test", "192.0.2.1")}
	if round := s.dns.Reconcile(t.Context(), want); round.Err == nil || !strings.Contains(round.Err.Error(), "must be allowed to transfer") {
		t.Errorf("no transfer: %v", round.Err)
	}
	if state := s.state(want[0]); state.Stage != externaldns.Failed {
		t.Errorf("%+v", state)
	}
	open := start(t, knot.Options{})
	wrong := externaldns.New(externaldns.Options{Provider: open.provider([]string{"example.test"}, "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmc="), Rules: rules(t)})
	if round := wrong.Reconcile(t.Context(), want); round.Err == nil {
		t.Error("a wrong key passed")
	}
	missing := externaldns.New(externaldns.Options{Provider: open.provider([]string{"example.test", "absent.test"}, open.server.Key.Secret), Rules: rules(t)})
	if round := missing.Reconcile(t.Context(), want); round.Err == nil || !strings.Contains(round.Err.Error(), "absent.test") {
		t.Errorf("a zone that is not there: %v", round.Err)
	}
	if got := open.at("www.example.test", dns.TypeA); len(got) != 1 {
		t.Error("a zone that is not there kept the other from its records")
	}
	for _, o := range []rfc2136.Options{{}, {Server: "x"}, {Server: "x", Zones: []string{"y"}, Key: rfc2136.Key{Algorithm: "rot13"}}} {
		if _, err := rfc2136.New(o); err == nil {
			t.Errorf("%+v passed", o)
		}
	}
}
