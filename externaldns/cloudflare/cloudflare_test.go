package cloudflare_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	fake "github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/externaldns/cloudflare"
	"github.com/miekg/dns"
)

const (
	batches = "POST /zones/{zone}/dns_records/batch"
	reads   = "GET /zones/{zone}/dns_records"
)

// setup is a fake of Cloudflare and what keeps records there.
type setup struct {
	*testing.T
	cf       *fake.Server
	options  cloudflare.Options
	provider *cloudflare.Provider
	rules    externaldns.Rules
	dns      *externaldns.Reconciler
}

func start(t *testing.T, o fake.Options, p cloudflare.Options) *setup {
	t.Helper()
	if o.Zones == nil {
		o.Zones = []string{"example.test"}
	}
	s := &setup{T: t, cf: fake.ForTest(t, o)}
	p.URL = s.cf.URL
	if p.Token == nil {
		p.Token = func() (string, error) { return fake.Token, nil }
	}
	registry, err := externaldns.NewRegistry(externaldns.RegistryOptions{Owner: "lintel", WildcardReplacement: "any"})
	if err != nil {
		t.Fatal(err)
	}
	s.options, s.rules = p, externaldns.Rules{Registry: registry}
	s.restart()
	return s
}

// restart forgets everything but what stands at Cloudflare.
func (s *setup) restart() {
	s.provider = cloudflare.New(s.options)
	s.dns = externaldns.New(externaldns.Options{Provider: s.provider, Rules: s.rules})
}

// reconcile does one round, and fails the test unless all is as wanted then.
func (s *setup) reconcile(want ...externaldns.Record) externaldns.Round {
	s.Helper()
	round := s.dns.Reconcile(s.Context(), want)
	if round.Err != nil {
		s.Fatal(round.Err)
	}
	for key, state := range s.dns.States() {
		if state.Stage != externaldns.Ready {
			s.Fatalf("%v: %+v", key, state)
		}
	}
	return round
}

func (s *setup) state(r externaldns.Record) externaldns.State {
	return s.dns.States()[externaldns.StateKey{Name: r.Name, Type: r.Type, Resource: r.Resource}]
}

