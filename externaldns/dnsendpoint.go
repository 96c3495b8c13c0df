package externaldns

import (
	"math"
	"strings"
	"time"
)

// DNSEndpoint is one record of a DNSEndpoint object, which says it in full.
type DNSEndpoint struct {
	Resource string // "crd/NAMESPACE/NAME"
	Name     string
	Type     string
	Targets  []string
	TTL      int64 // in seconds; zero leaves it to the provider
	// Properties are what providers read of it, by names as annotations have them.
	Properties map[string]string
	// SetIdentifier tells sets of one name and type apart, which providers here can't.
	SetIdentifier string
}

// records returns its record, and what has no effect.
func (e *DNSEndpoint) records() ([]Record, []Mistake) {
	var mistakes []Mistake
	m := recordMaker{e.Resource, annotations(e.Properties).settings(func(property, reason string) {
		mistakes = append(mistakes, Mistake{e.Resource, property, reason})
	})}
	r := m.record(e.Name, strings.ToUpper(e.Type))
	if m.said.proxied == ProxiedYes && r.Proxied != ProxiedYes {
		mistakes = append(mistakes, Mistake{e.Resource, annotationProxied, "a " + r.Type + " record can't be proxied"})
	}
	if e.TTL > 0 && e.TTL <= math.MaxInt32 {
		r.TTL = time.Duration(e.TTL) * time.Second
	}
	if e.SetIdentifier != "" {
		mistakes = append(mistakes, Mistake{e.Resource, "setIdentifier", "there is one set for a name and type; " + r.Name + " " + r.Type + " has the targets of all"})
	}
	for _, target := range e.Targets {
		if r.Type == TXT {
			target = ParseText(target)
		}
		r.Targets = append(r.Targets, target)
	}
	return []Record{r.Canonical()}, mistakes
}
