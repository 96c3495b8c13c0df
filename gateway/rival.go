package gateway

import (
	"fmt"
	"strings"
)

// Rules of HTTPRoutes and of GRPCRoutes are not merged: their precedence differs. Of two
// Routes of these kinds whose hostnames intersect at a Listener, the older one attaches,
// or else the first by name, and the other one does not (HTTPRouteSpec.hostnames, GRPCRouteSpec.hostnames).

// reasonHostnameConflict is the reason of such a Route's Accepted condition; the API has
// none of its own.
const reasonHostnameConflict = "HostnameConflict"

// routeByHost holds the oldest Route that is attached under a hostname, "" for any.
type routeByHost map[string]ObjectRef

// rivalKind is the kind of Routes that a Route cannot share a hostname with, "" for none.
func rivalKind(kind string) string {
	switch kind {
	case kindHTTPRoute:
		return kindGRPCRoute
	case kindGRPCRoute:
		return kindHTTPRoute
	default:
		return ""
	}
}

// hasRivals reports whether there are Routes that a Route of the kind may compete with.
func (b *build) hasRivals(kind string) bool {
	switch rivalKind(kind) {
	case kindHTTPRoute:
		return len(b.HTTPRoutes) > 0
	case kindGRPCRoute:
		return len(b.GRPCRoutes) > 0
	default:
		return false
	}
}

// rival returns an older Route that r cannot attach to the Listener beside, and the
// hostname of r that it has.
func (l *listener) rival(r *boundRoute) (rival ObjectRef, host string, found bool) {
	taken := l.taken[rivalKind(r.ref.Kind)]
	if len(taken) == 0 {
		return ObjectRef{}, "", false
	}
	for _, h := range r.memo.parsed.hostnames {
		if rival, found = taken.intersecting(h); found && intersects(l.hostname, h) {
			return rival, h, true
		}
	}
	return ObjectRef{}, "", false
}

// take notes the hostnames under which r is attached to the Listener.
func (l *listener) take(r *boundRoute) {
	taken := l.taken[r.ref.Kind]
	if taken == nil {
		taken = make(routeByHost)
		if l.taken == nil {
			l.taken = make(map[string]routeByHost)
		}
		l.taken[r.ref.Kind] = taken
	}
	for _, h := range r.memo.parsed.hostnames {
		if _, known := taken[h]; !known && intersects(l.hostname, h) {
			taken[h] = r.ref
		}
	}
}

// intersecting returns the Route of a hostname that intersects h: for a plain name it
// looks up what can match it; a wildcard is compared with all.
func (t routeByHost) intersecting(h string) (ObjectRef, bool) {
	if h != "" && !strings.HasPrefix(h, "*") {
		if r, ok := t[h]; ok {
			return r, true
		}
		for rest := h; ; {
			_, after, more := strings.Cut(rest, ".")
			if !more {
				break
			}
			if r, ok := t["*."+after]; ok {
				return r, true
			}
			rest = after
		}
		r, ok := t[""]
		return r, ok
	}
	var first string
	found := false
	for name := range t {
		if intersects(name, h) && (!found || name < first) { // the same one in every Build
			first, found = name, true
		}
	}
	return t[first], found
}

// withoutRivals returns the Listeners at which r has no rival, and for each of the others
// what to tell the user.
func (r *boundRoute) withoutRivals(matched []*listener) (free []*listener, taken []string) {
	for _, l := range matched {
		if rival, host, found := l.rival(r); found {
			taken = append(taken, rivalMessage(r, l, rival, host))
			continue
		}
		free = append(free, l)
	}
	return free, taken
}

// rivalMessage says why r is not attached to a Listener.
func rivalMessage(r *boundRoute, l *listener, rival ObjectRef, host string) string {
	where := fmt.Sprintf("hostname %q of Listener %q", host, l.Name)
	if host == "" {
		where = fmt.Sprintf("a hostname of Listener %q", l.Name)
	}
	return fmt.Sprintf("%s belongs to %s, which comes first, and %s cannot share it with %s; name a hostname that is free",
		where, rival, article(r.ref.Kind), article(rival.Kind))
}
