package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	kuberest "k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/externaldns/cloudflare"
	"github.com/lintel-dev/lintel/externaldns/rfc2136"
	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
	"github.com/lintel-dev/lintel/observe"
)

// dnsCare keeps DNS records for the names that Plans serve. A nil dnsCare keeps none.
type dnsCare struct {
	settings *dnsSettings
	// labels and annotations are what objects must have to get records.
	labels, annotations labels.Selector
	reconciler          *externaldns.Reconciler
	metrics             *observe.Metrics
	log                 *slog.Logger

	// slices reads the EndpointSlices of a Service.
	slices func(types.NamespacedName) []*discoveryv1.EndpointSlice

	// These belong to the loop's goroutine. services and nodes are of the last Snapshot; what
	// follows is of the last Plan: objects by what marks say of them.
	services  []*corev1.Service
	nodes     []*corev1.Node
	endpoints []*dnsapi.DNSEndpoint
	statuses  map[gateway.ObjectRef]*gateway.Status // of endpoints
	plan      *gateway.Plan
	objects   map[string]gateway.ObjectRef
	mistakes  []externaldns.Mistake
	nowhere   []string // names that get no record, for want of an address

	// told are the records that the log spoke of; they belong to the goroutine of Run.
	told map[externaldns.StateKey]externaldns.State
	// planned is what the log was told that a dry run would do.
	planned string
}

// keepDNS lets records be kept, if the settings say so, and returns what only one replica
// runs.
func (p *process) keepDNS(read credentialReader) ([]func(context.Context) error, error) {
	care, err := newDNSCare(p, read, p.dnsClient)
	if care == nil || err != nil {
		return nil, err
	}
	care.slices = p.loop.source.EndpointSlices
	p.loop.dns = care
	return []func(context.Context) error{care.Run}, nil
}

// keepDNSByCluster is keepDNS with credentials from Secrets, too.
func (p *process) keepDNSByCluster(config *kuberest.Config) ([]func(context.Context) error, error) {
	if p.settings.DNS.Provider == "" {
		return nil, nil
	}
	read, err := clusterCredentials(&p.settings, config, p.log)
	if err != nil {
		return nil, err
	}
	return p.keepDNS(read)
}

// newDNSCare returns nil when the settings name no provider. client speaks to Cloudflare;
// nil is the usual one.
func newDNSCare(p *process, read credentialReader, client *http.Client) (*dnsCare, error) {
	s := &p.settings.DNS
	if s.Provider == "" {
		return nil, nil
	}
	provider, err := dnsProvider(s, read, client)
	if err != nil {
		return nil, err
	}
	if len(s.ZoneIDs) > 0 {
		provider = &selectedZones{provider, s.ZoneIDs}
	}
	registry, err := s.registry()
	if err != nil {
		return nil, err
	}
	c := &dnsCare{settings: s, metrics: p.metrics, log: p.log, told: make(map[externaldns.StateKey]externaldns.State), objects: make(map[string]gateway.ObjectRef)}
	if c.labels, err = labels.Parse(s.LabelFilter); err != nil {
		return nil, fmt.Errorf("dns-label-filter: %w", err)
	}
	if c.annotations, err = labels.Parse(s.AnnotationFilter); err != nil {
		return nil, fmt.Errorf("dns-annotation-filter: %w", err)
	}
	c.reconciler = externaldns.New(externaldns.Options{
		MarkKey:  markKey(s, read),
		Provider: provider, Interval: s.Interval, DryRun: s.DryRun, Log: p.log, Observe: c.report,
		Rules: externaldns.Rules{
			Registry: registry, Policy: s.policy(), Brake: externaldns.DefaultBrake(),
			Domains: externaldns.Domains{Include: s.Domains, Exclude: s.ExcludeDomains},
		},
	})
	if s.Release != "" {
		c.reconciler.Release(s.Release)
	}
	return c, nil
}

func dnsProvider(s *dnsSettings, read credentialReader, client *http.Client) (externaldns.Provider, error) {
	if s.Provider == solverCloudflare {
		return cloudflare.New(cloudflare.Options{Token: read(s.Credential), Zones: s.Zones, Proxied: s.Proxied, Client: client}), nil
	}
	algorithm, name, found := strings.Cut(s.Key, ":")
	if !found {
		algorithm, name = "", s.Key
	}
	provider, err := rfc2136.New(rfc2136.Options{
		Server: s.Server, Zones: s.Zones, Key: rfc2136.Key{Name: name, Algorithm: algorithm, Secret: read(s.Credential)},
		LookUp: s.LookUps == lookUpNames,
	})
	if err != nil {
		return nil, fmt.Errorf("setting dns-key: %w", err) // the others were looked at
	}
	return provider, nil
}

// Run keeps the records until ctx ends; one replica at a time does.
func (c *dnsCare) Run(ctx context.Context) error { return c.reconciler.Run(ctx) }

// apply takes over what a Plan that is being served wants.
func (c *dnsCare) apply(plan *gateway.Plan) {
	if c == nil {
		return
	}
	c.plan = plan
	want, mistakes := c.wanted(plan)
	for _, m := range mistakes {
		if !slices.Contains(c.mistakes, m) {
			c.log.Warn("annotation has no effect", "object", m.Resource, "annotation", m.Annotation, "why", m.Reason)
		}
	}
	c.mistakes = mistakes
	c.reconciler.Apply(want)
}

// report is called after each round: it tells the log and metrics how records fare.
func (c *dnsCare) report(round externaldns.Round) {
	states := c.reconciler.States()
	counts := make(map[string]int)
	for _, key := range slices.SortedFunc(maps.Keys(states), func(a, b externaldns.StateKey) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Resource, b.Resource))
	}) {
		state := states[key]
		counts[state.Stage.String()]++
		if state != c.told[key] && state.Stage == externaldns.Refused {
			c.log.Warn("DNS record is not made", "name", key.Name, "type", key.Type, "object", key.Resource, "kind", state.Kind.String(), "why", state.Reason)
		}
	}
	c.told = states
	if round.DryRun && round.Plan != nil {
		c.tellPlan(round.Plan)
	}
	held := 0
	if round.Plan != nil {
		held = len(round.Plan.Held)
	}
	c.metrics.ObserveDNS(observe.DNSRound{At: round.At, Failed: round.Err != nil, Records: counts, Held: held})
}

// tellPlan says what a dry run would do, if that changed.
func (c *dnsCare) tellPlan(plan *externaldns.Plan) {
	var text strings.Builder
	if err := plan.Print(&text); err != nil || text.String() == c.planned {
		return
	}
	c.planned = text.String()
	for _, r := range plan.Create {
		c.log.Info("dry run: DNS record would be created", "record", r.String())
	}
	for _, u := range plan.Update {
		c.log.Info("dry run: DNS record would be changed", "record", u.New.String(), "from", u.Old.String())
	}
	for _, r := range plan.Delete {
		c.log.Info("dry run: DNS record would be deleted", "record", r.String())
	}
}
