package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/lintel-dev/lintel/externaldns"
)

const (
	// defaultDNSOwner is what ExternalDNS calls itself, too, if nothing is set.
	defaultDNSOwner = "default"
	// Where rfc2136 reads.
	lookUpTransfer = "transfer"
	lookUpNames    = "names"
	// defaultMarkPrefix makes marks whose names nobody takes for a host's, and that the apex
	// of a zone can have.
	defaultMarkPrefix = "_%{record_type}-owner."
	// defaultMarkWildcard is no name of a host either.
	defaultMarkWildcard = "_any"
)

// dnsSettings are how records are kept.
type dnsSettings struct {
	Provider         string // solverCloudflare, solverRFC2136, or "" for none
	Credential       credential
	Server, Key      string   // of rfc2136
	LookUps          string   // likewise: lookUpTransfer or lookUpNames
	Sources          []string // of dnsSources; none is all
	InternalServices bool
	LabelFilter      string // selector
	AnnotationFilter string
	Types            []string // none is externaldns.DefaultTypes
	Zones            []string
	ZoneIDs          []string
	Domains          []string
	ExcludeDomains   []string
	Owner            string
	Policy           string
	MarkPrefix       string
	MarkSuffix       string
	MarkWildcard     string
	MarkKey          credential
	Proxied          bool
	Interval         time.Duration
	DryRun           bool
	Release          string
}

func recordSettings(s *Settings) []setting {
	d := &s.DNS
	return []setting{
		{name: "dns-provider", value: choice(&d.Provider, "", "", solverCloudflare, solverRFC2136),
			usage: "keep a DNS record for each hostname that is served, at this `provider`: cloudflare, or rfc2136 for a name server that takes dynamic updates and hands out its zones; empty is off"},
		{name: "dns-sources", value: list(&d.Sources, dnsSource),
			usage: "`kinds` of objects that get records, of " + strings.Join(dnsSources(), ", ") + "; none means all; as ExternalDNS's --source"},
		{name: "dns-credential", value: parsed(&d.Credential, "", credentialPlace),
			usage: "`place` of the API token of cloudflare, or of the TSIG key (base64) of rfc2136: env:NAME, file:PATH, or secret:NAME/KEY for a Secret in Lintel's namespace; it is read for each request"},
		{name: "dns-server", value: text(&d.Server, ""),
			usage: "`host:port` of the primary server to which rfc2136 sends updates"},
		{name: "dns-key", value: text(&d.Key, ""),
			usage: "`name` of the TSIG key of rfc2136, or algorithm:name; the algorithm is hmac-sha256 otherwise"},
		{name: "dns-look-ups", value: choice(&d.LookUps, lookUpTransfer, lookUpTransfer, lookUpNames),
			usage: "`how` rfc2136 learns what there is: transfer (of whole zones, by AXFR), or names (one by one, from a server that refuses transfers; records whose objects went while Lintel did not run then stay)"},
		{name: "dns-zones", value: list(&d.Zones, domainName),
			usage: "`zones` that records are kept in; rfc2136 needs them, and at cloudflare none means all that the token sees"},
		{name: "dns-zone-ids", value: list(&d.ZoneIDs, zoneID),
			usage: "`IDs` of the zones at cloudflare that records are kept in; none means all"},
		{name: "dns-domains", value: list(&d.Domains, domainName),
			usage: "`domains` whose names alone get records: a domain stands for itself and all below it, and with a dot before it for what is below it"},
		{name: "dns-exclude-domains", value: list(&d.ExcludeDomains, domainName),
			usage: "`domains` whose names get none"},
		{name: "dns-record-types", value: list(&d.Types, recordType),
			usage: "`types` of records that are kept, of " + strings.Join(externaldns.DefaultTypes(), ", ") + "; none means all; as ExternalDNS's --managed-record-types, which are A, AAAA and CNAME if it was not set"},
		{name: "dns-label-filter", value: parsed(&d.LabelFilter, "", selector),
			usage: "`selector` of labels, such as team=web,public!=no: only objects that have them so get records; as ExternalDNS's --label-filter"},
		{name: "dns-annotation-filter", value: parsed(&d.AnnotationFilter, "", selector),
			usage: "`selector` of annotations, in the same form; as ExternalDNS's --annotation-filter"},
		{name: "dns-owner", value: parsed(&d.Owner, defaultDNSOwner, ownerName),
			usage: "`name` of the owner that marks say; of several that keep records in one zone each needs its own; to go on where ExternalDNS was, its --txt-owner-id"},
		{name: "dns-policy", value: choice(&d.Policy, externaldns.Sync.String(), externaldns.Sync.String(), externaldns.UpsertOnly.String(), externaldns.CreateOnly.String()),
			usage: "`which` changes are made: sync (all), upsert-only (nothing is deleted) or create-only (nothing is changed either)"},
		{name: "dns-mark-prefix", value: text(&d.MarkPrefix, defaultMarkPrefix),
			usage: "`text` before the name of a record in that of the TXT record that marks it as ours, with %{record_type} for its type; one that ends in a dot suits the apex of a zone, too; as ExternalDNS's --txt-prefix, which is empty if it was not set"},
		{name: "dns-mark-suffix", value: text(&d.MarkSuffix, ""),
			usage: "`text` behind the first label in the name of that record, if there is no prefix; as ExternalDNS's --txt-suffix"},
		{name: "dns-mark-wildcard", value: text(&d.MarkWildcard, defaultMarkWildcard),
			usage: "`label` that stands for the * of a wildcard there; as ExternalDNS's --txt-wildcard-replacement"},
		{name: "dns-mark-key", value: parsed(&d.MarkKey, "", credentialPlace),
			usage: "`place` of a key of 32 bytes, as they are or in base64, that encrypts these TXT records by AES-256-GCM: env:NAME, file:PATH or secret:NAME/KEY; others are still read; as ExternalDNS's --txt-encrypt-aes-key with --txt-encrypt-enabled"},
		{name: "dns-publish-internal-services", value: onOff(&d.InternalServices, false),
			usage: "let the annotation hostname of Services of type ClusterIP lead to their cluster IPs: `on|off`; as ExternalDNS's --publish-internal-services"},
		{name: "dns-proxied", value: onOff(&d.Proxied, false),
			usage: "let requests come through Cloudflare, for records that don't say by the annotation cloudflare-proxied: `on|off`"},
		{name: "dns-interval", value: positive(timeout(&d.Interval, externaldns.DefaultInterval)),
			usage: "`time` after which zones are read again, though nothing is known to have changed"},
		{name: "dns-dry-run", value: onOff(&d.DryRun, false),
			usage: "say in the log what would change, and change nothing: `on|off`"},
		{name: "dns-release", value: text(&d.Release, ""),
			usage: "`code` that the log named when more than 30 % of all records, and more than 5, were to be deleted at once: lets these deletions pass"},
	}
}

