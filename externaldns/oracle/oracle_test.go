// Package oracle compares Lintel's DNS records with ExternalDNS itself: its plan and
// its TXT registry run beside ours, on the same zones. It is a module of its own, so
// that nothing of ExternalDNS enters Lintel's.
package oracle

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/lintel-dev/lintel/externaldns"
	"sigs.k8s.io/external-dns/endpoint"
	"sigs.k8s.io/external-dns/plan"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// randomRecords are few names with much in common, so that everything happens. A name
// and type is wanted by few resources.
func randomRecords(r *rand.Rand, n int) []externaldns.Record {
	names := []string{"a", "b", "a-b", "*", "cname-a", "x.sub"}
	var records []externaldns.Record
	for range n {
		record := externaldns.Record{
			Name: names[r.IntN(len(names))] + ".example.com", Type: []string{"A", "A", "AAAA", "CNAME", "SRV", "TXT"}[r.IntN(6)],
			Resource: fmt.Sprintf("%s/default/%d", []string{"httproute", "service", "crd"}[r.IntN(3)], r.IntN(2)), TTL: time.Duration(r.IntN(2)) * time.Minute,
		}
		switch record.Type {
		case "A":
			record.Targets = []string{fmt.Sprintf("192.0.2.%d", 1+r.IntN(3)), fmt.Sprintf("192.0.2.%d", 1+r.IntN(3))}
		case "AAAA":
			record.Targets = []string{fmt.Sprintf("2001:db8::%d", 1+r.IntN(3))}
		case "CNAME":
			record.Targets = []string{fmt.Sprintf("t%d.example.org", r.IntN(3))}
		case "SRV":
			record.Targets = []string{fmt.Sprintf("0 50 %d x.example.com.", 30000+r.IntN(3))}
		case "TXT":
			record.Targets = []string{fmt.Sprintf("text %d", r.IntN(3))}
			// ExternalDNS can't have a text where a mark is.
			record.Name = strings.NewReplacer("a-b.", "b.", "cname-a.", "a.").Replace(record.Name)
		}
		records = append(records, record)
	}
	return records
}

// randomWorld has records of ours, of another owner, and of nobody, made by ExternalDNS.
func randomWorld(t *testing.T, r *rand.Rand, s setup) *world {
	w := newWorld()
	s.policy = externaldns.UpsertOnly
	for _, owner := range []string{"lintel", "other"} {
		s.owner = owner
		var want []externaldns.Record
		for _, record := range randomRecords(r, r.IntN(4)) {
			if !slices.ContainsFunc(w.sorted(), func(there externaldns.Record) bool { return there.Name == record.Name }) {
				want = append(want, record)
			}
		}
		s.theirs(t, w, want)
	}
	for _, record := range randomRecords(r, r.IntN(3)) {
		if !slices.ContainsFunc(w.sorted(), func(there externaldns.Record) bool { return there.Name == record.Name }) {
			record.Resource = ""
			record = record.Canonical()
			w.records[record.Key()] = record
		}
	}
	w.writes = 0
	return w
}

func ours(p *externaldns.Plan) []string {
	var lines []string
	for _, r := range p.Create {
		lines = append(lines, "create "+r.String())
	}
	for _, u := range p.Update {
		lines = append(lines, fmt.Sprintf("update %s to %s TTL %s", u.Old, u.New, u.New.TTL))
	}
	for _, r := range p.Delete {
		lines = append(lines, "delete "+r.String())
	}
	slices.Sort(lines)
	return lines
}

func theirs(c *plan.Changes) []string {
	var lines []string
	for _, e := range c.Create {
		lines = append(lines, "create "+fromEndpoint(e).String())
	}
	for i, e := range c.UpdateNew {
		old, updated := fromEndpoint(c.UpdateOld[i]), fromEndpoint(e)
		if updated.TTL == 0 { // theirs forgets it; ours keeps what is there
			updated.TTL = old.TTL
		}
		lines = append(lines, fmt.Sprintf("update %s to %s TTL %s", old, updated, updated.TTL))
	}
	for _, e := range c.Delete {
		lines = append(lines, "delete "+fromEndpoint(e).String())
	}
	slices.Sort(lines)
	return lines
}