// resolves tells what the name server answers.
func (s *setup) resolves(name string, kind uint16) []string {
	s.Helper()
	client := dns.Client{Net: "tcp"}
	answer, _, err := client.ExchangeContext(s.Context(), new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), s.cf.DNS)
	if err != nil {
		s.Fatal(err)
	}
	var found []string
	for _, rr := range answer.Answer {
		found = append(found, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(found)
	return found
}

func a(name string, addresses ...string) externaldns.Record {
	return externaldns.Record{Name: name, Type: externaldns.A, Targets: addresses, Resource: "httproute/default/" + name}
}

func routes(n int, address string) []externaldns.Record {
	var want []externaldns.Record
	for i := range n {
		want = append(want, a(fmt.Sprintf("r%03d.example.test", i), address))
	}
	return want
}

func TestHundredsOfRoutesTakeFewRequests(t *testing.T) {
	s := start(t, fake.Options{}, cloudflare.Options{})
	want := routes(500, "192.0.2.1")
	for _, step := range []struct {
		what    string
		change  func()
		records int // that change at Cloudflare, marks included
	}{
		{"500 created", func() {}, 1000},
		{"50 changed", func() {
			for i := range 50 {
				want[i*7].Targets = []string{"192.0.2.2"}
			}
		}, 50},
		{"250 deleted", func() { want = want[250:] }, 500},
		{"nothing", func() {}, 0},
	} {
		step.change()
		s.cf.ResetCalls()
		s.reconcile(want...)
		calls := s.cf.Calls()
		if most := 1 + step.records/200; step.records > 0 && calls[batches] > most || step.records == 0 && calls[batches] > 0 {
			t.Errorf("%s: %d batches for %d records, want %d at most", step.what, calls[batches], step.records, most)
		}
		if calls[reads] != 1 {
			t.Errorf("%s: %d reads of the zone, want 1", step.what, calls[reads])
		}
		t.Logf("%s: %v", step.what, calls)
		for _, r := range want {
			if got := s.resolves(r.Name, dns.TypeA); !slices.Equal(got, r.Targets) {
				t.Fatalf("%s: %s is %v, want %v", step.what, r.Name, got, r.Targets)
			}
		}
		if n := len(s.cf.Records("example.test")); n != 2*len(want) {
			t.Errorf("%s: %d records at Cloudflare, want %d and their marks", step.what, n, len(want))
		}
	}
	if got := s.resolves("r000.example.test", dns.TypeA); len(got) != 0 {
		t.Errorf("a deleted one is %v", got)
	}
}

func TestEveryTypeIsWrittenAndReadBack(t *testing.T) {
	s := start(t, fake.Options{}, cloudflare.Options{})
	want := []externaldns.Record{
		a("two.example.test", "192.0.2.1", "192.0.2.2"),
		{Name: "two.example.test", Type: "AAAA", Targets: []string{"2001:db8::1"}, TTL: 2 * time.Minute},
		{Name: "*.example.test", Type: "CNAME", Targets: []string{"two.example.test"}},
		{Name: "t.example.test", Type: "CNAME", Targets: []string{"1234.cfargotunnel.com"}},
		{Name: "p.example.test", Type: "A", Targets: []string{"192.0.2.9"}, Proxied: externaldns.ProxiedYes, TTL: time.Hour, Comment: "by lintel"},
		{Name: "text.example.test", Type: "TXT", Targets: []string{`Hello, "World" \ 123`, strings.Repeat("x", 300)}},
		{Name: "_s._tcp.example.test", Type: "SRV", Targets: []string{"1 2 443 two.example.test"}},
		{Name: "two.example.test", Type: "HTTPS", Targets: []string{"1 . alpn=h2,h3"}},
	}
	s.reconcile(want...)
	s.restart()
	if plan, err := s.dns.Plan(t.Context(), want); err != nil || !plan.Empty() || len(plan.Findings) > 0 {
		t.Errorf("read back, they take %+v, %v", plan, err)
	}
	for name, answers := range map[string]map[uint16][]string{
		"two.example.test":     {dns.TypeA: {"192.0.2.1", "192.0.2.2"}, dns.TypeAAAA: {"2001:db8::1"}, dns.TypeHTTPS: {`1 . alpn="h2,h3"`}},
		"x.example.test":       {dns.TypeCNAME: {"two.example.test."}},
		"t.example.test":       {dns.TypeA: {"198.51.100.1"}},
		"_s._tcp.example.test": {dns.TypeSRV: {"1 2 443 two.example.test."}},
	} {
		for kind, answer := range answers {
			if got := s.resolves(name, kind); !slices.Equal(got, answer) {
				t.Errorf("%s %s is %v, want %v", name, dns.TypeToString[kind], got, answer)
			}
		}
	}
	want[0].Targets = []string{"192.0.2.2", "192.0.2.3"}
	want[4].Comment = "by lintel, still"
	s.cf.ResetCalls()
	s.reconcile(want...)
	if got := s.resolves("two.example.test", dns.TypeA); !slices.Equal(got, want[0].Targets) || s.cf.Calls()[batches] != 1 {
		t.Errorf("changed: %v by %v", got, s.cf.Calls())
	}
	s.reconcile()
	if left := s.cf.Records("example.test"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRecordsThatCloudflareWouldNotTakeAreRefusedWithAReason(t *testing.T) {
	s := start(t, fake.Options{}, cloudflare.Options{Proxied: true})
	for _, c := range []struct {
		record externaldns.Record
		says   string
	}{
		{a("lan.example.test", "192.168.1.2"), "local address 192.168.1.2"},
		{externaldns.Record{Name: "t.example.test", Type: "CNAME", Targets: []string{"1.cfargotunnel.com"}, Proxied: externaldns.ProxiedNo}, "works only proxied"},
		{externaldns.Record{Name: "x.example.test", Type: "TXT", Targets: []string{"x"}, Proxied: externaldns.ProxiedYes}, "can't be proxied"},
		{a("www.example.org", "192.0.2.1"), "no zone"},
	} {
		if round := s.dns.Reconcile(t.Context(), []externaldns.Record{c.record}); round.Err != nil {
			t.Fatal(round.Err)
		}
		if state := s.state(c.record); state.Stage != externaldns.Refused || !strings.Contains(state.Reason, c.says) {
			t.Errorf("%s: %+v", c.record, state)
		}
	}
	if n := s.cf.Calls()[batches]; n != 0 {
		t.Errorf("%d batches", n)
	}
}

func TestForeignRecordsAreLeftAlone(t *testing.T) {
	s := start(t, fake.Options{}, cloudflare.Options{})
	for _, r := range []fake.Record{
		{Type: "A", Name: "hand.example.test", Content: "192.0.2.50"},
		{Type: "A", Name: "other.example.test", Content: "192.0.2.51"},
		{Type: "TXT", Name: "a-other.example.test", Content: `"heritage=external-dns,external-dns/owner=other"`},
		{Type: "TXT", Name: "example.test", Content: `"v=spf1 -all"`},
	} {
		if _, err := s.cf.Put("example.test", r); err != nil {
			t.Fatal(err)
		}
	}
	before := s.cf.Records("example.test")
	for _, r := range []externaldns.Record{a("hand.example.test", "192.0.2.1"), a("other.example.test", "192.0.2.1")} {
		s.dns.Reconcile(t.Context(), []externaldns.Record{r, a("mine.example.test", "192.0.2.1")})
		if state := s.state(r); state.Stage != externaldns.Refused || state.Kind != externaldns.Foreign {
			t.Errorf("%s: %+v", r, state)
		}
	}
	s.reconcile()
	if after := s.cf.Records("example.test"); !slices.EqualFunc(before, after, func(x, y fake.Record) bool { return x.ID == y.ID && x.ModifiedOn.Equal(y.ModifiedOn) }) {
		t.Errorf("there was %v, and is %v", before, after)
	}
}

func TestAfterEachFaultItConverges(t *testing.T) {
	for _, c := range []struct {
		what, at string
		fault    fake.Interceptor
		says     string
		calls    int // of batches in the round that fails, at most
	}{
		{"too many requests", reads, fake.Refuse(fake.Failure{Code: 971, Message: "slower"}, http.StatusTooManyRequests, time.Minute), "slower (971)", 0},
		{"an error of the server before a batch", batches, fake.Break, "502", 2},
		{"an error of the server in the middle", batches, fake.Times(1, func(w http.ResponseWriter, r *http.Request, next http.Handler) { fake.LoseAnswer(w, r, next) }), "Internal server error (10001)", 1},
		{"an invalid token", reads, fake.Refuse(fake.Failure{Code: 9109, Message: "Invalid access token"}, http.StatusForbidden, 0), "Zone Read and DNS Edit", 0},
		{"a list that breaks", "GET /zones", fake.Break, "502", 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := start(t, fake.Options{}, cloudflare.Options{})
			want := routes(150, "192.0.2.1") // two batches
			s.cf.Intercept(c.at, c.fault)
			round := s.dns.Reconcile(t.Context(), want)
			if round.Err == nil || !strings.Contains(round.Err.Error(), c.says) {
				t.Errorf("the round says: %v", round.Err)
			}
			if state := s.state(want[149]); state.Stage != externaldns.Failed || !strings.Contains(state.Reason, c.says) {
				t.Errorf("the last record: %+v", state)
			}
			if n := s.cf.Calls()[batches]; n > c.calls {
				t.Errorf("%d batches", n)
			}
			s.cf.Intercept(c.at, nil)
			if c.what == "too many requests" {
				before := s.cf.Calls()[reads]
				if again := s.dns.Reconcile(t.Context(), want); again.Err == nil || s.cf.Calls()[reads] != before {
					t.Errorf("it did not wait: %v", again.Err)
				}
			}
			s.restart()
			s.reconcile(want...)
			if n := len(s.cf.Records("example.test")); n != 300 {
				t.Errorf("%d records, want 150 with their marks", n)
			}
		})
	}
}

func TestOneBadRecordDoesNotKeepOthers(t *testing.T) {
	s := start(t, fake.Options{}, cloudflare.Options{})
	want := routes(60, "192.0.2.1")
	want[17].TTL = 30 * time.Second // less than Cloudflare takes
	s.cf.ResetCalls()
	round := s.dns.Reconcile(t.Context(), want)
	if round.Err == nil {
		t.Error("the round had no error")
	}
	for i, r := range want {
		state := s.state(r)
		if i == 17 && (state.Stage != externaldns.Failed || !strings.Contains(state.Reason, "Invalid TTL")) || i != 17 && state.Stage != externaldns.Ready {
			t.Errorf("%s: %+v", r, state)
		}
	}
	if n := len(s.cf.Records("example.test")); n != 118 {
		t.Errorf("%d records, want 59 with their marks, and no mark alone", n)
	}
	if n := s.cf.Calls()[batches]; n > 14 {
		t.Errorf("%d batches to find 1 of 60", n)
	}
}

func TestManyBadRecordsDoNotUseUpTheLimit(t *testing.T) {
	s := start(t, fake.Options{}, cloudflare.Options{})
	want := routes(400, "192.0.2.1")
	for i := range want {
		want[i].TTL = 30 * time.Second
	}
	if round := s.dns.Reconcile(t.Context(), want); round.Err == nil {
		t.Error("the round had no error")
	}
	if n := s.cf.Calls()[batches]; n > 40 {
		t.Errorf("%d batches", n)
	}
	for _, r := range want {
		if s.state(r).Stage != externaldns.Failed {
			t.Fatalf("%s: %+v", r, s.state(r))
		}
	}
}

func TestAZoneThatCannotBeReadDoesNotKeepOthers(t *testing.T) {
	s := start(t, fake.Options{Zones: []string{"example.test", "sub.example.test"}}, cloudflare.Options{})
	if _, err := s.provider.Zones(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.cf.RemoveZone("sub.example.test")
	lost, fine := a("x.sub.example.test", "192.0.2.1"), a("x.example.test", "192.0.2.1")
	if round := s.dns.Reconcile(t.Context(), []externaldns.Record{lost, fine}); round.Err == nil {
		t.Error("the round had no error")
	}
	if s.state(lost).Stage != externaldns.Failed || s.state(fine).Stage != externaldns.Ready {
		t.Errorf("states: %+v", s.dns.States())
	}
	for _, r := range s.cf.Records("example.test") {
		if strings.Contains(r.Name, "sub") {
			t.Errorf("%s went to the zone above", r.Name)
		}
	}
}

func TestARestOfTheLimitIsLeftToOthers(t *testing.T) {
	s := start(t, fake.Options{RequestLimit: 10}, cloudflare.Options{Reserve: 6})
	rounds := 0
	for ; rounds < 10; rounds++ {
		if round := s.dns.Reconcile(t.Context(), nil); round.Err != nil {
			if !strings.Contains(round.Err.Error(), "left to others") {
				t.Error(round.Err)
			}
			break
		}
	}
	total := 0
	for _, n := range s.cf.Calls() {
		total += n
	}
	if total != 4 || rounds == 10 {
		t.Errorf("%d requests in %d rounds, want 4", total, rounds)
	}
}

func TestANewTokenComesIntoEffectAtOnce(t *testing.T) {
	token := "a-token-that-was-revoked-yesterday"
	s := start(t, fake.Options{}, cloudflare.Options{Token: func() (string, error) { return token, nil }})
	want := routes(1, "192.0.2.1")
	if round := s.dns.Reconcile(t.Context(), want); round.Err == nil {
		t.Error("a revoked token passed")
	}
	token = fake.Token
	s.reconcile(want...)
}
