package externaldns

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestWhoLooksUpNamesKnowsWhatWhoReadsZonesKnows compares plans made of whole zones with those
// made of what there is about names that were wanted at some time.
func TestWhoLooksUpNamesKnowsWhatWhoReadsZonesKnows(t *testing.T) {
	options := []RegistryOptions{{}, {Prefix: "m-"}, {Prefix: "%{record_type}-m."}, {Suffix: "-m"}, {Suffix: "-%{record_type}", WildcardReplacement: "any"}}
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		o := options[seed%uint64(len(options))]
		w := randomWorld(t, r, o)
		rules := Rules{Registry: registry(t, o), Policy: Policy(r.IntN(3))}
		want := randomRecords(r, r.IntN(6))
		m := newMemory()
		m.remember(want)
		for _, zone := range w.read() {
			for _, current := range rules.Registry.read(zone.Records).records {
				if current.Owner == "lintel" {
					m.remember([]Record{current.Record})
				}
			}
		}
		about := m.about(rules.Registry)
		var found []ZoneRecords
		for _, zone := range w.read() {
			zone.Records = slices.DeleteFunc(zone.Records, func(r Record) bool { return !slices.Contains(about, r.Canonical().Key()) })
			found = append(found, zone)
		}
		looked, read := Calculate(want, found, rules), Calculate(want, w.read(), rules)
		if got, full := describe(looked), describe(read); got != full {
			t.Fatalf("seed %d, %+v: by look-ups\n%s\nby reading\n%s", seed, o, got, full)
		}
	}
}

func TestWhatIsNeitherWantedNorThereIsForgotten(t *testing.T) {
	rules := registry(t, RegistryOptions{})
	wanted, there, gone, unread := a("w.example.com", "192.0.2.1"), a("t.example.com", "192.0.2.1"), a("g.example.com", "192.0.2.1"), a("x.sub.example.com", "192.0.2.1")
	m := newMemory()
	m.remember([]Record{wanted, there, gone, unread})
	w := newWorld(marked(t, "lintel", there)[1]) // its mark alone
	m.forget([]Record{wanted}, reading{all: w.zones, readable: w.read()[:1]}, rules)
	for key, kept := range map[Key]bool{wanted.Key(): true, there.Key(): true, gone.Key(): false, unread.Key(): true} {
		if m.keys[key] != kept {
			t.Errorf("%v: kept %v", key, m.keys[key])
		}
	}
}
