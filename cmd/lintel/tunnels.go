package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
	"github.com/lintel-dev/lintel/kube"
	"github.com/lintel-dev/lintel/observe"
	"github.com/lintel-dev/lintel/proxy"
	"github.com/lintel-dev/lintel/tunnel"
	"github.com/lintel-dev/lintel/tunnel/access"
)

// tunnelCare keeps the tunnels of Plans connected, and tells the loop what became of them.
type tunnelCare struct {
	server    *proxy.Server
	connector *tunnel.Connector
	metrics   *observe.Metrics
	client    *http.Client // that asks for the keys of Access
	event     func(kube.Event)
	log       *slog.Logger
	ended     chan struct{} // closed by Run at its end

	changed chan struct{} // holds a token while a Status may have changed
	changes chan struct{} // holds a token while the loop has something to see

	// These belong to the loop's goroutine.
	entries map[types.NamespacedName]*proxy.Entry
	guards  map[types.NamespacedName]*tunnelGuard

	creator *tunnelCreator
	records *tunnelRecords

	mu     sync.Mutex // guards what follows
	plan   *gateway.Plan
	wanted map[types.NamespacedName]*wantedTunnel
	// handlers are the entries of its Tunnels, and configs what the connector was told last.
	handlers map[types.NamespacedName]*proxy.Entry
	configs  map[string]tunnel.Config
	states   map[types.NamespacedName]gateway.TunnelState // as the loop has them, or is about to

	// What the creator and the records were told last.
	wantedCreations map[types.NamespacedName]creationWant
	wantedRecords   map[types.NamespacedName]recordsWant
}

// wantedTunnel is a Tunnel of the last Plan.
type wantedTunnel struct {
	config  tunnel.Config      // without credentials while there are none
	edge    gateway.TunnelEdge // that config.Edge was made from
	invalid string             // why they can't be read
	// notCreated is why there is no tunnel of this name.
	notCreated string
}

// tunnelGuard checks requests of a tunnel.
type tunnelGuard struct {
	from  v1alpha1.TunnelAccess
	check func(*http.Request) error
}

func newTunnelCare(p *process) *tunnelCare {
	c := &tunnelCare{
		server: p.server, metrics: p.metrics, client: p.dnsClient, event: func(kube.Event) {}, log: p.log, ended: p.tunnelsEnd,
		changed: make(chan struct{}, 1), changes: make(chan struct{}, 1),
		entries: make(map[types.NamespacedName]*proxy.Entry), guards: make(map[types.NamespacedName]*tunnelGuard),
	}
	changed := func() { wake(c.changed) }
	c.creator = newTunnelCreator(p.log, changed)
	c.records = newTunnelRecords(&p.settings.DNS, p.log, changed)
	c.plan = &gateway.Plan{}
	p.metrics.ObserveTunnels(c.measure)
	c.connector = tunnel.New(tunnel.Settings{
		Log: p.log, Version: thisVersion().Version, GracePeriod: p.settings.DrainTimeout, Changed: changed,
	})
	return c
}

// wake puts a token into a channel that holds one.
func wake(tokens chan<- struct{}) {
	select {
	case tokens <- struct{}{}:
	default:
	}
}

// Run keeps the tunnels connected until ctx ends, and what came through them is answered.
// Every replica does.
func (c *tunnelCare) Run(ctx context.Context) error {
	defer close(c.ended)
	watching, stop := context.WithCancel(context.Background())
	var watched sync.WaitGroup
	watched.Go(func() { c.watch(watching) })
	err := c.connector.Run(ctx)
	stop()
	watched.Wait()
	return err
}

// watch tells the loop when something changed that it can see.
func (c *tunnelCare) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
			c.mu.Lock()
			c.connect()
			c.mu.Unlock()
		}
	}
}

// refresh wakes the loop if states changed. The caller holds c.mu.
func (c *tunnelCare) refresh() {
	status := c.connector.Status()
	states := make(map[types.NamespacedName]gateway.TunnelState, len(c.wanted))
	for name, w := range c.wanted {
		s := status[name.String()]
		state := w.state(&s)
		state.DNS = c.records.state(name)
		states[name] = state
	}
	defer c.applyRecords()
	defer c.applyCreations()
	if reflect.DeepEqual(states, c.states) {
		return
	}
	c.tell(states)
	c.states = states
	wake(c.changes)
}

