package gateway

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// findConflicts marks Listeners that are not distinct. Within a Gateway or a ListenerSet
// all of them are conflicted (GatewaySpec.Listeners); otherwise the older one keeps what it
// has: that of an older Gateway that shares an address, or of the Gateway before those of
// its ListenerSets (ListenerSetSpec.Listeners).
func (b *build) findConflicts() {
	var older []*listener
	for _, g := range b.gateways {
		if g.refused != nil {
			continue
		}
		older = b.findConflictsIn(&g.listenerOwner, older)
		for _, s := range g.sets {
			if s.refused == nil {
				older = b.findConflictsIn(&s.listenerOwner, older)
			}
		}
	}
}

// findConflictsIn compares an owner's Listeners with older ones and with each other, and
// returns the older ones and those that are not conflicted.
func (b *build) findConflictsIn(owner *listenerOwner, older []*listener) []*listener {
	accepted := func(l *listener) bool { return l.refused == nil && l.conflict == nil }
	var candidates []*listener
	for _, l := range owner.listeners {
		for _, other := range older {
			if accepted(l) {
				b.conflictBetween(l, other)
			}
		}
		if accepted(l) {
			candidates = append(candidates, l)
		}
	}
	for i, l := range candidates {
		for _, other := range candidates[:i] {
			if reason, what := l.indistinct(other); reason != "" {
				b.conflict(l, other, reason, what)
			}
		}
	}
	return append(older, slices.DeleteFunc(candidates, func(l *listener) bool { return !accepted(l) })...)
}

// conflictBetween compares a Listener with one that comes before it. Where one listens on
// every address and the other on some, the kernel gives the port to one of them alone.
func (b *build) conflictBetween(l, older *listener) {
	if l.Port != older.Port || l.socketSuffix() != older.socketSuffix() {
		return
	}
	if l.gateway == older.gateway || l.sharesSocket(older) {
		if reason, what := l.indistinct(older); reason != "" {
			b.conflict(l, older, reason, what)
		}
		return
	}
	if l.gateway.everywhere() && older.gateway.isLocal() || older.gateway.everywhere() && l.gateway.isLocal() {
		b.refuse(l, l.problem(".port", string(gatewayv1.ListenerReasonPortUnavailable),
			fmt.Sprintf("port %d of overlapping addresses is taken by Listener %q of %s", l.Port, older.Name, older.owner.ref)))
	}
}

func (l *listener) sharesSocket(other *listener) bool {
	return slices.ContainsFunc(l.sockets, func(s string) bool { return slices.Contains(other.sockets, s) })
}

// everywhere reports whether the Gateway listens on every address of the node.
func (g *boundGateway) everywhere() bool { return len(g.listening) > 0 && g.listening[0].everywhere() }

// isLocal reports whether the Gateway listens on an address.
func (g *boundGateway) isLocal() bool { return len(g.listening) > 0 && g.listening[0].tunnel == nil }

// indistinct says why traffic could not be assigned to one of two Listeners that
// share an address; the reason is "" if it can. HTTPS and TLS are both told apart by
// server names, and may share a port.
func (l *listener) indistinct(other *listener) (reason gatewayv1.ListenerConditionReason, what string) {
	protocol := l.socketProtocol()
	switch {
	case l.Port != other.Port || l.socketSuffix() != other.socketSuffix():
		return "", ""
	case protocol != other.socketProtocol():
		return gatewayv1.ListenerReasonProtocolConflict, fmt.Sprintf("%s and %s cannot share port %d, which is taken", l.Protocol, other.Protocol, l.Port)
	case protocol == router.SocketTCP || protocol == router.SocketUDP:
		return gatewayv1.ListenerReasonProtocolConflict, fmt.Sprintf("%s on port %d, which cannot be shared, is taken", l.Protocol, l.Port)
	case l.hostname == other.hostname:
		return gatewayv1.ListenerReasonHostnameConflict, fmt.Sprintf("%s on port %d is taken", l.hosts(), l.Port)
	default:
		return "", ""
	}
}

// conflict marks l as conflicted with other, and other too if both are of one owner. It
// is reported once, for the later of the two.
func (b *build) conflict(l, other *listener, reason gatewayv1.ListenerConditionReason, what string) {
	if l.conflict == nil {
		l.conflict = l.conflictWith(other, reason, what)
		b.report(*l.conflict)
	}
	if l.owner == other.owner && other.conflict == nil {
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
