package externaldns_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	fake "github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/knot"
	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/externaldns/cloudflare"
	"github.com/lintel-dev/lintel/externaldns/rfc2136"
)

const testZone = "example.test"

// place is a zone at a provider, with what else has access to it.
type place struct {
	*testing.T
	provider func() externaldns.Provider // of a process that begins
	put      func(name, kind, data string)
	remove   func(name, kind string)
	ask      func(name string, kind uint16) string // as DNS answers, "" for nothing
	count    func() int                            // of sets, but for those that every zone has
}

// everywhere runs a test at each provider, and each way to read it.
func everywhere(t *testing.T, test func(*place)) {
	t.Run("cloudflare", func(t *testing.T) { test(atCloudflare(t)) })
	t.Run("one by one", func(t *testing.T) {
		p, _ := atOneByOne(t)
		test(p)
	})
	atNameServer(t, test)
}

func atNameServer(t *testing.T, test func(*place)) {
	t.Run("rfc2136", func(t *testing.T) { test(atKnot(t, rfc2136.Options{})) })
	t.Run("rfc2136, names", func(t *testing.T) { test(atKnot(t, rfc2136.Options{LookUp: true})) })
}

func atCloudflare(t *testing.T) *place {
	cf := fake.ForTest(t, fake.Options{Zones: []string{testZone}})
	return placeAt(t, cf, func() externaldns.Provider {
		return cloudflare.New(cloudflare.Options{URL: cf.URL, Token: func() (string, error) { return fake.Token, nil }})
	})
}

// atOneByOne uses what the same API has beside batches.
func atOneByOne(t *testing.T) (*place, *fake.Server) {
	cf := fake.ForTest(t, fake.Options{Zones: []string{testZone}})
	return placeAt(t, cf, func() externaldns.Provider { return &oneByOne{url: cf.URL, token: fake.Token} }), cf
}

func placeAt(t *testing.T, cf *fake.Server, provider func() externaldns.Provider) *place {
	return &place{
		T: t, provider: provider,
		put: func(name, kind, data string) {
			if _, err := cf.Put(testZone, fake.Record{Name: name, Type: kind, Content: data}); err != nil {
				t.Fatal(err)
			}
		},
		remove: func(name, kind string) { cf.Remove(testZone, name, kind) },
		ask:    func(name string, kind uint16) string { return ask(t, cf.DNS, name, kind) },
		count:  func() int { return len(cf.Records(testZone)) },
	}
}

func atKnot(t *testing.T, o rfc2136.Options) *place {
	server := knot.ForTest(t, knot.Options{Zones: []string{testZone}})
	o.Server, o.Zones = server.Address, []string{testZone}
	o.Key = rfc2136.Key{Name: server.Key.Name, Secret: func() (string, error) { return server.Key.Secret, nil }}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	return &place{
		T: t,
		provider: func() externaldns.Provider {
			p, err := rfc2136.New(o)
			must(err)
			return p
		},
		put: func(name, kind, data string) {
			must(server.Update(t.Context(), testZone, fmt.Sprintf("%s. 300 IN %s %s", name, kind, data)))
		},
		remove: func(name, kind string) { must(server.Delete(t.Context(), testZone, name, dns.StringToType[kind])) },
		ask:    func(name string, kind uint16) string { return ask(t, server.Address, name, kind) },
		count: func() int {
			records, err := server.Transfer(testZone)
			must(err)
			return len(records) - 2 // NS and its address
		},
	}
}

