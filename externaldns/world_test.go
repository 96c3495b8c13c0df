package externaldns

import (
	"cmp"
	"maps"
	"slices"
	"testing"
)

// world is zones in memory, for tests of what is pure.
type world struct {
	zones   []Zone
	records map[Key]Record
}

func newWorld(records ...Record) *world {
	w := &world{zones: []Zone{{"1", "example.com"}, {"2", "sub.example.com"}}, records: map[Key]Record{}}
	for _, r := range records {
		r = r.Canonical()
		w.records[r.Key()] = r
	}
	return w
}

func (w *world) read() []ZoneRecords {
	there := make([]ZoneRecords, len(w.zones))
	for i, z := range w.zones {
		there[i].Zone = z
	}
	for _, key := range slices.SortedFunc(maps.Keys(w.records), compareKeys) {
		zone, _ := zoneOf(w.zones, key.Name)
		i := slices.Index(w.zones, zone)
		there[i].Records = append(there[i].Records, w.records[key])
	}
	return there
}

// apply does what a provider would, and fails the test where one would refuse.
func (w *world) apply(t *testing.T, p *Plan) {
	t.Helper()
	for _, zone := range p.Zones() {
		for _, change := range zone.Changes {
			for _, e := range change.Edits {
				w.edit(t, zone.Zone, e)
			}
		}
	}
	for key := range w.records {
		if _, there := w.records[Key{key.Name, CNAME}]; there && key.Type != CNAME && key.Type != TXT {
			t.Fatalf("%s has a CNAME and %s", key.Name, key.Type)
		}
	}
}

func (w *world) edit(t *testing.T, zone Zone, e Edit) {
	t.Helper()
	if e.Old != nil {
		there, found := w.records[e.Old.Key()]
		if !found || there.differs(*e.Old) || !slices.Equal(there.Targets, e.Old.Targets) {
			t.Fatalf("%s: there is %v", e, there)
		}
		delete(w.records, e.Old.Key())
	}
	if e.New != nil {
		if there, found := w.records[e.New.Key()]; found {
			t.Fatalf("%s: there is %v already", e, there)
		}
		if own, _ := zoneOf(w.zones, e.New.Name); own != zone {
			t.Fatalf("%s: not in zone %s", e, zone.Name)
		}
		stored := *e.New
		stored.Resource = ""
		w.records[stored.Key()] = stored
	}
}

func registry(t testing.TB, o RegistryOptions) *Registry {
	t.Helper()
	o.Owner = cmp.Or(o.Owner, "lintel")
	r, err := NewRegistry(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func a(name, address string) Record {
	return Record{Name: name, Type: A, Targets: []string{address}, Resource: "httproute/default/" + name}
}

func cname(name, to string) Record {
	return Record{Name: name, Type: CNAME, Targets: []string{to}, Resource: "httproute/default/" + name}
}

// marked is a record with the mark that an owner gives it.
func marked(t testing.TB, owner string, r Record) []Record {
	o := registry(t, RegistryOptions{Owner: owner})
	bare := r
	bare.Resource = ""
	return []Record{bare, {Name: o.naming.mark(r.Key()), Type: TXT, Targets: []string{o.write(r.Resource)}}}
}
