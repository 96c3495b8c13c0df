package externaldns

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func describe(p *Plan) string {
	var lines []string
	for _, r := range p.Create {
		lines = append(lines, "create "+r.String())
	}
	for _, u := range p.Update {
		lines = append(lines, "update "+u.Old.String()+" to "+strings.Join(u.New.Targets, ", "))
	}
	for _, r := range p.Delete {
		lines = append(lines, "delete "+r.String())
	}
	for _, r := range p.Held {
		lines = append(lines, "hold "+r.String())
	}
	for _, f := range p.Findings {
		lines = append(lines, f.Kind.String()+" "+f.Record.String())
	}
	return strings.Join(lines, "\n")
}

func TestWhatAPlanSays(t *testing.T) {
	const www = "www.example.com"
	together := func(sets ...[]Record) []Record { return slices.Concat(sets...) }
	ours := func(r Record) []Record { return marked(t, "lintel", r) }
	theirs := func(r Record) []Record { return marked(t, "other", r) }
	for _, c := range []struct {
		what        string
		there, want []Record
		rules       Rules
		says        string
		because     string // in a reason
	}{
		{what: "a new name", want: []Record{a(www, "192.0.2.1")}, says: "create www.example.com A 192.0.2.1"},
		{what: "nothing to do", there: ours(a(www, "192.0.2.1")), want: []Record{a("WWW.Example.com.", "192.0.2.1")}},
		{what: "an address changes", there: ours(a(www, "192.0.2.1")), want: []Record{a(www, "192.0.2.2")}, says: "update www.example.com A 192.0.2.1 to 192.0.2.2"},
		{what: "nobody wants it anymore", there: ours(a(www, "192.0.2.1")), says: "delete www.example.com A 192.0.2.1"},
		{
			what: "it becomes a CNAME", there: ours(a(www, "192.0.2.1")), want: []Record{cname(www, "x.example.org.")},
			says: "create www.example.com CNAME x.example.org\ndelete www.example.com A 192.0.2.1",
		},
		{
			what: "somebody else's", there: theirs(a(www, "192.0.2.1")), want: []Record{a(www, "192.0.2.2")},
			says: "foreign www.example.com A 192.0.2.2", because: `belongs to owner "other"`,
		},
		{
			what: "made by hand", there: []Record{a(www, "192.0.2.1")}, want: []Record{cname(www, "x.example.org")},
			says: "foreign www.example.com CNAME x.example.org", because: "has no mark",
		},
		{
			what: "claimed, and not there", there: theirs(a(www, "192.0.2.1"))[1:], want: []Record{a(www, "192.0.2.1")},
			says: "foreign www.example.com A 192.0.2.1", because: `owner "other" claims the name by the TXT record a-www.example.com`,
		},
		{
			what: "both claim it", there: together(ours(a(www, "192.0.2.1"))[:1], []Record{{Name: "a-www.example.com", Type: TXT, Targets: []string{
				claim{"lintel", ""}.text(), claim{"other", ""}.text(),
			}}}), want: []Record{a(www, "192.0.2.2")}, says: "foreign www.example.com A 192.0.2.2",
		},
		{
			what: "an address beside theirs", there: theirs(a(www, "192.0.2.1")),
			want: []Record{{Name: www, Type: AAAA, Targets: []string{"2001:db8::1"}}}, says: "foreign www.example.com AAAA 2001:db8::1",
		},
		{
			what: "beside a mail server", there: []Record{{Name: www, Type: "MX", Targets: []string{"10 mx.example.com."}}},
			want: []Record{cname(www, "x.example.org")}, says: "foreign www.example.com CNAME x.example.org", because: "can't stand beside",
		},
		{
			what: "two want it", want: []Record{a(www, "192.0.2.9"), {Name: www, Type: A, Targets: []string{"192.0.2.1"}, Resource: "ingress/default/x"}},
			says: "create www.example.com A 192.0.2.1\nconflict www.example.com A 192.0.2.9", because: "ingress/default/x has www.example.com A 192.0.2.1",
		},
		{
			what: "who has it keeps it", there: ours(a(www, "192.0.2.9")),
			want: []Record{{Name: www, Type: A, Targets: []string{"192.0.2.1"}, Resource: "ingress/default/x"}, a(www, "192.0.2.9")},
			says: "conflict www.example.com A 192.0.2.1",
		},
		{
			what: "a CNAME and an address", want: []Record{cname(www, "x.example.org"), a(www, "192.0.2.1")},
			says: "create www.example.com A 192.0.2.1\nconflict www.example.com CNAME x.example.org",
		},
		{what: "no such zone", want: []Record{a("www.example.org", "192.0.2.1")}, says: "no-zone www.example.org A 192.0.2.1"},
		{
			what: "a mark outside of the zone", want: []Record{a("example.com", "192.0.2.1")},
			says: "no-zone example.com A 192.0.2.1", because: `set a prefix for marks that ends in a dot, like "%{record_type}-mark."`,
		},
		{what: "no address", want: []Record{a(www, "x.example.org")}, says: "invalid www.example.com A x.example.org"},
		{
			what: "filtered", want: []Record{a(www, "192.0.2.1"), a("a.sub.example.com", "192.0.2.1")},
			rules: Rules{Domains: Domains{Exclude: []string{"sub.example.com"}}},
			says:  "create www.example.com A 192.0.2.1\nfiltered a.sub.example.com A 192.0.2.1",
		},
		{what: "upsert-only keeps", there: ours(a(www, "192.0.2.1")), rules: Rules{Policy: UpsertOnly}},
		{
			what: "upsert-only can't replace", there: ours(a(www, "192.0.2.1")), want: []Record{cname(www, "x.example.org")},
			rules: Rules{Policy: UpsertOnly}, says: "withheld www.example.com CNAME x.example.org",
		},
		{
			what: "create-only does not change", there: ours(a(www, "192.0.2.1")), want: []Record{a(www, "192.0.2.2")},
			rules: Rules{Policy: CreateOnly}, says: "withheld www.example.com A 192.0.2.2",
		},
		{
			what: "a TTL", there: ours(Record{Name: www, Type: A, Targets: []string{"192.0.2.1"}, TTL: time.Minute}),
			want: []Record{a(www, "192.0.2.1")},
		},
		{
			what: "two addresses", there: ours(Record{Name: www, Type: A, Targets: []string{"192.0.2.1", "192.0.2.2"}}),
			want: []Record{{Name: www, Type: A, Targets: []string{"192.0.2.2", "192.0.2.1", "192.0.2.1"}}},
		},
		{
			what: "SRV targets in another form", there: ours(Record{Name: www, Type: SRV, Targets: []string{"0 50 80 a.example.org."}}),
			want: []Record{{Name: www, Type: SRV, Targets: []string{"0  50 80 A.Example.org"}}},
		},
		{
			what: "HTTPS parameters in another order", there: ours(Record{Name: www, Type: HTTPS, Targets: []string{`1 . port="8443" alpn="h2,h3"`}}),
			want: []Record{{Name: www, Type: HTTPS, Targets: []string{"1 . alpn=h2,h3 port=8443"}}},
		},
		{
			what: "all kinds beside each other", want: []Record{
				a(www, "192.0.2.1"), {Name: www, Type: TXT, Targets: []string{"a b"}}, {Name: www, Type: HTTPS, Targets: []string{"1 . alpn=h3"}},
				{Name: www, Type: "NS", Targets: []string{"ns.example.org"}}, {Name: www, Type: SRV, Targets: []string{"80 a.example.org"}},
			},
			says: "create www.example.com A 192.0.2.1\ncreate www.example.com HTTPS 1 . alpn=\"h3\"\ncreate www.example.com TXT a b\n" +
				"filtered www.example.com NS ns.example.org\ninvalid www.example.com SRV 80 a.example.org",
		},
		{
			what: "a CNAME gives way to a text", want: []Record{cname(www, "x.example.org"), {Name: www, Type: TXT, Targets: []string{"a"}, Resource: "crd/default/x"}},
			says: "create www.example.com TXT a\nconflict www.example.com CNAME x.example.org", because: "the TXT record that crd/default/x wants",
		},
		{
			what: "a service beside a name by hand", there: []Record{cname(www, "x.example.org")}, want: []Record{{Name: www, Type: SRV, Targets: []string{"0 0 80 a.example.org"}}},
			says: "foreign www.example.com SRV 0 0 80 a.example.org.", because: "has no mark",
		},
		{
			what: "a text beside one by hand", there: []Record{{Name: www, Type: TXT, Targets: []string{"v=spf1 -all"}}},
			want: []Record{{Name: www, Type: TXT, Targets: []string{"a"}}}, says: "foreign www.example.com TXT a", because: "v=spf1",
		},
		{
			what: "a mark by the back door", want: []Record{{Name: "a-" + www, Type: TXT, Targets: []string{claim{"lintel", ""}.text()}}},
			says: "invalid a-www.example.com TXT heritage=external-dns,external-dns/owner=lintel", because: "as marks do",
		},
		{
			what: "a text where a mark is", there: ours(a(www, "192.0.2.1")), want: []Record{a(www, "192.0.2.1"), {Name: "a-" + www, Type: TXT, Targets: []string{"a"}}},
			says: "create a-www.example.com TXT a",
		},
		{what: "a TXT of ours and one by hand", there: []Record{{Name: www, Type: TXT, Targets: []string{"v=spf1 -all"}}}, want: []Record{a(www, "192.0.2.1")}, says: "create www.example.com A 192.0.2.1"},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.rules.Registry = registry(t, RegistryOptions{})
			w := newWorld(c.there...)
			plan := Calculate(c.want, w.read(), c.rules)
			if got := describe(plan); got != c.says {
				t.Errorf("the plan says:\n%s\nand should say:\n%s", got, c.says)
			}
			if c.because != "" && (len(plan.Findings) == 0 || !strings.Contains(plan.Findings[0].Reason, c.because)) {
				t.Errorf("findings: %+v; none says %q", plan.Findings, c.because)
			}
			w.apply(t, plan)
			if again := Calculate(c.want, w.read(), c.rules); !again.Empty() {
				t.Errorf("and then again:\n%s", describe(again))
			}
		})
	}
}

