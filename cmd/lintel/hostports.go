package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/lintel-dev/lintel/bpf/hostports"
	"github.com/lintel-dev/lintel/proxy/exchange"
)

// The ways to receive for ports of the machine.
const (
	hostPortsBind     = "bind"
	hostPortsSkLookup = "sk_lookup"
)

// openHostPorts returns what sockets are opened by, nil for binding them: also where
// nothing else can be done, as it is better to serve. Then it says so to who asks whether we
// are ready.
func (p *process) openHostPorts(ready *readiness) exchange.HostPorts {
	if p.settings.HostPorts != hostPortsSkLookup {
		return nil
	}
	ports, err := hostports.Open()
	if err != nil {
		p.log.Warn("ports are bound, as host-ports=sk_lookup can't be", "error", err)
		ready.remark("host-ports: ports are bound; sk_lookup is " + err.Error())
		return nil
	}
	p.late = append(p.late, func(ctx context.Context) error {
		tellStarved(ctx, ports.Starved, p.log)
		return ports.Close()
	})
	return ports
}

// starvedInterval is how often is looked for others who have bound a port of ours. Who is
// seen once may be a replica of ours that is about to end.
const starvedInterval = 30 * time.Second

// tellStarved says, once, of each program that binds a port which we receive for that it gets
// no clients, until ctx ends. look returns who does now.
func tellStarved(ctx context.Context, look func() ([]hostports.Conflict, error), log *slog.Logger) {
	ticker := time.NewTicker(starvedInterval)
	defer ticker.Stop()
	seen := map[hostports.Conflict]int{}
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		starved, err := look()
		if err != nil && !failing {
			log.Warn("cannot look for ports that others have bound too; trying again", "error", err)
		}
		if failing = err != nil; failing {
			continue
		}
		again := make(map[hostports.Conflict]int, len(starved))
		for _, c := range starved {
			if again[c] = seen[c] + 1; again[c] == 2 {
				log.Warn("another program has bound a port that Lintel receives for, and gets no clients", "port", c.Place, "program", c.Holder)
			}
		}
		seen = again
	}
}
