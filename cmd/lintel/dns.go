package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

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
	"github.com/lintel-dev/lintel/kube"
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
	// follows is of the last Plan.
	services  []*corev1.Service
	nodes     []*corev1.Node
	endpoints []*dnsapi.DNSEndpoint
	statuses  map[gateway.ObjectRef]*gateway.Status // of endpoints
	plan      *gateway.Plan
	mistakes  []externaldns.Mistake
	nowhere   []string // names that get no record, for want of an address
	shown     map[gateway.ObjectRef]gateway.RecordsState

	want    atomic.Pointer[dnsWanted] // by the last Plan; read by other goroutines
	changes chan struct{}             // holds a token while the loop has something to see
	event   func(kube.Event)          // must not block

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
	p.loop.source = wakingSource{source: p.loop.source, wake: care.changes}
	return []func(context.Context) error{care.Run}, nil
}

// keepDNSByCluster is keepDNS with credentials from Secrets, too.
func (p *process) keepDNSByCluster(config *kuberest.Config, events *kube.EventWriter) ([]func(context.Context) error, error) {
	if p.settings.DNS.Provider == "" {
		return nil, nil
	}
	read, err := clusterCredentials(&p.settings, config, p.log)
	if err != nil {
		return nil, err
	}
	parts, err := p.keepDNS(read)
	if err == nil {
		p.loop.dns.event = events.Write
	}
	return parts, err
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
	c := &dnsCare{settings: s, metrics: p.metrics, log: p.log, event: func(kube.Event) {}, changes: make(chan struct{}, 1)}
	if c.labels, err = labels.Parse(s.LabelFilter); err != nil {
		return nil, fmt.Errorf("dns-label-filter: %w", err)
	}
	if c.annotations, err = labels.Parse(s.AnnotationFilter); err != nil {
		return nil, fmt.Errorf("dns-annotation-filter: %w", err)
	}
	c.reconciler = externaldns.New(externaldns.Options{
		MarkKey:  markKey(s, read),
		Provider: provider, Interval: s.Interval, DryRun: s.DryRun, Log: p.log, Observe: c.report, Changed: c.wake,
		Rules: externaldns.Rules{
			Registry: registry, Policy: s.policy(), Types: s.Types, Brake: externaldns.DefaultBrake(),
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
		return cloudflare.New(cloudflare.Options{Token: namingCredential("dns-credential", read(s.Credential)), Zones: s.Zones, Proxied: s.Proxied, Client: client}), nil
	}
	algorithm, name, found := strings.Cut(s.Key, ":")
	if !found {
		algorithm, name = "", s.Key
	}
	provider, err := rfc2136.New(rfc2136.Options{
		Server: s.Server, Zones: s.Zones, Key: rfc2136.Key{Name: name, Algorithm: algorithm, Secret: namingCredential("dns-credential", read(s.Credential))},
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
	c.want.Store(want)
	for _, m := range mistakes {
		if !slices.Contains(c.mistakes, m) {
			c.log.Warn("annotation has no effect", "object", m.Resource, "annotation", m.Annotation, "why", m.Reason)
			c.tellObject(m.Resource, kube.Event{Warning: true, Reason: "DNSAnnotationIgnored", Message: m.Annotation + ": " + m.Reason})
		}
	}
	c.mistakes = mistakes
	c.reconciler.Apply(want.records)
}

// wake lets the loop build again. It may be called from any goroutine.
func (c *dnsCare) wake() {
	select {
	case c.changes <- struct{}{}:
	default:
	}
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
