package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/observe"
	"github.com/lintel-dev/lintel/proxy"
	"github.com/lintel-dev/lintel/router"
	edgetls "github.com/lintel-dev/lintel/tls"
)

const (
	// maxApplies is enough for a socket to open in the place of another: one that
	// fails, one that succeeds, and one that finds nothing new.
	maxApplies = 3
	// retryInterval is how often a socket is tried again that could not be opened, or a
	// certificate that could not be read.
	retryInterval = time.Second
)

// source is where the objects come from: a cluster or a folder of manifests.
type source interface {
	// Wait returns the next change. Beside an error, which is ctx's, there may be one too: it
	// is not told again.
	Wait(ctx context.Context) (gateway.Change, error)
	Snapshot() *gateway.Snapshot
	EndpointSlices(service types.NamespacedName) []*discoveryv1.EndpointSlice
}

// loop is the one control loop: it turns every change of the objects into a Plan
// and hands it to the sinks. Its fields belong to the goroutine of Run.
type loop struct {
	source       source
	settings     gateway.Settings
	server       *proxy.Server
	certificates *edgetls.Store
	metrics      *observe.Metrics
	readiness    *readiness
	problems     *problemLog
	addresses    *poolAddresses // nil without address pools
	care         *certificateCare
	dns          *dnsCare  // nil without DNS records
	localDNS     *localDNS // nil without a responder
	names        *names
	sockets      *serviceSockets // nil without a socket balancer
	tunnels      *tunnelCare
	// writeStatus takes the wanted statuses; it must not block.
	writeStatus func([]*gateway.Status)
	// writeInfrastructure takes the wanted Services of Gateways; it must not block.
	writeInfrastructure func([]gateway.Infrastructure)
	// followSecrets takes the Secrets that Snapshots must have; it must not block.
	followSecrets func([]types.NamespacedName)
	// conflicts says which Gateways did not get theirs.
	conflicts func() map[gateway.ObjectRef]string
	// built is called after each build; it must not block.
	built func()
	log   *slog.Logger

	pace     pace
	memo     gateway.Memo
	plan     *gateway.Plan
	observed gateway.Observed
	answers  map[string]error // of sockets, as the server gave them last
	// unsettled says that the sockets answered otherwise than the Plan assumes.
	unsettled bool
}

// Run follows the source until ctx ends.
func (l *loop) Run(ctx context.Context) error {
	l.plan = &gateway.Plan{}
	for ctx.Err() == nil {
		change, err := l.wait(ctx)
		if err != nil {
			break
		}
		start := time.Now()
		if change.Objects {
			l.rebuild()
		}
		l.loadEndpoints(change.Services)
		l.sockets.apply(l.source, change.Services)
		l.names.change()
		l.dns.endpointsChanged(change.Services)
		l.problems.report(l.plan.Problems)
		rest(ctx, l.pace.rest(start, time.Now()))
	}
	return nil
}

// wait returns the next change. While a socket could not be opened, or a certificate not be
// read, it asks for a rebuild now and then, which tries again.
func (l *loop) wait(ctx context.Context) (gateway.Change, error) {
	if !l.unsettled && !l.bindFailed() && !l.care.unread() {
		return l.source.Wait(ctx)
	}
	bounded, cancel := context.WithTimeout(ctx, retryInterval)
	defer cancel()
	change, err := l.source.Wait(bounded)
	if err != nil && ctx.Err() == nil {
		change.Objects = true // beside what changed just then
		return change, nil
	}
	return change, err
}

func (l *loop) bindFailed() bool {
	for _, reason := range l.observed.Sockets {
		if reason != "" {
			return true
		}
	}
	return false
}

// rebuild makes the Plan of now and applies it. What the sockets answer may change
// statuses: then the Plan is made once more. A socket may also open only after
// another one, which the Plan wants no more, was closed.
func (l *loop) rebuild() {
	l.unsettled = true
	for attempt := 0; l.unsettled && attempt < maxApplies; attempt++ {
		l.unsettled = l.apply(l.build())
	}
	l.care.apply(l.plan)
	l.dns.apply(l.plan)
	l.localDNS.apply(l.plan)
	l.tunnels.apply(l.plan)
	l.followSecrets(l.plan.Secrets)
	l.addresses.apply(l.plan)
	l.writeStatus(slices.Concat(l.plan.Statuses, l.dns.endpointStatuses()))
	l.writeInfrastructure(l.plan.Infrastructure)
	statuses := l.plan.Statuses
	l.metrics.SetObjects(func() map[observe.ObjectCondition]int { return objectConditions(statuses) })
	l.metrics.Keep(attachments(l.plan))
	l.readiness.set(l.answers)
	l.built()
}

