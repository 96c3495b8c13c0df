package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"syscall"

	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/externaldns/responder"
	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/observe"
)

// localDNS answers the DNS queries of the local network for the names that Plans serve.
// Every replica does. A nil localDNS answers none.
type localDNS struct {
	responder *responder.Responder
	metrics   *observe.Metrics
	log       *slog.Logger
	// always are the addresses of every name, and else those of names that have none by
	// the Plan.
	always, otherwise []netip.Addr
	exclude           []string // domains
	// inTurn says that replicas of this machine have an address one after the other.
	inTurn bool

	nowhere []string // names of the last Plan without an address; belongs to the loop's goroutine
}

// answerLocalDNS adds the responder to the parts, if there is one.
func (p *process) answerLocalDNS() {
	s := &p.settings.Responder
	if !s.enabled() {
		return
	}
	d := &localDNS{metrics: p.metrics, log: p.log, always: s.Addresses, exclude: s.Exclude, inTurn: p.settings.ShareSockets}
	if p.settings.Manifests != "" {
		d.otherwise = s.own()
	}
	d.responder = responder.New(responder.Options{
		Listen: s.Listen, Forward: s.Forward, TTL: s.TTL, AllowFrom: s.Allow,
		Observe:   func(o responder.Outcome) { p.metrics.ObserveLocalDNS(o.String()) },
		Listening: d.listening,
	})
	p.loop.localDNS = d
	p.early = append(p.early, d.Run)
}

// Run answers until ctx ends.
func (d *localDNS) Run(ctx context.Context) error { return d.responder.Run(ctx) }

// apply takes over what a Plan that is being served has.
func (d *localDNS) apply(plan *gateway.Plan) {
	if d == nil {
		return
	}
	hosts := make(map[string][]netip.Addr)
	for _, n := range plan.Names {
		d.add(hosts, n)
	}
	var list []responder.Host
	var nowhere []string
	ours := externaldns.Domains{Exclude: d.exclude}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		if !ours.Match(name) {
			continue
		}
		addresses := hosts[name]
		if len(addresses) == 0 {
			nowhere = append(nowhere, name)
			continue
		}
		slices.SortFunc(addresses, netip.Addr.Compare)
		list = append(list, responder.Host{Name: name, Addresses: slices.Compact(addresses)})
	}
	if len(nowhere) > 0 && !slices.Equal(nowhere, d.nowhere) {
		d.log.Warn("names have no private address, and are not answered on the local network; dns-responder-answer would say where they are", "names", len(nowhere), "first", nowhere[0])
	}
	d.nowhere = nowhere
	d.metrics.SetLocalNames(len(list))
	for _, domain := range d.exclude {
		list = append(list, responder.Host{Name: domain}, responder.Host{Name: "*." + domain})
	}
	d.responder.Apply(list)
}

// add adds the names of an object, with where they are.
func (d *localDNS) add(hosts map[string][]netip.Addr, n gateway.NamedObject) {
	source := externaldns.Source{Annotations: n.Annotations, Hostnames: n.Hostnames}
	for _, e := range n.Entries {
		source.Parents = append(source.Parents, externaldns.Parent{Hostname: e.Hostname})
	}
	for _, host := range source.Hosts() {
		addresses := d.always
		if len(addresses) == 0 {
			addresses = n.Entries[host.Parent].Local
		}
		if len(addresses) == 0 {
			addresses = d.otherwise
		}
		hosts[host.Name] = append(hosts[host.Name], addresses...)
	}
}

// listening tells the log what became of an address.
func (d *localDNS) listening(s responder.Socket) {
	d.metrics.SetLocalDNS(s.Address, s.Err == nil)
	switch {
	case s.Err == nil:
		d.log.Info("answering DNS queries of the local network", "address", s.Open.String())
	case errors.Is(s.Err, syscall.EADDRINUSE) && d.inTurn:
		d.log.Info("another process has the address of the DNS responder; waiting for it", "address", s.Address)
	default:
		d.log.Error("cannot answer DNS queries of the local network; trying again", "address", s.Address, "error", s.Err, "hint", hint(s.Err))
	}
}

// hint says what a person may do about an address that can't be opened.
func hint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there, such as systemd-resolved or dnsmasq; name one address of this machine, as in 192.168.1.2:53, or another port"
	case errors.Is(err, syscall.EACCES):
		return "ports below 1024 need the capability NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have the address"
	}
	return ""
}