func TestTheBrakeHoldsDeletionsUntilTheyAreReleased(t *testing.T) {
	rules := Rules{Registry: registry(t, RegistryOptions{}), Brake: DefaultBrake()}
	var want []Record
	for i := range 20 {
		want = append(want, a(fmt.Sprintf("h%02d.example.com", i), "192.0.2.1"))
	}
	w := newWorld()
	w.apply(t, Calculate(want, w.read(), rules))
	for _, left := range []int{15, 14} { // 5 of 20 pass, and then 6 of 20 are no more than 30 %
		if plan := Calculate(want[:left], w.read(), rules); len(plan.Held) > 0 || len(plan.Delete) != 20-left {
			t.Errorf("%d of 20 deleted: held %v", 20-left, plan.Held)
		}
	}
	changed := slices.Clone(want[:13])
	changed[0].Targets = []string{"192.0.2.7"}
	plan := Calculate(changed, w.read(), rules)
	if len(plan.Held) != 7 || len(plan.Delete) != 0 || len(plan.Update) != 1 {
		t.Fatalf("7 of 20 deleted: %s", describe(plan))
	}
	rules.Released = plan.HeldID
	if other := Calculate(changed[:12], w.read(), rules); len(other.Held) != 8 {
		t.Error("what was released let other deletions pass")
	}
	plan = Calculate(changed, w.read(), rules)
	if len(plan.Held) != 0 || len(plan.Delete) != 7 {
		t.Errorf("released: %s", describe(plan))
	}
	w.apply(t, plan)
	if len(w.records) != 26 {
		t.Errorf("%d records and marks left, want 13 of each", len(w.records))
	}
}

