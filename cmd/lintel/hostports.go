package main

import (
	"context"

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
		<-ctx.Done()
		return ports.Close()
	})
	return ports
}