func ask(t *testing.T, server, name string, kind uint16) string {
	t.Helper()
	client := dns.Client{Net: "tcp"}
	answer, _, err := client.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), server)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, rr := range answer.Answer {
		if rr.Header().Rrtype == kind {
			texts = append(texts, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
	}
	return strings.Join(texts, " ")
}

// keeper is a process that keeps records.
type keeper struct {
	*place
	*externaldns.Reconciler
}

func (p *place) keeper(owner string) *keeper {
	p.Helper()
	registry, err := externaldns.NewRegistry(externaldns.RegistryOptions{Owner: owner, Prefix: "%{record_type}-mark."})
	if err != nil {
		p.Fatal(err)
	}
	return &keeper{p, externaldns.New(externaldns.Options{Provider: p.provider(), Rules: externaldns.Rules{Registry: registry}})}
}

// reconcile does a round that must leave a record in a stage, for a reason that has a text.
func (k *keeper) reconcile(want []externaldns.Record, of externaldns.Record, stage externaldns.Stage, reason string) {
	k.Helper()
	round := k.Reconcile(k.Context(), want)
	state := k.States()[externaldns.StateKey{Name: of.Name, Type: of.Type, Resource: of.Resource}]
	if state.Stage != stage || !strings.Contains(state.Reason, reason) {
		k.Errorf("%s is %s: %q; want %s: %q (%v)", of, state.Stage, state.Reason, stage, reason, round.Err)
	}
}

// leads fails the test unless a name is where it should be.
func (p *place) leads(name, to string) {
	p.Helper()
	if got := p.ask(name, dns.TypeA); got != to {
		p.Errorf("%s is at %q, not at %q", name, got, to)
	}
}

func record(name, kind, target string) externaldns.Record {
	return externaldns.Record{Name: name, Type: kind, Targets: []string{target}, Resource: "httproute/default/" + name}
}

func TestOfTwoOwnersTheFirstHasTheName(t *testing.T) {
	everywhere(t, func(p *place) {
		first, second := p.keeper("first"), p.keeper("second")
		here, there := record("www.example.test", "A", "192.0.2.1"), record("www.example.test", "A", "192.0.2.2")
		own := record("own.example.test", "A", "192.0.2.2")
		first.reconcile([]externaldns.Record{here}, here, externaldns.Ready, "")
		second.reconcile([]externaldns.Record{there, own}, there, externaldns.Refused, `belongs to owner "first"`)
		p.leads("www.example.test", "192.0.2.1")
		p.leads("own.example.test", "192.0.2.2")
		second.reconcile([]externaldns.Record{there}, there, externaldns.Refused, `belongs to owner "first"`)
		first.reconcile(nil, here, externaldns.Pending, "")
		second.reconcile([]externaldns.Record{there}, there, externaldns.Ready, "")
		p.leads("www.example.test", "192.0.2.2")
		if n := p.count(); n != 2 {
			t.Errorf("%d sets, want a record and its mark", n)
		}
	})
}

func TestAnAddressAndANameCompeteForOneName(t *testing.T) {
	everywhere(t, func(p *place) {
		k := p.keeper("lintel")
		address, name := record("www.example.test", "A", "192.0.2.1"), record("www.example.test", "CNAME", "lb.example.org")
		name.Resource = "ingress/default/www"
		k.reconcile([]externaldns.Record{address, name}, name, externaldns.Refused, "a CNAME can't stand beside the A record that httproute/default/www.example.test wants")
		p.leads("www.example.test", "192.0.2.1")
		k.reconcile([]externaldns.Record{name}, name, externaldns.Ready, "")
		if got := p.ask("www.example.test", dns.TypeCNAME); got != "lb.example.org." {
			t.Errorf("the CNAME is %q", got)
		}
		k.reconcile([]externaldns.Record{address}, address, externaldns.Ready, "")
		p.leads("www.example.test", "192.0.2.1")
		p.put("hand.example.test", "CNAME", "by.example.org.")
		hand := record("hand.example.test", "A", "192.0.2.1")
		k.reconcile([]externaldns.Record{address, hand}, hand, externaldns.Refused, "has no mark of an owner")
		if got := p.ask("hand.example.test", dns.TypeCNAME); got != "by.example.org." {
			t.Errorf("a foreign CNAME is %q", got)
		}
	})
}

func TestWhatAnEndBetweenRecordAndMarkLeftIsMended(t *testing.T) {
	const text = `"heritage=external-dns,external-dns/owner=lintel,external-dns/resource=httproute/default/www.example.test"`
	www := record("www.example.test", "A", "192.0.2.1")
	everywhere(t, func(p *place) {
		p.put("a-mark.www.example.test", "TXT", text)
		p.put("a-mark.gone.example.test", "TXT", text)
		k := p.keeper("lintel")
		k.Apply([]externaldns.Record{record("gone.example.test", "A", "192.0.2.1")}) // was wanted once
		k.reconcile([]externaldns.Record{www}, www, externaldns.Ready, "")
		p.leads("www.example.test", "192.0.2.1")
		if n := p.count(); n != 2 {
			t.Errorf("%d sets, want a record and its mark", n)
		}
		p.remove("www.example.test", "A")
		k = p.keeper("lintel")
		k.reconcile([]externaldns.Record{www}, www, externaldns.Ready, "")
		p.leads("www.example.test", "192.0.2.1")
		p.remove("a-mark.www.example.test", "TXT") // by somebody else: whose the record is, nobody knows
		k.reconcile([]externaldns.Record{www}, www, externaldns.Refused, "has no mark of an owner")
		p.leads("www.example.test", "192.0.2.1")
	})
}

// Cloudflare takes a CNAME beside a TXT record.
func TestOneRecordThatIsNotTakenKeepsNoOther(t *testing.T) {
	atNameServer(t, func(p *place) {
		p.put("text.example.test", "TXT", `"by hand"`)
		k := p.keeper("lintel")
		want := []externaldns.Record{record("text.example.test", "CNAME", "lb.example.org")} // beside which nothing can stand
		for i := range 30 {
			want = append(want, record(fmt.Sprintf("r%02d.example.test", i), "A", "192.0.2.1"))
		}
		k.Reconcile(t.Context(), want)
		for _, r := range want[1:] {
			p.leads(r.Name, "192.0.2.1")
		}
		state := k.States()[externaldns.StateKey{Name: want[0].Name, Type: want[0].Type, Resource: want[0].Resource}]
		if state.Stage != externaldns.Refused && state.Stage != externaldns.Failed || state.Reason == "" {
			t.Errorf("the CNAME is %s: %q", state.Stage, state.Reason)
		}
		if n := p.count(); n != 61 {
			t.Errorf("%d sets, want 30 records with their marks, and what was there", n)
		}
	})
}