// ambiguous tells whether ExternalDNS would ask its provider for what can't be: with a
// policy that deletes nothing, it wants a CNAME beside addresses. Ours waits, and says
// why. And where somebody else has a text or service at a name, ExternalDNS makes no address
// there, or the other way round; ours does, because nothing speaks against it.
func ambiguous(t *testing.T, w *world, want []externaldns.Record, s setup) bool {
	t.Helper()
	current, err := s.upstream(t, w).Records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, there := range current {
		for _, wanted := range want {
			if wanted.Name != there.DNSName || wanted.Type == there.RecordType {
				continue
			}
			replaces := (wanted.Type == "CNAME") != (there.RecordType == "CNAME")
			beside := slices.Contains([]string{"SRV", "TXT"}, wanted.Type) || slices.Contains([]string{"SRV", "TXT"}, there.RecordType)
			if s.policy != externaldns.Sync && replaces || beside && there.Labels[endpoint.OwnerLabelKey] != s.owner {
				return true
			}
		}
	}
	return false
}

func TestPlansAreTheSame(t *testing.T) {
	compared, changes := 0, 0
	for seed := range uint64(1200) {
		r := rand.New(rand.NewPCG(seed, 2))
		s := setups()[seed%uint64(len(setups()))]
		w := randomWorld(t, r, s)
		s.policy = externaldns.Policy(r.IntN(3))
		want := randomRecords(r, r.IntN(6))
		if ambiguous(t, w, want, s) {
			continue
		}
		p, c := s.ours(t, w.clone(), want), s.theirs(t, w.clone(), want)
		if !slices.Equal(ours(p), theirs(c)) {
			t.Fatalf("seed %d, %+v:\nthere: %v\nwanted: %v\nours:\n%s\ntheirs:\n%s", seed, s, w.sorted(), want,
				strings.Join(ours(p), "\n"), strings.Join(theirs(c), "\n"))
		}
		compared++
		changes += len(ours(p))
	}
	if compared < 800 || changes < 800 {
		t.Errorf("only %d plans with %d changes were compared", compared, changes)
	}
}

// Each takes over from the other, again and again while what is wanted changes, and
// never finds anything to do.
func TestEitherTakesOverFromTheOtherWithoutAWrite(t *testing.T) {
	takenOver := 0
	for seed := range uint64(240) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := setups()[seed%uint64(len(setups()))]
		w := randomWorld(t, r, s)
		for range 6 {
			want := randomRecords(r, r.IntN(6))
			if ambiguous(t, w, want, s) {
				continue
			}
			s.theirs(t, w, want)
			w.writes = 0
			if s.ours(t, w, want); w.writes != 0 {
				t.Fatalf("seed %d, %+v: %d writes of ours after theirs", seed, s, w.writes)
			}
			if want = randomRecords(r, r.IntN(6)); ambiguous(t, w, want, s) {
				continue
			}
			s.ours(t, w, want)
			takenOver++
			w.writes = 0
			if s.theirs(t, w, want); w.writes != 0 {
				t.Fatalf("seed %d, %+v: %d writes of theirs after ours", seed, s, w.writes)
			}
		}
	}
	if takenOver < 500 {
		t.Errorf("only %d times", takenOver)
	}
}

// What ours writes is, byte for byte, what theirs does.
func TestMarksAreTheSameBytes(t *testing.T) {
	for _, s := range setups() {
		want := []externaldns.Record{
			{Name: "www.example.com", Type: "A", Targets: []string{"192.0.2.1"}, Resource: "httproute/default/www"},
			{Name: "*.example.com", Type: "CNAME", Targets: []string{"t.example.org"}, Resource: "ingress/default/any"},
			{Name: "x.sub.example.com", Type: "AAAA", Targets: []string{"2001:db8::1"}},
			{Name: "_web._tcp.node.example.com", Type: "SRV", Targets: []string{"0 50 30080 node.example.com."}, Resource: "service/default/web"},
			{Name: "text.example.com", Type: "TXT", Targets: []string{"a text"}, Resource: "crd/default/text"},
		}
		a, b := newWorld(), newWorld()
		s.ours(t, a, want)
		s.theirs(t, b, want)
		if s.key == "" {
			if !slices.EqualFunc(a.sorted(), b.sorted(), func(x, y externaldns.Record) bool { return x.String() == y.String() }) {
				t.Errorf("%+v:\nours:   %v\ntheirs: %v", s, a.sorted(), b.sorted())
			}
			continue
		}
		for _, r := range a.sorted() { // encrypted with a nonce: each opens the other's
			if r.Type != "TXT" || r.Name == "text.example.com" {
				continue
			}
			labels, err := endpoint.NewLabelsFromString(r.Targets[0], keyBytes(s.key))
			if err != nil || labels[endpoint.OwnerLabelKey] != "lintel" {
				t.Errorf("%+v: theirs reads %s as %v, %v", s, r, labels, err)
			}
		}
	}
}
