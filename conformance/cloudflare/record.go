package cloudflare

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Record is a DNS record as the API has it.
type Record struct {
	ID         string         `json:"id,omitempty"`
	Name       string         `json:"name"` // in full; a name relative to the zone, and "@", are completed
	Type       string         `json:"type"`
	Content    string         `json:"content"`
	TTL        int            `json:"ttl"` // seconds; 1 and zero are automatic
	Proxied    bool           `json:"proxied"`
	Proxiable  bool           `json:"proxiable"`
	Priority   *uint16        `json:"priority,omitempty"` // of MX, SRV and URI
	Data       map[string]any `json:"data,omitempty"`     // of SRV, HTTPS, SVCB and CAA
	Comment    *string        `json:"comment"`
	Tags       []string       `json:"tags"`
	CreatedOn  time.Time      `json:"created_on"`
	ModifiedOn time.Time      `json:"modified_on"`
}

func compareRecords(a, b Record) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Content, b.Content), cmp.Compare(a.ID, b.ID))
}

// bounds are what a plan allows.
type bounds struct{ batch, tags, comment, leastTTL int }

func (p Plan) bounds() bounds {
	if p == Free {
		return bounds{batch: 200, tags: 0, comment: 100, leastTTL: 60}
	}
	return bounds{batch: 3500, tags: 20, comment: 500, leastTTL: 60}
}

// check completes a record, or says what is wrong with it.
func (r *Record) check(zone string, limits bounds) *Failure {
	if failure := r.checkName(zone); failure != nil {
		return failure
	}
	if failure := r.checkContent(); failure != nil {
		return failure
	}
	if failure := r.checkProxied(); failure != nil {
		return failure
	}
	switch {
	case r.TTL == 0 || r.Proxied:
		r.TTL = 1
	case r.TTL != 1 && (r.TTL < limits.leastTTL || r.TTL > 86400):
		return invalid(9021, fmt.Sprintf("Invalid TTL. Must be between %d and 86400 seconds, or 1 for Automatic.", limits.leastTTL))
	}
	if len(r.Tags) > limits.tags {
		return invalid(9300, fmt.Sprintf("DNS record has %d tags, exceeding the quota of %d.", len(r.Tags), limits.tags))
	}
	if r.Comment != nil && len(*r.Comment) > limits.comment {
		return invalid(9313, fmt.Sprintf("DNS record comment exceeds the maximum length of %d characters.", limits.comment))
	}
	if r.Tags == nil {
		r.Tags = []string{}
	}
	return nil
}

func (r *Record) checkName(zone string) *Failure {
	name := canonical(r.Name)
	switch {
	case name == "" || name == "@":
		name = zone
	case name != zone && !strings.HasSuffix(name, "."+zone):
		name += "." + zone
	}
	labels := strings.Split(name, ".")
	for i, label := range labels {
		if label == "" || len(label) > 63 || strings.ContainsAny(label, " \t*") && (i > 0 || label != "*") {
			return invalid(9000, "DNS name is invalid.")
		}
	}
	if len(name) > 253 {
		return invalid(9000, "DNS name is invalid.")
	}
	r.Name = name
	return nil
}

func (r *Record) checkContent() *Failure {
	if !slices.Contains([]string{"SRV", "HTTPS", "SVCB", "CAA"}, r.Type) {
		r.Data = nil
	}
	switch r.Type {
	case "A":
		if a, err := netip.ParseAddr(r.Content); err != nil || !a.Is4() {
			return invalid(9005, "Content for A record must be a valid IPv4 address.")
		}
	case "AAAA":
		a, err := netip.ParseAddr(r.Content)
		if err != nil || !a.Is6() {
			return invalid(9006, "Content for AAAA record must be a valid IPv6 address.")
		}
		r.Content = a.String()
	case "CNAME", "NS":
		r.Content = canonical(r.Content)
		if _, isAddress := netip.ParseAddr(r.Content); isAddress == nil || r.Content == "" || strings.ContainsAny(r.Content, " /:") {
			return invalid(9007, "Content for "+r.Type+" record is invalid.")
		}
	case "TXT":
		if r.Content == "" {
			return invalid(9207, "Content for TXT record is empty.")
		}
	case "MX":
		if r.Priority == nil {
			return invalid(9100, "Priority is a required field for MX records.")
		}
		r.Content = canonical(r.Content)
	case "SRV":
		return r.fromData("priority", "weight", "port", "target")
	case "HTTPS", "SVCB":
		return r.fromData("priority", "target", "value")
	case "CAA":
		return r.fromData("flags", "tag", "value")
	default:
		return invalid(9002, "DNS record type "+r.Type+" is invalid.")
	}
	return nil
}

// fromData makes the content of a record of parts, which the API wants by themselves.
func (r *Record) fromData(fields ...string) *Failure {
	var parts []string
	for _, field := range fields {
		value, given := r.Data[field]
		if !given {
			return invalid(9101, field+" is a required data field.")
		}
		text := fmt.Sprint(value)
		if r.Type == "CAA" && field == "value" {
			text = `"` + strings.Trim(text, `"`) + `"`
		}
		parts = append(parts, text)
	}
	if r.Type == "SRV" { // whose priority stands by itself
		parts = parts[1:]
	}
	r.Content = strings.TrimSpace(strings.Join(parts, " "))
	return nil
}

// checkProxied holds what may be proxied; addresses that the public internet does not
// know may not.
func (r *Record) checkProxied() *Failure {
	r.Proxiable = slices.Contains([]string{"A", "AAAA", "CNAME"}, r.Type)
	if !r.Proxied {
		return nil
	}
	if !r.Proxiable {
		return invalid(9004, "This record type cannot be proxied.")
	}
	if a, err := netip.ParseAddr(r.Content); err == nil &&
		(a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast() || sharedSpace().Contains(a)) {
		return invalid(9003, "Target "+r.Content+" is not allowed for a proxied record.")
	}
	return nil
}

// sharedSpace is that of carriers (RFC 6598).
func sharedSpace() netip.Prefix { return netip.MustParsePrefix("100.64.0.0/10") }
