package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/externaldns/cloudflare"
	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
	"github.com/lintel-dev/lintel/internal/latest"
)

// tunnelRecords keeps the DNS records of tunnels: for each Tunnel there is a Reconciler with
// an owner of its own.
type tunnelRecords struct {
	settings *dnsSettings
	read     credentialReader
	client   *http.Client
	changed  func() // must not block
	log      *slog.Logger
	want     *latest.Box[map[types.NamespacedName]recordsWant]

	mu     sync.Mutex // guards states
	states map[types.NamespacedName]gateway.TunnelRecordsState
}

// recordsWant is what a Tunnel wants of DNS.
type recordsWant struct {
	gateway.TunnelRecords
	records []externaldns.Record
}

// recordKeeper is a Reconciler that runs.
type recordKeeper struct {
	reconciler *externaldns.Reconciler
	domains    []string
	token      *latestToken
	release    string
	stop       context.CancelFunc
	ended      chan struct{}
}

// latestToken is an API token that may be replaced.
type latestToken struct {
	mu    sync.Mutex
	token string
}

func (t *latestToken) set(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token = token
}

func (t *latestToken) get() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token
}

func newTunnelRecords(settings *dnsSettings, log *slog.Logger, changed func()) *tunnelRecords {
	return &tunnelRecords{
		settings: settings, read: localCredentials(noSecrets), log: log, changed: changed,
		want: latest.New[map[types.NamespacedName]recordsWant](), states: make(map[types.NamespacedName]gateway.TunnelRecordsState),
	}
}

// state returns what became of the records of a Tunnel; nil while nothing is known.
func (r *tunnelRecords) state(name types.NamespacedName) *gateway.TunnelRecordsState {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, known := r.states[name]; known {
		return &s
	}
	return nil
}

// Run keeps records until ctx ends; one replica at a time does. Records of a Tunnel that is
// not wanted any more stay as they are: whoever takes it away may be about to put it back.
func (r *tunnelRecords) Run(ctx context.Context) error {
	var want map[types.NamespacedName]recordsWant
	defer func() { r.want.Return(want) }() // this replica may lead again
	keepers := make(map[types.NamespacedName]*recordKeeper)
	defer func() {
		for _, k := range keepers {
			k.stop()
			<-k.ended
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.want.Full():
			want = r.want.Take()
			if err := r.follow(ctx, keepers, want); err != nil {
				return err
			}
		}
	}
}

// follow starts and stops keepers, and tells them what is wanted.
func (r *tunnelRecords) follow(ctx context.Context, keepers map[types.NamespacedName]*recordKeeper, want map[types.NamespacedName]recordsWant) error {
	for name, k := range keepers {
		if w, wanted := want[name]; wanted && slices.Equal(w.Domains, k.domains) {
			continue
		}
		k.stop()
		<-k.ended
		delete(keepers, name)
		r.mu.Lock()
		delete(r.states, name)
		r.mu.Unlock()
	}
	for name, w := range want {
		k := keepers[name]
		if k == nil {
			var err error
			if k, err = r.start(ctx, name, w); err != nil {
				return err
			}
			keepers[name] = k
		}
		k.token.set(w.APIToken)
		if w.Release != k.release {
			k.release = w.Release
			k.reconciler.Release(w.Release)
		}
		k.reconciler.Apply(w.records)
	}
	return nil
}

// start runs the Reconciler of a Tunnel.
func (r *tunnelRecords) start(ctx context.Context, name types.NamespacedName, w recordsWant) (*recordKeeper, error) {
	k, err := r.newKeeper(name, w)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	k.stop = stop
	go func() {
		defer close(k.ended)
		_ = k.reconciler.Run(running) // it is nil
	}()
	return k, nil
}

// newKeeper makes the Reconciler of a Tunnel.
func (r *tunnelRecords) newKeeper(name types.NamespacedName, w recordsWant) (*recordKeeper, error) {
	own := *r.settings
	own.Owner += "." + name.Namespace + "." + name.Name
	registry, err := own.registry()
	if err != nil {
		return nil, err
	}
	k := &recordKeeper{domains: w.Domains, token: &latestToken{}, ended: make(chan struct{})}
	standard := r.settings.Credential
	token := func() (string, error) {
		if t := k.token.get(); t != "" {
			return t, nil
		}
		if r.settings.Provider != solverCloudflare {
			return "", errors.New("there is no API token: name a Secret in spec.dns.apiToken, or set dns-provider: cloudflare and dns-credential")
		}
		return r.read(standard)()
	}
	k.reconciler = externaldns.New(externaldns.Options{
		Provider: cloudflare.New(cloudflare.Options{Token: token, Client: r.client}),
		Interval: own.Interval, DryRun: own.DryRun, MarkKey: markKey(&own, r.read), Log: r.log.With("tunnel", name.String()),
		Observe: func(round externaldns.Round) { r.observe(name, k.reconciler, round) },
		Rules: externaldns.Rules{
			Registry: registry, Policy: own.policy(), Brake: externaldns.DefaultBrake(),
			Domains: externaldns.Domains{Include: w.Domains},
		},
	})
	return k, nil
}

