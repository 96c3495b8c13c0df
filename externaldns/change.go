package externaldns

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Edit is one step of a Change: from what there is to what shall be. A nil Old is a
// set that is not there; a nil New is one that goes.
type Edit struct{ Old, New *Record }

// Change is what happens at one name: records and their marks. It is made as a whole
// where a provider can do that. Where it can't, edits are made in this order, and
// none after one that failed: then no record stands without its mark.
type Change struct{ Edits []Edit }

// ZoneChanges are those of a zone.
type ZoneChanges struct {
	Zone
	Changes []Change
}

// String is for logs.
func (e Edit) String() string {
	switch {
	case e.Old == nil:
		return "create " + e.New.String()
	case e.New == nil:
		return "delete " + e.Old.String()
	}
	return fmt.Sprintf("change %s to %s", e.Old, e.New)
}

// carryOut adds a row to the Plan and to the changes of its zone.
func (c *calculation) carryOut(r *row) {
	var marks, edits, unmarks []Edit
	for _, current := range r.remove {
		c.plan.Delete = append(c.plan.Delete, current.Record)
		edits = append(edits, r.zone.edit(&current.Record, nil)...)
		unmarks = append(unmarks, c.unmark(r, current)...)
	}
	for _, u := range r.update {
		c.plan.Update = append(c.plan.Update, u)
		edits = append(edits, r.zone.edit(&u.Old, &u.New)...)
		marks = append(marks, c.mark(r.zone, u.New)...)
	}
	for _, created := range r.create {
		c.plan.Create = append(c.plan.Create, created)
		edits = append(edits, r.zone.edit(nil, &created)...)
		marks = append(marks, c.mark(r.zone, created)...)
	}
	if all := slices.Concat(marks, edits, unmarks); len(all) > 0 {
		r.zone.changes = append(r.zone.changes, Change{Edits: all})
	}
}

// edit returns what makes one record of another. Texts that are no part of a TXT record, and
// marks are none, stay as they are.
func (v *zoneView) edit(was, is *Record) []Edit {
	record := was
	if is != nil {
		record = is
	}
	if record.Type != TXT {
		return []Edit{{Old: was, New: is}}
	}
	set, there := v.texts[record.Name]
	all := *record
	all.Targets = slices.Clone(set.Targets)
	if was != nil {
		all.Targets = slices.DeleteFunc(all.Targets, func(text string) bool { return slices.Contains(was.Targets, text) })
	}
	if is != nil {
		all.Targets = append(all.Targets, is.Targets...)
		slices.Sort(all.Targets)
	}
	switch {
	case len(all.Targets) == 0:
		delete(v.texts, record.Name)
		return []Edit{{Old: &set}}
	case !there:
		v.texts[record.Name] = all
		return []Edit{{New: &all}}
	}
	v.texts[record.Name] = all
	return []Edit{{Old: &set, New: &all}}
}

// mark returns what makes a record's mark say the truth.
func (c *calculation) mark(view *zoneView, r Record) []Edit {
	registry := c.rules.Registry
	key := Key{registry.naming.unwild(r.Name), r.Type}
	for _, m := range view.state.marks[key] {
		if m.claim == (claim{registry.owner, r.Resource}) {
			return nil
		}
	}
	name := registry.naming.mark(r.Key())
	set, there := view.texts[name]
	stays := slices.DeleteFunc(slices.Clone(set.Targets), func(text string) bool {
		return slices.ContainsFunc(view.state.marks[key], func(m mark) bool {
			return m.set.Name == name && m.text == text && m.claim.owner == registry.owner
		})
	})
	marked := Record{Name: name, Type: TXT, TTL: set.TTL, Proxied: set.Proxied, Targets: append(stays, registry.write(r.Resource))}
	slices.Sort(marked.Targets)
	view.texts[name] = marked
	if !there {
		return []Edit{{New: &marked}}
	}
	return []Edit{{Old: &set, New: &marked}}
}

// unmark returns what takes a record's marks away. One without a type stays while
// another record may live by it.
func (c *calculation) unmark(r *row, current Current) []Edit {
	name := c.rules.Registry.naming.unwild(current.Name)
	marks := slices.Clone(r.zone.state.marks[Key{name, current.Type}])
	last := current.Type == A || current.Type == CNAME
	for kind := range r.current {
		gone := slices.ContainsFunc(r.remove, func(other Current) bool { return other.Type == kind })
		last = last && (kind != A && kind != CNAME || gone)
	}
	if last {
		marks = append(marks, r.zone.state.marks[Key{name, ""}]...)
	}
	var edits []Edit
	for _, m := range marks {
		edits = append(edits, c.erase(r.zone, m)...)
	}
	return edits
}

// erase takes a mark out of the TXT records of its name, if it is ours and still there.
func (c *calculation) erase(view *zoneView, m mark) []Edit {
	set, there := view.texts[m.set.Name]
	if !there || m.claim.owner != c.rules.Registry.owner || !slices.Contains(set.Targets, m.text) {
		return nil
	}
	rest := set
	rest.Targets = slices.DeleteFunc(slices.Clone(set.Targets), func(text string) bool { return text == m.text })
	if len(rest.Targets) == 0 {
		delete(view.texts, m.set.Name)
		return []Edit{{Old: &set}}
	}
	view.texts[m.set.Name] = rest
	return []Edit{{Old: &set, New: &rest}}
}

// sweep takes away marks of ours whose record is neither there nor wanted: they are
// left when something ended between the two. A name that can be read as that of an old
// mark without a type is left alone while it may be one.
func (c *calculation) sweep() {
	if c.rules.Policy != Sync {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.views)) {
		view := c.views[name]
		names := map[Key]bool{}
		for _, current := range view.state.records {
			names[Key{c.rules.Registry.naming.unwild(current.Name), current.Type}] = true
			names[Key{Name: c.rules.Registry.naming.unwild(current.Name)}] = true
		}
		for _, r := range c.rows {
			for kind := range r.wanted {
				names[Key{c.rules.Registry.naming.unwild(r.name), kind}] = true
			}
		}
		for _, key := range slices.SortedFunc(maps.Keys(view.state.marks), compareKeys) {
			old := Key{Name: strings.ToLower(key.Type) + "-" + key.Name}
			if key.Type == "" || names[key] || names[old] || !c.managed(Record{Name: key.Name, Type: key.Type}) {
				continue
			}
			for _, m := range view.state.marks[key] {
				if edits := c.erase(view, m); edits != nil {
					view.changes = append(view.changes, Change{Edits: edits})
				}
			}
		}
	}
}