func TestWhatAnEndInTheMiddleLeftIsMended(t *testing.T) {
	rules := Rules{Registry: registry(t, RegistryOptions{})}
	want := []Record{a("www.example.com", "192.0.2.1")}
	whole := newWorld()
	create := Calculate(want, whole.read(), rules)
	edits := create.Zones()[0].Changes[0].Edits
	if len(edits) != 2 || edits[0].New.Type != TXT {
		t.Fatalf("a mark comes before its record: %v", edits)
	}
	half := newWorld(*edits[0].New) // it ended after the mark
	plan := Calculate(want, half.read(), rules)
	if n := len(plan.Zones()[0].Changes[0].Edits); n != 1 {
		t.Errorf("%d edits, want the record alone", n)
	}
	half.apply(t, plan)
	whole.apply(t, create)
	remove := Calculate(nil, whole.read(), rules).Zones()[0].Changes[0].Edits
	if len(remove) != 2 || remove[1].Old.Type != TXT {
		t.Fatalf("a mark goes after its record: %v", remove)
	}
	rest := newWorld(*remove[1].Old) // it ended after the record
	rest.apply(t, Calculate(nil, rest.read(), rules))
	if len(rest.records) != 0 {
		t.Errorf("left: %v", rest.records)
	}
}

// randomRecords are few names with much in common, so that everything happens.
func randomRecords(r *rand.Rand, n int) []Record {
	names := []string{"a", "b", "a-b", "*", "cname-a", "x.sub", "txt-a-b"}
	var records []Record
	for range n {
		record := Record{
			Name: names[r.IntN(len(names))] + ".example.com", Type: []string{A, A, AAAA, CNAME, CNAME, TXT, SRV, HTTPS}[r.IntN(8)],
			Resource: fmt.Sprintf("httproute/default/%d", r.IntN(3)), TTL: time.Duration(r.IntN(2)) * time.Minute,
		}
		switch record.Type {
		case A:
			record.Targets = []string{fmt.Sprintf("192.0.2.%d", 1+r.IntN(3)), fmt.Sprintf("192.0.2.%d", 1+r.IntN(3))}
		case AAAA:
			record.Targets = []string{fmt.Sprintf("2001:db8::%d", 1+r.IntN(3))}
		case CNAME:
			record.Targets = []string{fmt.Sprintf("t%d.example.org", r.IntN(3))}
		case TXT:
			record.Targets = []string{fmt.Sprintf("text %d", r.IntN(3)), strings.Repeat(`"a\`, 100)}[:1+r.IntN(2)]
		case SRV:
			record.Targets = []string{fmt.Sprintf("0 50 %d T.example.org", 30000+r.IntN(3))}
		case HTTPS:
			record.Targets = []string{fmt.Sprintf("1 . port=%d alpn=h2,h3", 443+r.IntN(2))}
		}
		records = append(records, record)
	}
	return records
}

// randomWorld has records of ours, of another owner, and of nobody.
func randomWorld(t *testing.T, r *rand.Rand, o RegistryOptions) *world {
	w := newWorld()
	for _, owner := range []string{"lintel", "other"} {
		o.Owner = owner
		w.apply(t, Calculate(randomRecords(r, r.IntN(4)), w.read(), Rules{Registry: registry(t, o), Policy: UpsertOnly}))
	}
	for _, record := range randomRecords(r, r.IntN(3)) {
		record = record.Canonical()
		taken := false
		for key := range w.records {
			taken = taken || key.Name == record.Name
		}
		if !taken {
			record.Resource = ""
			w.records[record.Key()] = record
		}
	}
	return w
}

func TestPlansConvergeInOneStepAndTouchNothingForeign(t *testing.T) {
	options := []RegistryOptions{
		{}, {Prefix: "m-"}, {Prefix: "%{record_type}-m."}, {Suffix: "-m"}, {Suffix: ".m.example.com", WildcardReplacement: "any"},
		{Suffix: "-%{record_type}", WildcardReplacement: "any"}, {Prefix: "m.", Encrypt: true, Key: strings.Repeat("k", 32)},
	}
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 1))
		o := options[seed%uint64(len(options))]
		w := randomWorld(t, r, o)
		rules := Rules{Registry: registry(t, o), Policy: Policy(r.IntN(3))}
		foreign := map[Key][]string{}
		for _, zone := range w.read() {
			for _, current := range rules.Registry.read(zone.Records).records {
				if current.Owner != "lintel" {
					foreign[current.Key()] = current.Targets
				}
			}
		}
		for key, record := range w.records {
			for _, text := range record.Targets {
				if m, ok := rules.Registry.readMark(record, text); key.Type == TXT && ok && m.claim.owner != "lintel" {
					foreign[key] = append(foreign[key], text)
				}
			}
		}
		want := randomRecords(r, r.IntN(6))
		plan := Calculate(want, w.read(), rules)
		w.apply(t, plan)
		if again := Calculate(want, w.read(), rules); !again.Empty() {
			t.Fatalf("seed %d: a second plan after\n%s\nis\n%s", seed, describe(plan), describe(again))
		}
		for key, targets := range foreign {
			for _, target := range targets {
				if !slices.Contains(w.records[key].Targets, target) {
					t.Fatalf("seed %d: %v %s was touched:\n%s", seed, key, target, describe(plan))
				}
			}
			if key.Type != TXT && len(w.records[key].Targets) != len(targets) {
				t.Fatalf("seed %d: %v got more targets:\n%s", seed, key, describe(plan))
			}
		}
	}
}

func TestDomainsSayWhatIsLookedAfter(t *testing.T) {
	for _, c := range []struct {
		domains Domains
		name    string
		match   bool
		zone    string
		touch   bool
	}{
		{Domains{}, "a.example.com", true, "example.com", true},
		{Domains{Include: []string{"example.com"}}, "example.com", true, "sub.example.com", true},
		{Domains{Include: []string{".example.com"}}, "example.com", false, "example.com", true},
		{Domains{Include: []string{"a.example.com."}}, "b.a.Example.com", true, "example.com", true},
		{Domains{Include: []string{"a.example.com"}}, "aa.example.com", false, "example.org", false},
		{Domains{Include: []string{"example.com"}, Exclude: []string{"a.example.com"}}, "b.a.example.com", false, "example.com", true},
	} {
		if got := c.domains.Match(c.name); got != c.match {
			t.Errorf("%+v matches %s: %v", c.domains, c.name, got)
		}
		if got := c.domains.touch(c.zone); got != c.touch {
			t.Errorf("%+v touches zone %s: %v", c.domains, c.zone, got)
		}
	}
}
