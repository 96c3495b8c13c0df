package gateway

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// findConflicts marks Listeners that are not distinct. Within a Gateway all of
// them are conflicted (GatewaySpec.Listeners); between Gateways that share an
// address the older one keeps what it has.
func (b *build) findConflicts() {
	type hostAt struct{ socket, hostname string }
	protocols := make(map[string]*listener)
	hostnames := make(map[hostAt]*listener)
	for _, g := range b.orderedGateways() {
		for _, l := range g.listeners {
			if l.refused != nil || g.refused != nil {
				continue
			}
			for _, socket := range l.sockets {
				if other := protocols[socket]; other != nil && other.Protocol != l.Protocol {
					b.conflict(l, other, gatewayv1.ListenerReasonProtocolConflict, fmt.Sprintf("%s and %s cannot share port %d, which is taken", l.Protocol, other.Protocol, l.Port))
					continue
				} else if other == nil {
					protocols[socket] = l
				}
				at := hostAt{socket, l.hostname}
				if other := hostnames[at]; other != nil && other != l {
					b.conflict(l, other, gatewayv1.ListenerReasonHostnameConflict, fmt.Sprintf("%s on port %d is taken", l.hosts(), l.Port))
				} else {
					hostnames[at] = l
				}
			}
		}
	}
}

// orderedGateways returns our Gateways, oldest first.
func (b *build) orderedGateways() []*boundGateway {
	var ordered []*boundGateway
	for _, l := range b.listeners {
		if len(ordered) == 0 || ordered[len(ordered)-1] != l.gateway {
			ordered = append(ordered, l.gateway)
		}
	}
	return ordered
}

// conflict marks l as conflicted with other, and other too if both are of one
// Gateway. It is reported once, for the later of the two.
func (b *build) conflict(l, other *listener, reason gatewayv1.ListenerConditionReason, what string) {
	if l.conflict == nil {
		l.conflict = l.conflictWith(other, reason, what)
		b.report(*l.conflict)
	}
	if l.gateway == other.gateway && other.conflict == nil {
		other.conflict = other.conflictWith(l, reason, what)
	}
}

func (l *listener) conflictWith(other *listener, reason gatewayv1.ListenerConditionReason, what string) *Problem {
	return l.problem("", string(reason), fmt.Sprintf("%s by Listener %q of %s", what, other.Name, other.gateway.ref))
}

// hosts names the hosts of a Listener in a message.
func (l *listener) hosts() string {
	if l.hostname == "" {
		return "every hostname"
	}
	return fmt.Sprintf("hostname %q", l.hostname)
}