// observe is called after each round of a Tunnel's records.
func (r *tunnelRecords) observe(name types.NamespacedName, reconciler *externaldns.Reconciler, round externaldns.Round) {
	state := recordsState(reconciler.States(), reconciler.Held(), round)
	r.mu.Lock()
	was, known := r.states[name]
	r.states[name] = state
	r.mu.Unlock()
	if !known || was != state {
		r.changed()
	}
}

// recordsState says in a condition how records fare. What a person has to do comes first.
func recordsState(states map[externaldns.StateKey]externaldns.State, held string, round externaldns.Round) gateway.TunnelRecordsState {
	var refused []string
	for key, s := range states {
		if s.Stage == externaldns.Refused {
			refused = append(refused, key.Name+": "+s.Reason)
		}
	}
	slices.Sort(refused)
	switch {
	case held != "":
		return gateway.TunnelRecordsState{Reason: "Held", Message: fmt.Sprintf(
			"%d records would be deleted at once, and wait: set spec.dns.release to %s to let that happen", len(round.Plan.Held), held)}
	case round.Err != nil:
		return gateway.TunnelRecordsState{Reason: "Failed", Message: round.Err.Error()}
	case len(refused) > 0:
		message := strings.Join(refused[:min(len(refused), 5)], "; ")
		if more := len(refused) - 5; more > 0 {
			message += fmt.Sprintf("; and %d more", more)
		}
		return gateway.TunnelRecordsState{Reason: "Refused", Message: message}
	case round.DryRun:
		return gateway.TunnelRecordsState{Reason: "DryRun", Message: "the setting dns-dry-run is on: nothing is written"}
	default:
		return gateway.TunnelRecordsState{Ready: true, Reason: "Ready", Message: fmt.Sprintf("records: %d", len(states))}
	}
}

// wantRecords are the records that lead to the tunnels of a Plan, as far as their names are
// known.
func wantRecords(plan *gateway.Plan, states map[types.NamespacedName]gateway.TunnelState) map[types.NamespacedName]recordsWant {
	want := make(map[types.NamespacedName]recordsWant)
	for i := range plan.Tunnels {
		t := &plan.Tunnels[i]
		hostname := states[t.Name].Hostname
		if t.DNS.Mode == v1alpha1.TunnelDNSOff || t.DNS.Fault != nil || hostname == "" {
			continue
		}
		w := recordsWant{TunnelRecords: t.DNS}
		if t.DNS.Mode == v1alpha1.TunnelDNSWildcard {
			for _, domain := range t.DNS.Domains {
				w.records = append(w.records, externaldns.Record{
					Name: "*." + domain, Type: externaldns.CNAME, Targets: []string{hostname}, Proxied: externaldns.ProxiedYes,
					Resource: "tunnel/" + t.Name.String(),
				})
			}
		} else {
			w.records, _ = externaldns.Wanted(externaldns.Objects{Sources: tunnelSources(plan, t.Name, hostname)})
		}
		want[t.Name] = w
	}
	return want
}

// tunnelSources are the objects that are reached through a tunnel.
func tunnelSources(plan *gateway.Plan, name types.NamespacedName, hostname string) []externaldns.Source {
	var sources []externaldns.Source
	for i := range plan.Names {
		n := &plan.Names[i]
		source := externaldns.Source{
			Resource:    strings.ToLower(n.Object.Kind) + "/" + n.Object.Namespace + "/" + n.Object.Name,
			Annotations: n.Annotations, Hostnames: n.Hostnames,
		}
		for _, e := range n.Entries {
			if e.Tunnel == name {
				source.Parents = append(source.Parents, externaldns.Parent{Hostname: e.Hostname, Annotations: e.Annotations, Targets: []string{hostname}})
			}
		}
		if len(source.Parents) > 0 {
			sources = append(sources, source)
		}
	}
	return sources
}

// applyRecords tells what is wanted of DNS, if that changed. The caller holds c.mu.
func (c *tunnelCare) applyRecords() {
	want := wantRecords(c.plan, c.states)
	if reflect.DeepEqual(want, c.wantedRecords) {
		return
	}
	c.wantedRecords = want
	c.records.want.Put(maps.Clone(want))
}

// applyCreations likewise, for tunnels that are to be created.
func (c *tunnelCare) applyCreations() {
	want := wantCreations(c.plan.Tunnels, c.states)
	if maps.Equal(want, c.wantedCreations) {
		return
	}
	c.wantedCreations = want
	c.creator.want.Put(maps.Clone(want))
}
