package cloudflare

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/externaldns"
)

// automatic is a TTL that Cloudflare chooses.
const automatic = 1

// apiEntry is a record as the API has it: one target.
type apiEntry struct {
	ID       string         `json:"id,omitempty"`
	Name     string         `json:"name,omitempty"`
	Type     string         `json:"type,omitempty"`
	Content  string         `json:"content,omitempty"`
	TTL      int            `json:"ttl,omitempty"` // seconds
	Proxied  *bool          `json:"proxied,omitempty"`
	Priority *uint16        `json:"priority,omitempty"`
	Data     map[string]any `json:"data,omitempty"`
	Comment  string         `json:"comment,omitempty"`
	Tags     []string       `json:"tags,omitempty"`
}

// target is what a Record has for an entry.
func (e apiEntry) target() string {
	field := func(name string) string {
		text := fmt.Sprint(e.Data[name])
		if number, is := e.Data[name].(float64); is {
			text = strconv.Itoa(int(number))
		}
		return text
	}
	switch {
	case e.Type == externaldns.TXT:
		return externaldns.ParseText(e.Content)
	case e.Type == externaldns.SRV && e.Data != nil:
		return strings.Join([]string{field("priority"), field("weight"), field("port"), dns.Fqdn(field("target"))}, " ")
	case (e.Type == externaldns.HTTPS || e.Type == "SVCB") && e.Data != nil:
		return strings.TrimSpace(strings.Join([]string{field("priority"), dns.Fqdn(field("target")), field("value")}, " "))
	case e.Priority != nil:
		return fmt.Sprintf("%d %s", *e.Priority, e.Content)
	}
	return e.Content
}

// toRecord makes one set of the entries of a name and type.
func toRecord(entries []apiEntry) externaldns.Record {
	first := entries[0]
	r := externaldns.Record{Name: first.Name, Type: first.Type, Comment: first.Comment, Tags: first.Tags, Proxied: externaldns.ProxiedNo}
	if first.Proxied != nil && *first.Proxied {
		r.Proxied = externaldns.ProxiedYes
	}
	if first.TTL > automatic {
		r.TTL = time.Duration(first.TTL) * time.Second
	}
	for _, e := range entries {
		r.Targets = append(r.Targets, e.target())
	}
	return r.Canonical()
}

// toEntry returns the entry for one target of a Record.
func toEntry(r externaldns.Record, target string) (apiEntry, error) {
	proxied := r.Proxied == externaldns.ProxiedYes
	e := apiEntry{
		Name: r.Name, Type: r.Type, Content: target, TTL: automatic, Proxied: &proxied, Comment: r.Comment, Tags: r.Tags,
	}
	if r.TTL > 0 && !proxied {
		e.TTL = int(r.TTL / time.Second)
	}
	switch r.Type {
	case externaldns.A, externaldns.AAAA, externaldns.CNAME:
		return e, nil
	case externaldns.TXT:
		e.Content = `"` + strings.Join(externaldns.TextStrings(target), "") + `"` // as one, like ExternalDNS: the API cuts it
		return e, nil
	}
	rr, err := dns.NewRR(". 0 IN " + r.Type + " " + target)
	if err != nil {
		return apiEntry{}, fmt.Errorf("read target %q: %w", target, err)
	}
	e.Content = ""
	switch rr := rr.(type) {
	case *dns.SRV:
		e.Data = map[string]any{"priority": rr.Priority, "weight": rr.Weight, "port": rr.Port, "target": strings.TrimSuffix(rr.Target, ".")}
	case *dns.HTTPS:
		e.Data = service(rr.SVCB)
	case *dns.SVCB:
		e.Data = service(*rr)
	default:
		return apiEntry{}, fmt.Errorf("%s records can't be written at Cloudflare", r.Type)
	}
	return e, nil
}

func service(rr dns.SVCB) map[string]any {
	var values []string
	for _, value := range rr.Value {
		values = append(values, value.Key().String()+`="`+value.String()+`"`)
	}
	name := rr.Target
	if name != "." {
		name = strings.TrimSuffix(name, ".")
	}
	return map[string]any{"priority": rr.Priority, "target": name, "value": strings.Join(values, " ")}
}

// same tells whether an entry says of a target all that a Record does.
func (e apiEntry) same(want apiEntry) bool {
	proxied := func(e apiEntry) bool { return e.Proxied != nil && *e.Proxied }
	return e.TTL == want.TTL && proxied(e) == proxied(want) && e.Comment == want.Comment &&
		slices.Equal(slices.Sorted(slices.Values(e.Tags)), slices.Sorted(slices.Values(want.Tags)))
}
