package gateway

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// route is a Route of any kind, as all kinds write it.
type route struct {
	metav1.Object
	ref        ObjectRef
	created    int64 // in ns since 1970
	parentRefs []gatewayv1.ParentReference
	status     []gatewayv1.RouteParentStatus // as the Snapshot has it
}

// boundRoute is a Route with at least one parent of ours.
type boundRoute struct {
	route
	memo      *routeMemo
	parents   []boundParent
	listeners []*listener // that it is placed in, each once

	resolved condition
}

// boundParent is one parentRef that names a Gateway or a ListenerSet of ours.
type boundParent struct {
	index    int // in spec.parentRefs
	accepted condition
}

// routeMemo is what is known of one version of a Route.
type routeMemo struct {
	uid        types.UID
	generation int64
	label      string // of its Rules
	parsed     *parsedRoute
	backends   []*router.Backend // of every reference in order, nil where it does not resolve
	rules      []entryRules
	streams    map[entry]*router.Stream // of Routes whose traffic is not requests
	status     *Status                  // of the Build before, nil for none
	outcome    *routeOutcome            // what status was made from; nil if it tells of no parent
}

// routes returns the Routes of every kind that is served, the oldest first, so that
// where only one of several can have something it is the first to come.
func (b *build) routes() []route {
	all := make([]route, 0, len(b.HTTPRoutes))
	for _, r := range b.HTTPRoutes {
		all = append(all, newRoute(kindHTTPRoute, r, r.Spec.ParentRefs, r.Status.Parents))
	}
	for _, r := range b.GRPCRoutes {
		all = append(all, newRoute(kindGRPCRoute, r, r.Spec.ParentRefs, r.Status.Parents))
	}
	for _, r := range b.TLSRoutes {
		all = append(all, newRoute(kindTLSRoute, r, r.Spec.ParentRefs, r.Status.Parents))
	}
	for _, r := range b.TCPRoutes {
		all = append(all, newRoute(kindTCPRoute, r, r.Spec.ParentRefs, r.Status.Parents))
	}
	for _, r := range b.UDPRoutes {
		all = append(all, newRoute(kindUDPRoute, r, r.Spec.ParentRefs, r.Status.Parents))
	}
	slices.SortFunc(all, func(x, y route) int { return x.compareAge(&y) })
	return all
}

// compareAge is byAge, then by kind. It is called often.
func (r *route) compareAge(x *route) int {
	return cmp.Or(
		cmp.Compare(r.created, x.created),
		cmp.Compare(r.ref.Namespace, x.ref.Namespace),
		cmp.Compare(r.ref.Name, x.ref.Name),
		cmp.Compare(r.ref.Kind, x.ref.Kind),
	)
}

func newRoute(kind string, object metav1.Object, parentRefs []gatewayv1.ParentReference, status []gatewayv1.RouteParentStatus) route {
	return route{
		Object: object, ref: ObjectRef{Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName()},
		created:    object.GetCreationTimestamp().UnixNano(),
		parentRefs: parentRefs, status: status,
	}
}

// article returns a kind of Routes or policies with its indefinite article.
func article(kind string) string {
	if kind == kindHTTPRoute || kind == kindTrafficPolicy {
		return "an " + kind
	}
	return "a " + kind
}

// parse reads what the Route says by itself.
func (r *route) parse() *parsedRoute {
	switch object := r.Object.(type) {
	case *gatewayv1.HTTPRoute:
		return parseHTTPRoute(object)
	case *gatewayv1.GRPCRoute:
		return parseGRPCRoute(object)
	case *gatewayv1.TLSRoute:
		return parseTLSRoute(object)
	case *gatewayv1.TCPRoute:
		return parseTCPRoute(object)
	case *gatewayv1.UDPRoute:
		return parseUDPRoute(object)
	default:
		panic(fmt.Sprintf("a Route of type %T cannot be parsed", r.Object))
	}
}

// routeMemo returns what is known of r, parsing it when it is new or changed.
func (b *build) routeMemo(r *route) *routeMemo {
	m := b.was.routes[r.ref]
	if m == nil || m.uid != r.GetUID() || m.generation != r.GetGeneration() {
		m = &routeMemo{uid: r.GetUID(), generation: r.GetGeneration(), parsed: r.parse(), label: r.ref.String()}
	}
	b.memo.routes[r.ref] = m
	return m
}

// bindRoutes attaches Routes to Listeners, resolves what they refer to, and puts
// their Rules in place. It returns those that have a parent of ours.
func (b *build) bindRoutes() []*boundRoute {
	routes := b.routes()
	all := make([]boundRoute, len(routes))
	bound := make([]*boundRoute, 0, len(routes))
	for i := range routes {
		r := &all[i]
		r.route = routes[i]
		r.memo = b.routeMemo(&r.route)
		b.attach(r)
		if len(r.parents) == 0 {
			b.releaseRoute(r)
			continue
		}
		b.checkAnnotations(r.ref, r)
		for _, p := range r.memo.parsed.invalid {
			b.report(p)
		}
		if r.isStream() {
			b.placeStreams(r)
		} else {
			b.placeRules(r)
		}
		bound = append(bound, r)
	}
	return bound
}

// releaseRoute gives an empty status to a Route that still carries an entry of ours
// but no longer names a parent of ours.
func (b *build) releaseRoute(r *boundRoute) {
	isOurs := func(p gatewayv1.RouteParentStatus) bool { return string(p.ControllerName) == b.Settings.ControllerName }
	if slices.ContainsFunc(r.status, isOurs) {
		b.addRouteStatus(r.memo, &Status{Object: r.ref, UID: r.GetUID(), Generation: r.GetGeneration(), Route: &RouteStatus{}})
	} else {
		r.memo.status = nil
	}
	r.memo.outcome = nil
}