func domainName(s string) (string, error) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if !regexp.MustCompile(`^\.?([-_a-z0-9]+\.)*[-_a-z0-9]+$`).MatchString(s) {
		return "", errors.New("must be a domain, such as example.com")
	}
	return s, nil
}

func dnsSource(s string) (string, error) {
	if all := dnsSources(); !slices.Contains(all, s) {
		return "", errors.New("must be one of " + strings.Join(all, ", "))
	}
	return s, nil
}

func recordType(s string) (string, error) {
	if all := externaldns.DefaultTypes(); !slices.Contains(all, strings.ToUpper(s)) {
		return "", errors.New("must be one of " + strings.Join(all, ", "))
	}
	return strings.ToUpper(s), nil
}

func zoneID(s string) (string, error) {
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(s) {
		return "", errors.New("must be the ID of a zone, 32 characters of 0-9 and a-f, as its overview at Cloudflare shows it")
	}
	return s, nil
}

// selector is a label selector; the empty one takes everything.
func selector(s string) (string, error) {
	if _, err := labels.Parse(s); err != nil {
		return "", fmt.Errorf("must be a selector, such as team=web or public in (yes,true): %w", err)
	}
	return s, nil
}

func ownerName(s string) (string, error) {
	if s == "" || strings.ContainsAny(s, `,="`) {
		return "", errors.New(`must be a name without any of , = "`)
	}
	return s, nil
}

// validate finds what does not fit together.
func (d *dnsSettings) validate() error {
	if d.Provider == "" {
		return nil
	}
	switch {
	case d.Provider == solverCloudflare && d.Credential == "":
		return errors.New("dns-provider: cloudflare needs dns-credential, the place of an API token, such as secret:cloudflare/token")
	case d.Provider == solverRFC2136 && (d.Server == "" || len(d.Zones) == 0):
		return errors.New("dns-provider: rfc2136 needs dns-server, the address of the primary server, and dns-zones")
	case d.Provider == solverRFC2136 && (d.Key == "") != (d.Credential == ""):
		return errors.New("dns-provider: rfc2136 needs both dns-key and dns-credential, or neither where updates need no key")
	case d.Provider == solverRFC2136 && len(d.ZoneIDs) > 0:
		return errors.New("dns-zone-ids: zones have IDs at the dns-provider cloudflare alone; name those of rfc2136 by dns-zones")
	case d.Provider != solverRFC2136 && (d.Server != "" || d.Key != "" || d.LookUps != lookUpTransfer):
		return errors.New("dns-server, dns-key and dns-look-ups are read by the dns-provider rfc2136 alone")
	}
	if _, err := d.registry(); err != nil {
		return fmt.Errorf("dns-mark-prefix: %w", err)
	}
	return nil
}

func (d *dnsSettings) registry() (*externaldns.Registry, error) {
	prefix := d.MarkPrefix
	if d.MarkSuffix != "" && prefix == defaultMarkPrefix {
		prefix = ""
	}
	return externaldns.NewRegistry(externaldns.RegistryOptions{
		Owner: d.Owner, Prefix: prefix, Suffix: d.MarkSuffix, WildcardReplacement: d.MarkWildcard,
	})
}

func (d *dnsSettings) policy() externaldns.Policy {
	all := []externaldns.Policy{externaldns.Sync, externaldns.UpsertOnly, externaldns.CreateOnly}
	return all[slices.IndexFunc(all, func(p externaldns.Policy) bool { return p.String() == d.Policy })]
}