// state is what the loop gets to see of a tunnel. What changes with every attempt is no part
// of it.
func (w *wantedTunnel) state(s *tunnel.Status) gateway.TunnelState {
	state := gateway.TunnelState{Invalid: w.invalid, NotCreated: w.notCreated}
	if w.config.Credentials != (tunnel.Credentials{}) {
		state.ID, state.Hostname = w.config.Credentials.Tunnel.String(), w.config.Credentials.Hostname()
	}
	for i := range s.Connections {
		n := &s.Connections[i]
		state.Connections = append(state.Connections, v1alpha1.TunnelConnection{
			Index: int32(n.Index), Location: n.Location, Edge: n.Address.String(), Protocol: protocolNamed(n.Protocol),
		})
	}
	if f := s.Failure; f != nil {
		state.Failure, state.Refused = f.Reason, f.Permanent
	}
	return state
}

// tell writes Events about tunnels that were connected, or are no longer. The caller holds
// c.mu.
func (c *tunnelCare) tell(states map[types.NamespacedName]gateway.TunnelState) {
	for name, state := range states {
		was := c.states[name]
		e := kube.Event{Object: gateway.ObjectRef{Kind: v1alpha1.KindTunnel, Namespace: name.Namespace, Name: name.Name}}
		is, had := len(state.Connections) > 0, len(was.Connections) > 0
		switch {
		case is && !had:
			e.Reason, e.Message = "Connected", "connected to Cloudflare's edge at "+cmp.Or(state.Connections[0].Location, state.Connections[0].Edge)
		case !is && had:
			e.Warning, e.Reason, e.Message = true, "Disconnected", "there is no connection to Cloudflare's edge: "+cmp.Or(state.Failure, "it was closed")
		case state.Invalid != "" && state.Invalid != was.Invalid:
			e.Warning, e.Reason, e.Message = true, "InvalidCredentials", state.Invalid
		case state.Refused && !was.Refused:
			e.Warning, e.Reason, e.Message = true, "Refused", state.Failure
		default:
			continue
		}
		c.event(e)
	}
	for name, state := range states {
		is, was := state.DNS, c.states[name].DNS
		if is != nil && !is.Ready && (was == nil || was.Reason != is.Reason) {
			c.event(kube.Event{
				Object:  gateway.ObjectRef{Kind: v1alpha1.KindTunnel, Namespace: name.Namespace, Name: name.Name},
				Warning: true, Reason: "DNS" + is.Reason, Message: is.Message,
			})
		}
	}
}

// observe adds to a Snapshot what is known of the tunnels.
func (c *tunnelCare) observe(s *gateway.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Observed.Tunnels = c.states
}

// lead lets requests of tunnels find their way in the Table of a Plan that was just swapped
// in. A tunnel that is not wanted any more leads nowhere.
func (c *tunnelCare) lead(plan *gateway.Plan) {
	leads := make(map[types.NamespacedName]bool, len(plan.Tunnels))
	for i := range plan.Tunnels {
		t := &plan.Tunnels[i]
		leads[t.Name] = true
		entry := c.entries[t.Name]
		if entry == nil {
			entry = c.server.Entry()
			c.entries[t.Name] = entry
		}
		entry.Lead(proxy.Ways{Plain: t.Plain, Secure: t.Secure, Streams: t.Streams, Guard: c.guard(t)})
	}
	for name, entry := range c.entries {
		if !leads[name] {
			entry.Lead(proxy.Ways{})
			delete(c.guards, name)
		}
	}
}

// guard returns what checks the requests of a tunnel; nil for nothing.
func (c *tunnelCare) guard(t *gateway.Tunnel) func(*http.Request) error {
	if t.Access == nil {
		delete(c.guards, t.Name)
		return nil
	}
	if g := c.guards[t.Name]; g != nil && reflect.DeepEqual(g.from, *t.Access) {
		return g.check
	}
	g := &tunnelGuard{from: *t.Access}
	validator, err := access.New(access.Options{TeamDomain: t.Access.TeamDomain, Audiences: t.Access.Audiences, Client: c.client, Log: c.log.With("tunnel", t.Name.String())})
	if err != nil { // the schema refuses such
		g.check = func(*http.Request) error { return err }
	} else {
		g.check = validator.Check
	}
	c.guards[t.Name] = g
	return g.check
}

