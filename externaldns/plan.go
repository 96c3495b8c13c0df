package externaldns

import (
	"cmp"
	"maps"
	"slices"
)

// Policy says which changes are made.
type Policy int

// Policies, called as in ExternalDNS.
const (
	Sync       Policy = iota // all
	UpsertOnly               // nothing is deleted
	CreateOnly               // nothing is changed or deleted
)

// String is what the policy is called in settings.
func (p Policy) String() string { return [...]string{"sync", "upsert-only", "create-only"}[p] }

// Rules say what may be changed.
type Rules struct {
	Registry *Registry
	Policy   Policy
	// Types are those of the records that are looked after; nil is DefaultTypes.
	Types   []string
	Domains Domains
	Brake   Brake
	// Released is Plan.HeldID of deletions that a person let pass.
	Released string
}

// DefaultTypes are the types of records that are looked after unless others are set.
func DefaultTypes() []string { return []string{A, AAAA, CNAME, TXT, SRV, HTTPS} }

// ZoneRecords is what there is in a zone.
type ZoneRecords struct {
	Zone
	Records []Record
}

// Update is a record that is there, and what becomes of it.
type Update struct{ Old, New Record }

// Plan is what has to be done, and why some of it is not.
type Plan struct {
	Create []Record
	Update []Update
	Delete []Record
	// Held are deletions that wait for a person, by the Brake. HeldID names exactly
	// these, for Rules.Released.
	Held   []Record
	HeldID string
	// Findings are wanted records that are not, or not yet, as they are wanted.
	Findings []Finding
	// Owned is how many of the records that are there are ours.
	Owned int

	zones []ZoneChanges
}

// Empty tells whether nothing has to be done.
func (p *Plan) Empty() bool { return len(p.zones) == 0 }

// Zones returns the changes for the providers, in the order of zones' names.
func (p *Plan) Zones() []ZoneChanges { return p.zones }

// Finding is a wanted record, and why it is not made.
type Finding struct {
	Record Record
	Kind   FindingKind
	Reason string // for people
}

// FindingKind tells findings apart.
type FindingKind int

// Kinds of findings.
const (
	Invalid  FindingKind = iota // it can't be a record
	Filtered                    // it lies outside of what is looked after
	NoZone                      // no zone of the provider has its name
	Foreign                     // the name is somebody else's
	Conflict                    // another wanted record was chosen
	Withheld                    // the policy, or the brake, keeps it
)

// String is a word for metrics.
func (k FindingKind) String() string {
	return [...]string{"invalid", "filtered", "no-zone", "foreign", "conflict", "withheld"}[k]
}

// Calculate compares what is wanted with what there is. It never fails: what is wrong
// with a record becomes a Finding. Equal input has an equal Plan, in the same order,
// but for encrypted marks. It does not change its input, and after its changes it has
// nothing left to do.
func Calculate(want []Record, there []ZoneRecords, rules Rules) *Plan {
	c := newCalculation(there, rules)
	c.collect(want)
	for _, name := range slices.Sorted(maps.Keys(c.rows)) {
		c.decide(c.rows[name])
	}
	c.brake()
	for _, name := range slices.Sorted(maps.Keys(c.rows)) {
		c.carryOut(c.rows[name])
	}
	c.sweep()
	return c.finish()
}

// competes tells whether records of a type can't be somebody's at a name at which
// others belong to somebody else.
func competes(kind string) bool { return kind == A || kind == AAAA || kind == CNAME }

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type))
}

// row is a name with what there is and what is wanted there.
type row struct {
	name    string
	zone    *zoneView
	current map[string]Current  // by type
	wanted  map[string][]Record // by type: candidates
	create  []Record
	update  []Update
	remove  []Current
}

// zoneView is a zone while a Plan is made.
type zoneView struct {
	Zone
	state   zoneState
	named   map[string][]Current // all of state.records
	texts   map[string]Record    // all TXT records, by name
	changes []Change
}

