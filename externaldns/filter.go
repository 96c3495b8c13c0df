package externaldns

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Domains says which names are looked after. A domain stands for itself and for what is
// below it; with a dot before it, for what is below it alone. The zero value is all.
type Domains struct {
	Include []string // empty is all
	Exclude []string
}

// Match tells whether a name is looked after.
func (d Domains) Match(name string) bool {
	name = canonicalName(name)
	matches := func(domain string) bool {
		domain = canonicalName(domain)
		if strings.HasPrefix(domain, ".") {
			return strings.HasSuffix(name, domain)
		}
		return domain != "" && within(name, domain)
	}
	return (len(d.Include) == 0 || slices.ContainsFunc(d.Include, matches)) && !slices.ContainsFunc(d.Exclude, matches)
}

// Brake stops deletions that are too many to be meant: those that would take more than
// Share of our records and are more than Least wait for a person. Records that are
// replaced by others of their name don't count. The zero value stops nothing.
type Brake struct {
	Share float64 // of 1
	Least int
}

// DefaultBrake is for those who set none.
func DefaultBrake() Brake { return Brake{Share: 0.3, Least: 5} }

// brake marks the rows whose deletions wait.
func (c *calculation) brake() {
	var rows []*row
	var doomed []Record
	for _, name := range slices.Sorted(maps.Keys(c.rows)) {
		r := c.rows[name]
		for _, current := range r.remove {
			if !r.replaces(current.Type) {
				rows = append(rows, r)
				doomed = append(doomed, current.Record)
			}
		}
	}
	limit := c.rules.Brake
	if limit == (Brake{}) || len(doomed) <= limit.Least || float64(len(doomed)) <= limit.Share*float64(c.plan.Owned) {
		return
	}
	id := fingerprint(doomed)
	if id == c.rules.Released {
		return
	}
	for _, r := range rows {
		r.remove = slices.DeleteFunc(r.remove, func(current Current) bool { return !r.replaces(current.Type) })
	}
	c.plan.Held, c.plan.HeldID = doomed, id
}

// replaces tells whether something is wanted that takes the place of a record: an address
// that of a name, or whatever can't stand beside it.
func (r *row) replaces(kind string) bool {
	for wanted := range r.wanted {
		if wanted == CNAME || kind == CNAME || competes(kind) && competes(wanted) {
			return true
		}
	}
	return false
}

// fingerprint names a list of records.
func fingerprint(records []Record) string {
	h := sha256.New()
	for _, r := range records {
		fmt.Fprintln(h, r)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}
