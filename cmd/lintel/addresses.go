package main

import (
	"context"
	"maps"
	"net/netip"
	"os"
	"time"

	"github.com/lintel-dev/lintel/address"
	"github.com/lintel-dev/lintel/gateway"
)

// handOver is how long exchanges in flight may keep an address on a node that stops
// to serve it.
const handOver = 2 * time.Second

// systemNamespace is in every cluster, and its UID the cluster's own.
const systemNamespace = "kube-system"

// poolAddresses makes the addresses of pools that Gateways use reachable. A nil one
// does nothing. But for the parts that run, it belongs to the loop's goroutine.
type poolAddresses struct {
	announcer    *address.Announcer
	installation string // tells replicas from other installations in the cluster
	group        string

	stop    context.CancelFunc // ends the announcer
	stopped chan struct{}
}

// announceAddresses adds the announcer to the parts if there are address pools.
func (p *process) announceAddresses() error {
	if len(p.settings.AddressPools) == 0 {
		return nil
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	a := &poolAddresses{
		announcer:    address.New(address.Options{Interface: p.settings.AnnounceInterface, Name: name, Log: p.log}),
		installation: p.settings.ControllerName + " " + p.settings.LeaseName,
		stopped:      make(chan struct{}),
	}
	running, stop := context.WithCancel(context.Background())
	a.stop = stop
	p.early = append(p.early, a.bound)
	p.late = append(p.late, func(ctx context.Context) error {
		defer close(a.stopped)
		defer context.AfterFunc(ctx, stop)()
		return a.announcer.Run(running)
	})
	p.loop.source = wakingSource{source: p.loop.source, wake: a.announcer.Changes()}
	p.loop.addresses = a
	return nil
}

// bound gives the addresses up a while after ctx ended, though the data plane still
// drains: new connections to them are refused here by then.
func (a *poolAddresses) bound(ctx context.Context) error {
	<-ctx.Done()
	a.announcer.Retire()
	defer a.stop()
	timer := time.NewTimer(handOver)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.stopped:
	}
	return nil
}

// observe adds what became of the addresses to what the Snapshot says.
func (a *poolAddresses) observe(s *gateway.Snapshot) {
	if a == nil {
		return
	}
	a.group = a.installation
	for _, n := range s.Namespaces {
		if n.Name == systemNamespace {
			a.group += " " + string(n.UID)
		}
	}
	all := make(map[netip.Addr]string)
	maps.Copy(all, s.Observed.Addresses)
	maps.Copy(all, a.announcer.Answers())
	s.Observed.Addresses = all
}

// apply makes the addresses of a Plan wanted, once their sockets are open.
func (a *poolAddresses) apply(plan *gateway.Plan) {
	if a != nil {
		a.announcer.Apply(address.Want{Group: a.group, Addresses: plan.Addresses})
	}
}

// wakingSource is a source that changes, too, when wake can be read.
type wakingSource struct {
	source
	wake <-chan struct{}
}

func (s wakingSource) Wait(ctx context.Context) (gateway.Change, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	woken := make(chan bool, 1)
	go func() {
		select {
		case <-s.wake:
			cancel()
			woken <- true
		case <-waiting.Done():
			woken <- false
		}
	}()
	change, err := s.source.Wait(waiting)
	cancel()
	if <-woken {
		change.Objects = true
		return change, ctx.Err()
	}
	return change, err
}
