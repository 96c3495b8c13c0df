package externaldns

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// decide says what becomes of a row.
func (c *calculation) decide(r *row) {
	c.preferAddresses(r)
	for _, kind := range slices.Sorted(maps.Keys(r.both())) {
		current, there := r.current[kind]
		candidates := r.wanted[kind]
		switch {
		case len(candidates) == 0:
			if c.owns(current) {
				r.remove = append(r.remove, current)
			}
		case !there:
			r.create = append(r.create, c.choose(candidates, ""))
		default:
			c.compare(r, current, c.choose(candidates, current.Resource))
		}
	}
	r.create = slices.DeleteFunc(r.create, func(wanted Record) bool { return !c.mayCreate(r, wanted) })
	c.applyPolicy(r)
}

func (r *row) both() map[string]struct{} {
	kinds := map[string]struct{}{}
	for kind := range r.current {
		kinds[kind] = struct{}{}
	}
	for kind := range r.wanted {
		kinds[kind] = struct{}{}
	}
	return kinds
}

// preferAddresses resolves what can't stand at one name (RFC 1034 section 3.6.2), as
// ExternalDNS does: a CNAME gives way.
func (c *calculation) preferAddresses(r *row) {
	var others []Record
	for _, kind := range slices.Sorted(maps.Keys(r.wanted)) {
		if kind != CNAME {
			others = append(others, r.wanted[kind]...)
		}
	}
	if len(r.wanted[CNAME]) == 0 || len(others) == 0 {
		return
	}
	for _, loser := range r.wanted[CNAME] {
		c.find(loser, Conflict, fmt.Sprintf("a CNAME can't stand beside the %s record that %s wants for %s", others[0].Type, resource(others[0]), loser.Name))
	}
	delete(r.wanted, CNAME)
}

// choose takes one of several candidates for a set: that of the resource which has it
// already, or the least.
func (c *calculation) choose(candidates []Record, has string) Record {
	chosen := slices.MinFunc(candidates, compareTargets)
	if has != "" {
		own := slices.DeleteFunc(slices.Clone(candidates), func(r Record) bool { return r.Resource != has })
		if len(own) > 0 {
			chosen = slices.MinFunc(own, compareTargets)
		}
	}
	for _, loser := range candidates {
		if loser.Resource != chosen.Resource && !slices.Equal(loser.Targets, chosen.Targets) {
			c.find(loser, Conflict, fmt.Sprintf("%s has %s", resource(chosen), chosen))
		}
	}
	return chosen
}

func resource(r Record) string {
	if r.Resource == "" {
		return "another resource"
	}
	return r.Resource
}

// compare finds out whether a record that is there has to change.
func (c *calculation) compare(r *row, current Current, wanted Record) {
	switch differs := wanted.differs(current.Record); {
	case !c.owns(current):
		c.find(wanted, Foreign, "the record that is there "+belongs(current))
	case differs:
		r.update = append(r.update, Update{Old: current.Record, New: wanted.completed(current.Record)})
	}
}

func belongs(current Current) string {
	if current.Owner == "" {
		return fmt.Sprintf("(%s) has no mark of an owner: delete it, or mark it as ours", current.Record)
	}
	return fmt.Sprintf("(%s) belongs to owner %q", current.Record, current.Owner)
}

// mayCreate tells whether nobody else has the name.
func (c *calculation) mayCreate(r *row, wanted Record) bool {
	for _, kind := range slices.Sorted(maps.Keys(r.current)) {
		if current := r.current[kind]; !c.owns(current) && (kind == CNAME || competes(kind) && competes(wanted.Type)) {
			c.find(wanted, Foreign, "the name is taken: the record that is there "+belongs(current))
			return false
		}
	}
	registry := c.rules.Registry
	name := registry.naming.unwild(wanted.Name)
	for _, m := range slices.Concat(r.zone.state.marks[Key{name, wanted.Type}], r.zone.state.marks[Key{name, ""}]) {
		if m.claim.owner != registry.owner {
			c.find(wanted, Foreign, fmt.Sprintf("owner %q claims the name by the TXT record %s", m.claim.owner, m.set.Name))
			return false
		}
	}
	for _, current := range r.zone.named[wanted.Name] {
		goes := slices.ContainsFunc(r.remove, func(other Current) bool { return other.Type == current.Type })
		if !goes && !compatible(wanted.Type, current.Type) {
			c.find(wanted, Foreign, fmt.Sprintf("it can't stand beside the record that is there (%s): a CNAME stands alone", current.Record))
			return false
		}
	}
	return c.canMark(r.zone, wanted)
}

// compatible tells whether a record may be made beside one that is there. Providers let a CNAME
// stand beside texts, as the marks of old versions are.
func compatible(wanted, there string) bool {
	return wanted == there || wanted != CNAME && there != CNAME || wanted == CNAME && there == TXT
}

// canMark tells whether a record's mark can stand in its zone.
func (c *calculation) canMark(view *zoneView, wanted Record) bool {
	name := c.rules.Registry.naming.mark(wanted.Key())
	unstarred := strings.ReplaceAll(name, "*", "x") // some providers take a * anywhere, and say so if not
	if err := (Record{Name: unstarred, Type: TXT, Targets: []string{"x"}}).Check(); err != nil {
		c.find(wanted, Invalid, fmt.Sprintf("its mark can't be called %s: %v", name, err))
		return false
	}
	if zone, found := zoneOf(c.zones, name); !found || zone.Name != view.Name {
		c.find(wanted, NoZone, fmt.Sprintf("its mark %s would lie outside of zone %s: set a prefix for marks that ends in a dot, like %q", name, view.Name, typeTemplate+"-mark."))
		return false
	}
	return true
}

// applyPolicy takes out what the policy does not allow, and what can't be done without
// it.
func (c *calculation) applyPolicy(r *row) {
	policy := c.rules.Policy
	if policy == CreateOnly {
		for _, u := range r.update {
			c.find(u.New, Withheld, "policy create-only changes nothing")
		}
		r.update = nil
	}
	if policy == Sync || len(r.remove) == 0 {
		return
	}
	r.create = slices.DeleteFunc(r.create, func(wanted Record) bool {
		blocked := slices.ContainsFunc(r.remove, func(old Current) bool { return (old.Type == CNAME) != (wanted.Type == CNAME) })
		if blocked {
			c.find(wanted, Withheld, fmt.Sprintf("policy %s deletes nothing, and it can't stand beside the record that is there (%s)", policy, r.remove[0].Record))
		}
		return blocked
	})
	r.remove = nil
}