// apply takes over the tunnels that a Plan which is being served wants.
func (c *tunnelCare) apply(plan *gateway.Plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plan = plan
	c.handlers = make(map[types.NamespacedName]*proxy.Entry, len(plan.Tunnels))
	for i := range plan.Tunnels {
		c.handlers[plan.Tunnels[i].Name] = c.entries[plan.Tunnels[i].Name]
	}
	c.connect()
}

// connect makes the tunnels of the Plan wanted, with the credentials that there are. The
// caller holds c.mu.
func (c *tunnelCare) connect() {
	wanted := make(map[types.NamespacedName]*wantedTunnel, len(c.plan.Tunnels))
	want := make(map[string]tunnel.Config, len(c.plan.Tunnels))
	for i := range c.plan.Tunnels {
		t := &c.plan.Tunnels[i]
		w := c.newWantedTunnel(t, c.wanted[t.Name])
		w.config.Handler = c.handlers[t.Name]
		wanted[t.Name] = w
		if w.config.Credentials != (tunnel.Credentials{}) {
			want[t.Name.String()] = w.config
		}
	}
	c.wanted = wanted
	if !maps.Equal(want, c.configs) {
		c.configs = want
		c.connector.Apply(maps.Clone(want))
	}
	c.refresh()
}

// newWantedTunnel converts a Tunnel. While its Secret is not there, what was before goes on.
func (c *tunnelCare) newWantedTunnel(t *gateway.Tunnel, before *wantedTunnel) *wantedTunnel {
	if before != nil && t.Missing {
		return &wantedTunnel{config: before.config, edge: before.edge}
	}
	w := &wantedTunnel{edge: t.Edge}
	w.config.Protocol = protocolOf(t.Protocol)
	credentials, notCreated, err := c.credentialsOf(t)
	w.notCreated = notCreated
	switch {
	case err != nil:
		w.invalid = err.Error()
		return w
	case before != nil && t.Create != nil && credentials == (tunnel.Credentials{}): // its Secret is gone
		w.config, w.edge = before.config, before.edge
		return w
	}
	if w.config.Edge, err = edgeOf(t, before); err != nil {
		w.invalid = err.Error()
		return w
	}
	w.config.Credentials = credentials
	return w
}

// readCredentials returns none while there are none.
func readCredentials(t *gateway.Tunnel) (c tunnel.Credentials, err error) {
	switch {
	case t.Token != "":
		c, err = tunnel.ParseToken(t.Token)
	case t.File != "":
		c, err = tunnel.ParseFile([]byte(t.File))
	default:
		return c, nil
	}
	if err == nil && t.Edge.Region != "" {
		c.Endpoint = t.Edge.Region
	}
	return c, err
}

// edgeOf returns nil for Cloudflare's edge, and what it returned before if that is the same.
func edgeOf(t *gateway.Tunnel, before *wantedTunnel) (*tunnel.Edge, error) {
	if t.Edge.Addresses == nil && t.Edge.CA == "" {
		return nil, nil
	}
	if before != nil && reflect.DeepEqual(before.edge, t.Edge) && before.config.Edge != nil {
		return before.config.Edge, nil
	}
	e := &tunnel.Edge{Addresses: t.Edge.Addresses}
	if t.Edge.CA != "" {
		e.Roots = x509.NewCertPool()
		if !e.Roots.AppendCertsFromPEM([]byte(t.Edge.CA)) {
			return nil, errors.New("spec.edge.ca: there is no certificate (PEM) in the Secret")
		}
	}
	return e, nil
}

func protocolOf(p v1alpha1.TunnelProtocol) tunnel.Protocol {
	switch p {
	case v1alpha1.TunnelQUIC:
		return tunnel.QUIC
	case v1alpha1.TunnelAuto:
		return tunnel.Auto
	case v1alpha1.TunnelHTTP2:
		return tunnel.HTTP2
	default:
		panic(fmt.Sprintf("protocol %q, which the schema refuses", p))
	}
}

func protocolNamed(p tunnel.Protocol) v1alpha1.TunnelProtocol {
	if p == tunnel.QUIC {
		return v1alpha1.TunnelQUIC
	}
	return v1alpha1.TunnelHTTP2
}