// calculation is a Plan in the making.
type calculation struct {
	rules Rules
	types []string
	zones []Zone
	views map[string]*zoneView // by name
	rows  map[string]*row      // by name
	plan  *Plan
}

func newCalculation(there []ZoneRecords, rules Rules) *calculation {
	c := &calculation{rules: rules, types: rules.Types, views: map[string]*zoneView{}, rows: map[string]*row{}, plan: &Plan{}}
	if c.types == nil {
		c.types = DefaultTypes()
	}
	for _, z := range there {
		z.Name = canonicalName(z.Name)
		view := &zoneView{Zone: z.Zone, state: rules.Registry.read(z.Records), texts: map[string]Record{}, named: map[string][]Current{}}
		for _, current := range view.state.records {
			view.named[current.Name] = append(view.named[current.Name], current)
		}
		for _, r := range z.Records {
			if r = r.Canonical(); r.Type == TXT {
				view.texts[r.Name] = r
			}
		}
		c.zones = append(c.zones, z.Zone)
		c.views[z.Name] = view
	}
	for _, name := range slices.Sorted(maps.Keys(c.views)) {
		view := c.views[name]
		for _, current := range view.state.records {
			if !c.managed(current.Record) {
				continue
			}
			c.row(current.Key(), view).current[current.Type] = current
			if c.owns(current) {
				c.plan.Owned++
			}
		}
	}
	return c
}

func (c *calculation) managed(r Record) bool {
	return slices.Contains(c.types, r.Type) && c.rules.Domains.Match(r.Name)
}

func (c *calculation) owns(current Current) bool { return current.Owner == c.rules.Registry.owner }

func (c *calculation) row(k Key, view *zoneView) *row {
	if c.rows[k.Name] == nil {
		c.rows[k.Name] = &row{name: k.Name, zone: view, current: map[string]Current{}, wanted: map[string][]Record{}}
	}
	return c.rows[k.Name]
}

func (c *calculation) find(r Record, kind FindingKind, reason string) {
	c.plan.Findings = append(c.plan.Findings, Finding{r, kind, reason})
}

// collect puts what is wanted into rows.
func (c *calculation) collect(want []Record) {
	for _, r := range want {
		r = r.Canonical()
		if err := r.Check(); err != nil {
			c.find(r, Invalid, err.Error())
			continue
		}
		if r.Type == TXT && slices.ContainsFunc(r.Targets, isMark) {
			c.find(r, Invalid, "its text would say whose another record is, as marks do")
			continue
		}
		if !slices.Contains(c.types, r.Type) {
			c.find(r, Filtered, r.Type+" records are not among the types that are looked after (setting dns-record-types)")
			continue
		}
		if !c.rules.Domains.Match(r.Name) {
			c.find(r, Filtered, r.Name+" is outside of the domains that are looked after (settings dns-domains and dns-exclude-domains)")
			continue
		}
		zone, found := zoneOf(c.zones, r.Name)
		if !found {
			c.find(r, NoZone, "the provider has no zone for "+r.Name+", or none of those that are looked after (settings dns-zones and dns-zone-ids)")
			continue
		}
		row := c.row(r.Key(), c.views[zone.Name])
		row.wanted[r.Type] = append(row.wanted[r.Type], r)
	}
}

// finish puts the Plan together.
func (c *calculation) finish() *Plan {
	for _, name := range slices.Sorted(maps.Keys(c.views)) {
		if view := c.views[name]; len(view.changes) > 0 {
			c.plan.zones = append(c.plan.zones, ZoneChanges{Zone: view.Zone, Changes: view.changes})
		}
	}
	slices.SortStableFunc(c.plan.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Record.Name, b.Record.Name), cmp.Compare(a.Record.Type, b.Record.Type), cmp.Compare(a.Record.Resource, b.Record.Resource))
	})
	return c.plan
}
