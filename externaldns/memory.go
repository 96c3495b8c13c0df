package externaldns

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// memory holds which sets were ever wanted, as long as there is anything of them. Who can't
// list a zone learns from it which records may be left over. It begins with the process.
type memory struct {
	mu   sync.Mutex // guards what follows
	keys map[Key]bool
}

func newMemory() *memory { return &memory{keys: map[Key]bool{}} }

func (m *memory) remember(want []Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range want {
		m.keys[r.Canonical().Key()] = true
	}
}

// about returns all sets that tell anything of what was ever wanted: those themselves, those
// that can't stand beside them, and the marks of both.
func (m *memory) about(registry *Registry) []Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[Key]bool{}
	for key := range m.keys {
		for _, part := range registry.about(key) {
			all[part] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), compareKeys)
}

// forget forgets what is neither wanted nor there.
func (m *memory) forget(want []Record, read reading, registry *Registry) {
	kept := map[Key]bool{}
	for _, r := range want {
		kept[r.Canonical().Key()] = true
	}
	there := map[Key]bool{}
	readable := map[string]bool{}
	for _, zone := range read.readable {
		readable[zone.Name] = true
		for _, r := range zone.Records {
			there[r.Canonical().Key()] = true
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.keys, func(key Key, _ bool) bool {
		zone, found := zoneOf(read.all, key.Name)
		if kept[key] || found && !readable[zone.Name] {
			return false
		}
		return !slices.ContainsFunc(registry.about(key), func(part Key) bool { return there[part] })
	})
}

// about returns the sets that tell anything of one.
func (r *Registry) about(key Key) []Key {
	kinds := []string{key.Type, CNAME} // which nothing may stand beside
	if competes(key.Type) {
		kinds = []string{A, AAAA, CNAME}
	}
	all := []Key{{r.naming.old(key.Name), TXT}}
	if key.Type == CNAME {
		for _, kind := range DefaultTypes() {
			all = append(all, Key{key.Name, kind})
		}
	}
	for _, kind := range kinds {
		all = append(all, Key{key.Name, kind}, Key{r.naming.mark(Key{key.Name, kind}), TXT})
	}
	return all
}

// old returns the name of a mark of the old format, which does not say the type.
func (n naming) old(name string) string {
	first, rest, more := strings.Cut(name, ".")
	if first == "*" && n.wildcard != "" {
		first = n.wildcard
	}
	name = strings.ReplaceAll(n.prefix, typeTemplate, "") + first + strings.ReplaceAll(n.suffix, typeTemplate, "")
	if more {
		name += "." + rest
	}
	return name
}