func (l *loop) build() *gateway.Plan {
	snapshot := l.source.Snapshot()
	snapshot.Settings, snapshot.Observed = l.settings, l.observed
	snapshot.Observed.Infrastructure = l.conflicts()
	l.addresses.observe(snapshot)
	l.care.observe(snapshot)
	l.dns.observe(snapshot)
	l.sockets.observe(snapshot)
	l.tunnels.observe(snapshot)
	start := time.Now()
	plan := gateway.Build(snapshot, &l.memo)
	took := time.Since(start)
	l.metrics.ObserveBuild(took)
	l.log.Debug("plan built", "took", took.String(), "sockets", len(plan.Sockets), "backends", len(plan.Backends))
	return plan
}

// apply hands the Plan to the data plane, in the order that drops no request:
// endpoints and certificates first, then sockets and table. It reports whether
// the sockets answered otherwise than before.
func (l *loop) apply(plan *gateway.Plan) (changed bool) {
	for port, backend := range plan.Backends {
		if l.plan.Backends[port] != backend {
			backend.SetEndpoints(l.source.EndpointSlices(port.Service))
		}
	}
	l.certificates.Apply(certificates(plan))
	answers := l.server.Apply(plan.Table, l.listeners(plan))
	l.tunnels.lead(plan)
	sockets := make(map[string]string, len(answers))
	for name, err := range answers {
		sockets[name] = ""
		if err != nil {
			sockets[name] = err.Error()
		}
	}
	addresses := unassigned(answers)
	changed = !maps.Equal(sockets, l.observed.Sockets) || !maps.Equal(addresses, l.observed.Addresses)
	l.logSockets(sockets)
	l.observed.Sockets, l.observed.Addresses, l.answers, l.plan = sockets, addresses, answers, plan
	return changed
}

// unassigned returns the addresses of sockets that did not open because the node does
// not have them.
func unassigned(answers map[string]error) map[netip.Addr]string {
	addresses := make(map[netip.Addr]string)
	for name, err := range answers {
		if !errors.Is(err, syscall.EADDRNOTAVAIL) {
			continue
		}
		address, _, _ := strings.Cut(name, "/") // "/udp"
		if at, parse := netip.ParseAddrPort(address); parse == nil {
			addresses[at.Addr()] = "the node does not have it"
		}
	}
	return addresses
}

// logSockets says which sockets opened, closed or failed since the last time.
func (l *loop) logSockets(sockets map[string]string) {
	for name, fault := range sockets {
		was, known := l.observed.Sockets[name]
		switch {
		case known && was == fault:
		case fault == "":
			l.log.Info("socket is open", "socket", name)
		default:
			l.log.Error("cannot open socket", "socket", name, "why", fault)
		}
	}
	for name := range l.observed.Sockets {
		if _, wanted := sockets[name]; !wanted {
			l.log.Info("socket is closed", "socket", name)
		}
	}
}

// loadEndpoints loads the endpoints of the Backends of the given Services.
func (l *loop) loadEndpoints(services []types.NamespacedName) {
	changed := make(map[types.NamespacedName]bool, len(services))
	for _, s := range services {
		changed[s] = true
	}
	for port, backend := range l.plan.Backends {
		if changed[port.Service] {
			backend.SetEndpoints(l.source.EndpointSlices(port.Service))
		}
	}
}

// listeners converts the Plan's sockets to the data plane's input.
func (l *loop) listeners(plan *gateway.Plan) []proxy.Listener {
	listeners := make([]proxy.Listener, len(plan.Sockets))
	for i, s := range plan.Sockets {
		listeners[i] = proxy.Listener{
			Name: s.Name, Protocol: s.Protocol, FreeBind: s.FreeBind,
			ClientAuth: s.ClientAuth, ClientCAs: s.ClientCAs,
		}
		if s.Protocol == router.SocketTLS {
			listeners[i].GetCertificate = l.certificates.For(s.Name)
		}
	}
	return listeners
}

// certificates converts the Plan's certificates to the certificate store's input.
func certificates(plan *gateway.Plan) map[string][]edgetls.Certificate {
	all := make(map[string][]edgetls.Certificate)
	for _, s := range plan.Sockets {
		for _, c := range s.Certificates {
			all[s.Name] = append(all[s.Name], edgetls.Certificate{ServerName: c.ServerName, Certificate: c.Certificate})
		}
	}
	return all
}

// attachments converts the Plan's attachments to those whose metrics are kept.
func attachments(plan *gateway.Plan) map[observe.Attachment]bool {
	live := make(map[observe.Attachment]bool, len(plan.Attachments))
	for _, a := range plan.Attachments {
		live[observe.Attachment(a)] = true
	}
	return live
}

// objectConditions counts objects by kind, condition and status.
func objectConditions(statuses []*gateway.Status) map[observe.ObjectCondition]int {
	counts := make(map[observe.ObjectCondition]int)
	for _, s := range statuses {
		for c := range s.Conditions() {
			counts[observe.ObjectCondition{Kind: s.Object.Kind, Condition: c.Type, Status: string(c.Status)}]++
		}
	}
	return counts
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
