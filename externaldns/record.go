package externaldns

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Types of records.
const (
	A     = "A"
	AAAA  = "AAAA"
	CNAME = "CNAME"
	TXT   = "TXT"
	SRV   = "SRV"
	HTTPS = "HTTPS"
)

// Record is a set of records: all that have one name and type. Sets are compared
// without regard to the order of targets.
type Record struct {
	// Name is in full, like "www.example.com" or "*.example.com".
	Name string
	Type string
	// Targets are addresses, a name, or data in the form of a zone file; those of a TXT
	// record are the texts themselves, without quotes.
	Targets []string
	// TTL is in whole seconds. Zero leaves it to the provider, whatever it is there.
	TTL time.Duration
	// Proxied, Comment and Tags are Cloudflare's; other providers have none of them.
	Proxied Proxied
	// Comment of a wanted record: empty leaves what there is.
	Comment string
	// Tags of a wanted record: nil leaves what there is.
	Tags []string
	// Resource is what the record is wanted for, like "httproute/NAMESPACE/NAME".
	Resource string
}

// Proxied says whether requests for a name pass through the provider's network.
type Proxied int

// Values of Proxied.
const (
	ProxiedDefault Proxied = iota // as the provider is set up
	ProxiedYes                    // requests do
	ProxiedNo                     // they go straight to the addresses
)

// Key names a set.
type Key struct{ Name, Type string }

// Key returns the name of the set.
func (r Record) Key() Key { return Key{r.Name, r.Type} }

// String is like "www.example.com A 192.0.2.1, 192.0.2.2".
func (r Record) String() string {
	return r.Name + " " + r.Type + " " + strings.Join(r.Targets, ", ")
}

// canonicalName is a name in lower case, without a dot at its end.
func canonicalName(name string) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
}

// Canonical returns the record with its name, type and targets in the one form in
// which they are compared.
func (r Record) Canonical() Record {
	r.Name, r.Type = canonicalName(r.Name), strings.ToUpper(r.Type)
	targets := make([]string, 0, len(r.Targets))
	for _, target := range r.Targets {
		targets = append(targets, canonicalTarget(r.Type, target))
	}
	slices.Sort(targets)
	r.Targets = slices.Compact(targets)
	return r
}

func canonicalTarget(kind, target string) string {
	switch kind {
	case TXT:
		return target
	case A, AAAA:
		if address, err := netip.ParseAddr(target); err == nil {
			return address.String()
		}
		return target
	case CNAME, "NS", "PTR":
		return canonicalName(target)
	}
	rr, err := dns.NewRR(". 0 IN " + kind + " " + target)
	if err != nil || rr == nil {
		return target
	}
	switch rr := rr.(type) {
	case *dns.SRV:
		rr.Target = strings.ToLower(rr.Target)
	case *dns.HTTPS:
		rr.Target = strings.ToLower(rr.Target)
		slices.SortFunc(rr.Value, func(a, b dns.SVCBKeyValue) int { return cmp.Compare(a.Key(), b.Key()) })
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// Check says what is wrong with a wanted record, in the words of DNS.
func (r Record) Check() error {
	if len(r.Targets) == 0 {
		return errors.New("it has no target")
	}
	if len(r.Name) > 253 {
		return errors.New("its name is longer than 253 characters")
	}
	for i, label := range strings.Split(r.Name, ".") {
		switch {
		case label == "":
			return errors.New("a label of its name is empty")
		case len(label) > 63:
			return fmt.Errorf("label %s is longer than 63 characters", label)
		case strings.Contains(label, "*") && (i > 0 || label != "*"):
			return errors.New("only the first label may be *")
		}
	}
	if r.Type == CNAME && len(r.Targets) > 1 {
		return fmt.Errorf("a CNAME has one target, not %d", len(r.Targets))
	}
	for _, target := range r.Targets {
		address, err := netip.ParseAddr(target)
		switch {
		case r.Type == A && (err != nil || !address.Is4()):
			return fmt.Errorf("target %s is no IPv4 address", target)
		case r.Type == AAAA && (err != nil || !address.Is6() || address.Is4In6()):
			return fmt.Errorf("target %s is no IPv6 address", target)
		case r.Type == CNAME && err == nil:
			return fmt.Errorf("target %s is an address, which takes an A or AAAA record", target)
		case r.Type != A && r.Type != AAAA && r.Type != CNAME && r.Type != TXT:
			if _, err := dns.NewRR(". 0 IN " + r.Type + " " + target); err != nil {
				return fmt.Errorf("target %q is not what a %s record has: %w", target, r.Type, err)
			}
		}
	}
	return nil
}

// differs tells whether a wanted record differs from one that is there in what the
// wanted one says anything about. Both are canonical.
func (r Record) differs(there Record) bool {
	return !slices.Equal(r.Targets, there.Targets) ||
		r.TTL > 0 && r.TTL != there.TTL ||
		r.Proxied != ProxiedDefault && r.Proxied != there.Proxied ||
		r.Comment != "" && r.Comment != there.Comment ||
		r.Tags != nil && !slices.Equal(slices.Sorted(slices.Values(r.Tags)), slices.Sorted(slices.Values(there.Tags)))
}

// completed is a wanted record with what it leaves open as it is there already.
func (r Record) completed(there Record) Record {
	r.TTL, r.Proxied, r.Comment = cmp.Or(r.TTL, there.TTL), cmp.Or(r.Proxied, there.Proxied), cmp.Or(r.Comment, there.Comment)
	if r.Tags == nil {
		r.Tags = there.Tags
	}
	return r
}

// compareTargets orders sets that compete for a name: fewer targets come first, then
// addresses come before names. ExternalDNS chooses by the same order, so that both
// choose the same. Both are canonical.
func compareTargets(a, b Record) int {
	if c := cmp.Compare(len(a.Targets), len(b.Targets)); c != 0 {
		return c
	}
	for i := range a.Targets {
		if a.Targets[i] == b.Targets[i] {
			continue
		}
		addressA, errA := netip.ParseAddr(a.Targets[i])
		addressB, errB := netip.ParseAddr(b.Targets[i])
		switch {
		case errA == nil && errB == nil:
			return addressA.Compare(addressB)
		case errA == nil:
			return -1
		case errB == nil:
			return 1
		}
		return strings.Compare(a.Targets[i], b.Targets[i])
	}
	return 0
}

// Zone is a zone at a provider.
type Zone struct {
	ID   string // the provider's own; may be the name
	Name string
}

// zoneOf returns the zone that a name belongs to: the one with the longest name.
func zoneOf(zones []Zone, name string) (Zone, bool) {
	var best Zone
	for _, zone := range zones {
		if len(zone.Name) > len(best.Name) && within(name, zone.Name) {
			best = zone
		}
	}
	return best, best.Name != ""
}

// within tells whether a name is a domain or below it.
func within(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}
