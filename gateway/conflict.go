package gateway

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// findConflicts marks Listeners that are not distinct. Within a Gateway all of
// them are conflicted (GatewaySpec.Listeners); between Gateways that share an
// address the older one keeps what it has.
func (b *build) findConflicts() {
	var older []*listener
	for _, g := range b.gateways {
		if g.refused != nil {
			continue
		}
		accepted := slices.DeleteFunc(slices.Clone(g.listeners), func(l *listener) bool { return l.refused != nil })
		for i, l := range accepted {
			for _, other := range accepted[:i] {
				b.conflictIndistinct(l, other)
			}
		}
		for _, l := range accepted {
			for _, other := range older {
				if l.conflict == nil && l.refused == nil {
					b.conflictBetween(l, other)
				}
			}
		}
		for _, l := range accepted {
			if l.conflict == nil && l.refused == nil {
				older = append(older, l)
			}
		}
	}
}

// conflictIndistinct marks two Listeners that share an address and are not distinct.
func (b *build) conflictIndistinct(l, other *listener) {
	if reason, what := l.indistinct(other); reason != "" {
		b.conflict(l, other, reason, what)
	}
}

// conflictBetween compares a Listener with one of an older Gateway. Where one
// listens on every address and the other on some, the kernel gives the port to one
// of them alone.
func (b *build) conflictBetween(l, older *listener) {
	if l.Port != older.Port {
		return
	}
	same := slices.ContainsFunc(l.sockets, func(s string) bool { return slices.Contains(older.sockets, s) })
	if same {
		b.conflictIndistinct(l, older)
		return
	}
	if l.gateway.addresses[0] == "" || older.gateway.addresses[0] == "" {
		b.refuse(l, l.problem(".port", string(gatewayv1.ListenerReasonPortUnavailable),
			fmt.Sprintf("port %d of overlapping addresses is taken by Listener %q of %s", l.Port, older.Name, older.owner.ref)))
	}
}

// indistinct says why traffic could not be assigned to one of two Listeners that
// share an address; the reason is "" if it can.
func (l *listener) indistinct(other *listener) (reason gatewayv1.ListenerConditionReason, what string) {
	switch {
	case l.Port != other.Port:
		return "", ""
	case l.Protocol != other.Protocol:
		return gatewayv1.ListenerReasonProtocolConflict, fmt.Sprintf("%s and %s cannot share port %d, which is taken", l.Protocol, other.Protocol, l.Port)
	case l.hostname == other.hostname:
		return gatewayv1.ListenerReasonHostnameConflict, fmt.Sprintf("%s on port %d is taken", l.hosts(), l.Port)
	default:
		return "", ""
	}
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
	return l.problem("", string(reason), fmt.Sprintf("%s by Listener %q of %s", what, other.Name, other.owner.ref))
}

// hosts names the hosts of a Listener in a message.
func (l *listener) hosts() string {
	if l.hostname == "" {
		return "every hostname"
	}
	return fmt.Sprintf("hostname %q", l.hostname)
}