// addRouteStatus is addStatus of a Route.
func (b *build) addRouteStatus(m *routeMemo, s *Status) {
	if m.status == nil || !reflect.DeepEqual(m.status, s) {
		m.status = s
	}
	b.plan.Statuses = append(b.plan.Statuses, m.status)
}

// routeOutcome is all that a Route's Status is made from, in a form that is cheap
// to compare.
type routeOutcome struct {
	parents  []boundParent
	resolved condition
	partial  condition // zero when no rule is invalid
	shadowed condition // zero when every match sees requests
	records  metav1.Condition
	// keepsRecords says that records is not known yet.
	keepsRecords bool
}

func (o *routeOutcome) equal(x *routeOutcome) bool {
	return o.resolved == x.resolved && o.partial == x.partial && o.shadowed == x.shadowed && o.records == x.records && o.keepsRecords == x.keepsRecords &&
		slices.EqualFunc(o.parents, x.parents, func(p, q boundParent) bool { return p.index == q.index && p.accepted == q.accepted })
}

func (b *build) routeStatus(r *boundRoute) {
	outcome := routeOutcome{parents: b.shownParents(r), resolved: r.resolved, partial: r.partial(), shadowed: b.shadowedCondition(r.ref)}
	outcome.records, outcome.keepsRecords = b.recordsCondition(r)
	if m := r.memo; m.status != nil && m.outcome != nil && outcome.equal(m.outcome) {
		b.plan.Statuses = append(b.plan.Statuses, m.status)
		return
	}
	made := b.madeStatus
	if made == nil || made.generation != r.GetGeneration() || !outcome.equal(made.outcome) || !reflect.DeepEqual(made.parentRefs, r.parentRefs) {
		made = &madeStatus{parentRefs: r.parentRefs, generation: r.GetGeneration(), outcome: new(outcome)}
		made.status = b.newRouteStatus(r, made.outcome)
		b.madeStatus = made
	}
	r.memo.outcome = made.outcome
	b.addRouteStatus(r.memo, &Status{Object: r.ref, UID: r.GetUID(), Generation: r.GetGeneration(), Route: made.status})
}

// madeStatus is a RouteStatus and all that it was made from. Of thousands of Routes most fare
// alike: they have it together.
type madeStatus struct {
	parentRefs []gatewayv1.ParentReference
	generation int64
	outcome    *routeOutcome
	status     *RouteStatus
}

func (b *build) newRouteStatus(r *boundRoute, outcome *routeOutcome) *RouteStatus {
	status := &RouteStatus{KeepsRecords: outcome.keepsRecords}
	for _, p := range outcome.parents {
		conditions := []condition{p.accepted, outcome.resolved}
		for _, c := range []condition{outcome.partial, outcome.shadowed} {
			if c.kind != "" && p.accepted.status == metav1.ConditionTrue {
				conditions = append(conditions, c)
			}
		}
		all := conditionsAt(r.GetGeneration(), conditions...)
		if outcome.records.Type != "" && p.accepted.status == metav1.ConditionTrue {
			all = append(all, outcome.records)
		}
		status.Parents = append(status.Parents, gatewayv1.RouteParentStatus{
			ParentRef:      r.parentRefs[p.index],
			ControllerName: gatewayv1.GatewayController(b.Settings.ControllerName),
			Conditions:     all,
		})
	}
	return status
}

// shownParents are the parents that the Route's status has room for.
func (b *build) shownParents(r *boundRoute) []boundParent {
	room, ours := maxParents, []gatewayv1.ParentReference(nil)
	for i := range r.status {
		if string(r.status[i].ControllerName) == b.Settings.ControllerName {
			ours = append(ours, r.status[i].ParentRef)
		} else {
			room--
		}
	}
	shown, left := fit(r.parents, room, func(p boundParent) bool {
		return slices.ContainsFunc(ours, func(o gatewayv1.ParentReference) bool { return sameParent(&o, &r.parentRefs[p.index]) })
	})
	fields := make([]string, len(left))
	for i, p := range left {
		fields[i] = parentField(p.index)
	}
	b.reportFull(r.ref, "status.parents", maxParents, fields)
	return shown
}

// sameParent reports whether two references of one object are the same.
func sameParent(x, y *gatewayv1.ParentReference) bool {
	return valueOr(x.Group, groupGateway) == valueOr(y.Group, groupGateway) && valueOr(x.Kind, kindGateway) == valueOr(y.Kind, kindGateway) &&
		valueOr(x.Namespace, "") == valueOr(y.Namespace, "") && x.Name == y.Name && valueOr(x.SectionName, "") == valueOr(y.SectionName, "") &&
		(x.Port == nil) == (y.Port == nil) && (x.Port == nil || *x.Port == *y.Port)
}

// partial is the PartiallyInvalid condition, zero when every rule is valid. If
// none is, the Route is not accepted, and the condition is not shown.
func (r *boundRoute) partial() condition {
	invalid := r.memo.parsed.invalid
	if len(invalid) == 0 {
		return condition{}
	}
	texts := make([]string, len(invalid))
	for i, p := range invalid {
		texts[i] = p.text()
	}
	return truth(gatewayv1.RouteConditionPartiallyInvalid, gatewayv1.RouteReasonUnsupportedValue,
		"Dropped Rules, whose requests are answered with 500: "+strings.Join(texts, "; "))
}

func (b *build) shadowedCondition(r ObjectRef) condition {
	problems := b.shadows[r]
	if len(problems) == 0 {
		return condition{}
	}
	texts := make([]string, len(problems))
	for i, p := range problems {
		texts[i] = p.text()
	}
	return truth(conditionShadowed, reasonDuplicateMatch, strings.Join(texts, "; "))
}
