package gateway

import (
	"cmp"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// Memo carries what Build may keep from one call to the next: results that are
// known to be unchanged, never a dependency, and the addresses that were given to
// Gateways. The zero Memo is cold. A Memo belongs to one goroutine.
type Memo struct {
	table        *router.Table
	backends     map[BackendKey]*Backend
	addresses    map[ObjectRef][]netip.Addr // of pools, by Gateway: these stay
	routes       map[ObjectRef]*routeMemo
	ingresses    map[types.NamespacedName]*ingressMemo
	certificates map[secretVersion]*keyPair
	authorities  map[metav1.Object]*authorities // by the object that holds them, in one version
	statuses     map[ObjectRef]*Status
}

// build is one run of Build.
type build struct {
	*index
	was  *Memo // read
	memo Memo  // written, replaces was at the end
	plan *Plan

	owners    map[ObjectRef]*listenerOwner // what Routes can attach to
	gateways  []*boundGateway              // of our classes, oldest first
	tunnels   map[types.NamespacedName]*boundTunnel
	listeners []*listener // of all gateways, in their order
	hosts     map[hostKey]*router.HostRules
	streams   []router.StreamRules
	sockets   map[string]*Socket
	shadows   map[ObjectRef][]Problem
	streamOf  map[hostKey]ObjectRef // the Route that has a host of a Listener for streams
	claims    []claim               // for certificates that are to be issued

	classTunnels, ingressTunnels map[string]*boundTunnel // by class

	ingressIssues map[*networkingv1.Ingress]*issuance
	madeStatus    *madeStatus // of the last Route whose status is new

	clientAuths map[*gatewayv1.FrontendTLSValidation]*clientAuth
	tlsPolicies []*tlsPolicy // oldest first
	tlsTargets  map[types.NamespacedName]tlsTargets
	backendKeys map[*router.Backend]BackendKey // of memo.backends

	trafficPolicies []*trafficPolicy // oldest first
	trafficTargets  map[types.NamespacedName][]*trafficPolicy
}

// hostKey identifies one router.HostRules.
type hostKey struct {
	socket, listenerHost, host string
	oneLabel                   bool
}

// Build translates a Snapshot into a Plan. memo is that of the Build before, or a
// cold one; the Plan is the same either way, but for free addresses of pools: a
// Gateway keeps the one that it got, whether its status says so already or not.
func Build(s *Snapshot, memo *Memo) *Plan {
	b := newBuild(s, memo)
	b.run()
	*memo = b.memo
	return b.plan
}

func newBuild(s *Snapshot, memo *Memo) *build {
	return &build{
		index: newIndex(s),
		was:   memo,
		memo: Memo{
			backends:     make(map[BackendKey]*Backend, len(memo.backends)),
			addresses:    make(map[ObjectRef][]netip.Addr, len(memo.addresses)),
			routes:       make(map[ObjectRef]*routeMemo, len(s.HTTPRoutes)),
			ingresses:    make(map[types.NamespacedName]*ingressMemo, len(s.Ingresses)),
			certificates: make(map[secretVersion]*keyPair, len(memo.certificates)),
			authorities:  make(map[metav1.Object]*authorities, len(memo.authorities)),
			statuses:     make(map[ObjectRef]*Status, len(memo.statuses)),
		},
		plan:     &Plan{},
		owners:   make(map[ObjectRef]*listenerOwner),
		hosts:    make(map[hostKey]*router.HostRules, len(s.HTTPRoutes)),
		sockets:  make(map[string]*Socket),
		shadows:  make(map[ObjectRef][]Problem),
		streamOf: make(map[hostKey]ObjectRef),
		tunnels:  make(map[types.NamespacedName]*boundTunnel),

		classTunnels: make(map[string]*boundTunnel), ingressTunnels: make(map[string]*boundTunnel),

		ingressIssues: make(map[*networkingv1.Ingress]*issuance),

		clientAuths: make(map[*gatewayv1.FrontendTLSValidation]*clientAuth),
		tlsTargets:  make(map[types.NamespacedName]tlsTargets),

		trafficTargets: make(map[types.NamespacedName][]*trafficPolicy),
		backendKeys:    make(map[*router.Backend]BackendKey, len(memo.backends)),
	}
}

// run makes the passes.
func (b *build) run() {
	b.classes()
	b.bindGateways()
	b.readTLSPolicies()
	b.readTrafficPolicies()
	b.placeFilters()
	ingresses := b.bindIngresses()
	routes := b.bindRoutes()
	b.bindTLSPolicies(routes)
	b.bindTrafficPolicies(routes)
	b.findShadowed()
	b.checkServices()
	b.wantCertificates()
	b.answerChallenges()
	b.compile()
	b.statuses(routes, ingresses)
	b.collectNames(routes, ingresses)
	b.tlsPolicyStatuses()
	b.trafficPolicyStatuses()
	b.finishTunnels()
	b.finish()
}

// compile makes the Table from the collected hosts.
func (b *build) compile() {
	hosts := make([]router.HostRules, 0, len(b.hosts))
	for _, h := range b.hosts {
		hosts = append(hosts, *h)
	}
	b.plan.Table = router.Compile(hosts, b.was.table).WithStreams(b.streams)
	b.memo.table = b.plan.Table
}

// addRules puts rules under one host of one socket.
func (b *build) addRules(key hostKey, rules []*router.Rule) {
	h := b.hosts[key]
	if h == nil {
		h = &router.HostRules{Socket: key.socket, ListenerHost: key.listenerHost, Host: key.host, OneLabel: key.oneLabel}
		b.hosts[key] = h
	}
	h.Rules = append(h.Rules, rules...)
}

// finish puts the Plan's lists in an order that does not depend on the Snapshot's.
func (b *build) finish() {
	for _, s := range b.sockets {
		b.plan.Sockets = append(b.plan.Sockets, *s)
	}
	slices.SortFunc(b.plan.Addresses, netip.Addr.Compare)
	slices.SortFunc(b.plan.Sockets, func(x, y Socket) int { return cmp.Compare(x.Name, y.Name) })
	b.plan.Backends = b.memo.backends
	slices.SortFunc(b.plan.Statuses, func(x, y *Status) int { return x.Object.compare(y.Object) })
	slices.SortStableFunc(b.plan.Problems, func(x, y Problem) int { return x.Object.compare(y.Object) })
}

// report adds a Problem.
func (b *build) report(p Problem) { b.plan.Problems = append(b.plan.Problems, p) }

func (r ObjectRef) compare(o ObjectRef) int {
	return cmp.Or(cmp.Compare(r.Kind, o.Kind), cmp.Compare(r.Namespace, o.Namespace), cmp.Compare(r.Name, o.Name))
}

// String returns "Kind namespace/name", "Kind name" for cluster-scoped kinds, and ""
// for no object.
func (r ObjectRef) String() string {
	if r == (ObjectRef{}) {
		return ""
	}
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}
