package gateway

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/lintel-dev/lintel/gateway/v1alpha1"
	"github.com/lintel-dev/lintel/router"
)

// TestMemoIsInvisible builds a long series of randomly edited Snapshots with one
// warm Memo, and each of them with a cold one: the Plans are the same.
func TestMemoIsInvisible(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(seed)
			w.t = t
			var warm Memo
			for range 40 {
				w.edit()
				warmBuild := newBuild(w.snapshot(), &warm)
				warmBuild.run()
				warm = warmBuild.memo
				coldBuild := newBuild(w.snapshot(), &Memo{})
				coldBuild.run()
				for part, got := range summary(warmBuild) {
					if diff := cmp.Diff(summary(coldBuild)[part], got); diff != "" {
						t.Fatalf("%s after %s (-cold +warm):\n%s", part, w.last, diff)
					}
				}
			}
		})
	}
}

// TestBackendStaysUntilItsProtocolChanges: endpoints and connections belong to a
// Backend, and must not outlive what was spoken to them.
func TestBackendStaysUntilItsProtocolChanges(t *testing.T) {
	s := benchSnapshot(2)
	var memo Memo
	port := func(n int) BackendKey {
		return BackendKey{ServicePort: ServicePort{Service: nameOf(s.Services[n]), Port: 80}}
	}
	before := Build(s, &memo)
	speak := func(protocol string) *Plan {
		changed := s.Services[0].DeepCopy()
		changed.Spec.Ports[0].AppProtocol = &protocol
		s.Services[0] = changed
		return Build(s, &memo)
	}

	if plan := speak("http"); plan.Backends[port(0)] != before.Backends[port(0)] {
		t.Error("a new Backend, though the protocol is the same")
	}
	after := speak("kubernetes.io/h2c")
	was, now := before.Backends[port(0)], after.Backends[port(0)]
	if now == was || now.Backend == was.Backend {
		t.Error("the Backend stayed, though the protocol changed")
	}
	if was.Protocol() != router.HTTP1 || now.Protocol() != router.H2C {
		t.Errorf("it speaks %v after %v", now.Protocol(), was.Protocol())
	}
	if now.Name != was.Name {
		t.Errorf("it is called %q after %q", now.Name, was.Name)
	}
	if after.Backends[port(1)] != before.Backends[port(1)] {
		t.Error("the Backend of another Service changed")
	}
	rule := after.Table.Match(":80", &router.Request{Method: "GET", Host: "app-0.example.com", Path: "/"})
	if rule == nil || rule.Action.Backends[0].Backend != now.Backend {
		t.Error("the Table has not the new Backend")
	}
}

func summary(b *build) map[string]string {
	return map[string]string{
		"table":        renderTable(b),
		"sockets":      renderSockets(b.plan.Sockets),
		"status":       renderStatuses(b.plan.Statuses),
		"problems":     renderProblems(b.plan.Problems),
		"certificates": renderCertificates(b.plan.Certificates),
		"tunnels":      renderTunnels(b.plan),
		"backends":     strings.Join(backendNames(b.plan), "\n"),
	}
}

// world is a set of objects under random edits.
type world struct {
	t        *testing.T
	random   *rand.Rand
	routes   map[int]*gatewayv1.HTTPRoute
	streams  map[int]metav1.Object  // Routes of the other kinds
	set      *gatewayv1.ListenerSet // nil for none
	policies map[int]*gatewayv1.BackendTLSPolicy
	traffic  map[int]*gatewayx.XBackendTrafficPolicy
	crd      CRD
	services map[int]*corev1.Service
	gateway  *gatewayv1.Gateway
	secret   *corev1.Secret   // nil for none
	tunnel   *v1alpha1.Tunnel // nil for none
	observed Observed
	open     bool
	gone     bool   // the Gateway
	last     string // what the last edit did
}

func newWorld(seed uint64) *world {
	w := &world{random: rand.New(rand.NewPCG(seed, 1)), routes: map[int]*gatewayv1.HTTPRoute{}, streams: map[int]metav1.Object{}, services: map[int]*corev1.Service{}, policies: map[int]*gatewayv1.BackendTLSPolicy{}, traffic: map[int]*gatewayx.XBackendTrafficPolicy{}}
	w.gateway = &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Generation: 1},
		Spec: gatewayv1.GatewaySpec{GatewayClassName: "lintel", Listeners: []gatewayv1.Listener{
			{Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType},
			{Name: "tls", Port: 443, Protocol: gatewayv1.TLSProtocolType, TLS: &gatewayv1.ListenerTLSConfig{Mode: new(gatewayv1.TLSModePassthrough)}},
			{Name: "tcp", Port: 53, Protocol: gatewayv1.TCPProtocolType},
			{Name: "udp", Port: 53, Protocol: gatewayv1.UDPProtocolType},
			{Name: "https", Port: 443, Protocol: gatewayv1.HTTPSProtocolType, Hostname: new(gatewayv1.Hostname("secure.test")), TLS: &gatewayv1.ListenerTLSConfig{
				CertificateRefs: []gatewayv1.SecretObjectReference{{Name: "certificate"}},
			}},
		}},
	}
	w.gateway.Spec.AllowedListeners = &gatewayv1.AllowedListeners{Namespaces: &gatewayv1.ListenerNamespaces{From: new(gatewayv1.NamespacesFromAll)}}
	return w
}

// edit makes one change, by new objects as informers do.
func (w *world) edit() {
	n := w.random.IntN(6)
	switch w.random.IntN(18) {
	case 16:
		w.last = "Tunnel written, or gone"
		w.tunnel = nil
		if w.random.IntN(3) > 0 {
			w.tunnel = &v1alpha1.Tunnel{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "home", Generation: int64(w.random.IntN(1 << 20))}}
			w.tunnel.Spec.Credentials.Token = &v1alpha1.SecretKey{Name: "certificate", Key: "tls.crt"}
			w.tunnel.Spec.LocalSockets = v1alpha1.LocalSockets(w.pick("Open", "Closed"))
		}
		w.observed.Tunnels = map[types.NamespacedName]TunnelState{}
		if w.random.IntN(2) == 0 {
			w.observed.Tunnels[types.NamespacedName{Namespace: "default", Name: "home"}] = TunnelState{ID: "5f2c", Hostname: "5f2c.cfargotunnel.com", Connections: []v1alpha1.TunnelConnection{{}}}
		}
	case 17:
		w.last = "gateway names the Tunnel, or not"
		w.gateway = w.gateway.DeepCopy()
		w.gateway.Generation++
		w.gateway.Spec.Infrastructure = nil
		if w.random.IntN(2) == 0 {
			w.gateway.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{ParametersRef: &gatewayv1.LocalParametersReference{Group: v1alpha1.Group, Kind: kindTunnel, Name: "home"}}
		}
	case 13:
		w.last = fmt.Sprintf("policy %d written", n)
		w.policies[n] = w.tlsPolicy(n)
		w.traffic[n] = w.trafficPolicy(n)
	case 14:
		w.last = fmt.Sprintf("policy %d deleted", n)
		delete(w.policies, n)
		delete(w.traffic, w.random.IntN(6))
	case 15:
		w.last = "filters of the gateway written, and CRDs"
		w.gateway = w.gateway.DeepCopy()
		w.gateway.Generation++
		w.gateway.Spec.Listeners[0].Filters = nil
		if w.random.IntN(2) == 0 {
			w.gateway.Spec.Listeners[0].Filters = &gatewayv1.ListenerFilters{Requests: []gatewayv1.ListenerFilter{{Type: gatewayv1.ListenerFilterExternalAuth, ExternalAuth: w.auth()}}}
		}
		w.crd = CRD{Name: "gateways.gateway.networking.k8s.io", Version: w.pick("v1.7.0", "v1.9.0"), Channel: w.pick("standard", "experimental")}
	case 0, 1:
		w.last = fmt.Sprintf("route %d written", n)
		generation := int64(1)
		if old := w.routes[n]; old != nil {
			generation = old.Generation + 1
		}
		w.routes[n] = w.route(n, generation)
	case 2:
		w.last = fmt.Sprintf("route %d deleted", n)
		delete(w.routes, n)
	case 3:
		w.last = fmt.Sprintf("service %d written", n)
		w.services[n] = &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("s%d", n)},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: int32(80 + w.random.IntN(2)), Name: fmt.Sprintf("p%d", w.random.IntN(2))}}},
		}
		protocol := w.pick("http", "http", "kubernetes.io/h2c", "https")
		w.services[n].Spec.Ports[0].AppProtocol = &protocol
	case 4:
		w.last = fmt.Sprintf("service %d deleted", n)
		delete(w.services, n)
	case 5:
		w.last = "gateway deleted, or there again"
		w.gone = !w.gone
	case 6:
		w.last = "status written"
		for name, r := range w.routes { // as the status writer does: no new generation
			w.routes[name] = r.DeepCopy()
			w.routes[name].Status.Parents = []gatewayv1.RouteParentStatus{{ControllerName: gatewayv1.GatewayController(testSettings().ControllerName)}}
		}
	case 8:
		w.last = fmt.Sprintf("stream route %d written", n)
		generation := int64(1)
		if old := w.streams[n]; old != nil {
			generation = old.GetGeneration() + 1
		}
		w.streams[n] = w.stream(n, generation)
	case 9:
		w.last = fmt.Sprintf("stream route %d deleted", n)
		delete(w.streams, n)
	case 10:
		w.last = "ListenerSet written"
		w.set = w.listenerSet()
	case 11:
		w.last = "certificate written, or gone"
		w.certificate()
	case 12:
		w.last = "certificate observed"
		name := types.NamespacedName{Namespace: "default", Name: "certificate"}
		w.observed.Certificates = map[types.NamespacedName]CertificateState{name: {Stage: w.pick("Ordering", "Failed", "Ready"), Message: w.pick("", "no")}}
		w.observed.Challenges = []HTTPChallenge{{Host: w.pick("a.example.com", "secure.test"), Token: w.pick("a", "b"), KeyAuthorization: w.pick("a.x", "b.x")}}[:w.random.IntN(2)]
	case 7:
		w.last = "gateway written"
		w.gateway = w.gateway.DeepCopy()
		w.gateway.Annotations = map[string]string{annotationIssuer: w.pick("le", "alpn", "none", "unknown")}
		w.gateway = w.gateway.DeepCopy()
		w.gateway.Generation++
		hostname := gatewayv1.Hostname(w.pick("a.example.com", "*.example.com", "*.test"))
		w.gateway.Spec.Listeners[0].Hostname = &hostname
		w.gateway.Spec.Listeners[0].Port = gatewayv1.PortNumber(80 + w.random.IntN(2))
		w.open = !w.open
	}
}

// certificate makes a Secret, which may be Lintel's, hold none, or not be there.
func (w *world) certificate() {
	if w.random.IntN(4) == 0 {
		w.secret = nil
		return
	}
	w.secret = readSnapshot(w.t, testSecret(w.t)).Secrets[0]
	w.secret.Name = "certificate"
	w.secret.Labels = map[string]string{LabelManagedBy: w.pick(ManagedByLintel, "somebody")}
	if w.random.IntN(4) == 0 {
		w.secret.Data = nil
	}
}

// testSecret is the Secret of another test, in YAML.
func testSecret(t testing.TB) []byte {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/ingress-tls.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for document := range bytes.SplitSeq(archive.Files[0].Data, []byte("---\n")) {
		if bytes.Contains(document, []byte("kind: Secret")) {
			return document
		}
	}
	t.Fatal("no Secret")
	return nil
}

func (w *world) pick(from ...string) string { return from[w.random.IntN(len(from))] }

func (w *world) route(n int, generation int64) *gatewayv1.HTTPRoute {
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: fmt.Sprintf("r%d", n), Generation: generation, UID: types.UID(fmt.Sprint(w.random.IntN(2))),
	}}
	r.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: gatewayv1.ObjectName(w.pick("web", "web", "web", "gone"))}}
	r.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(w.pick("a.example.com", "b.example.com", "*.example.com"))}
	for range 1 + w.random.IntN(3) {
		kind, value, port := gatewayv1.PathMatchType(w.pick("PathPrefix", "Exact", "RegularExpression")), w.pick("/", "/a", "/b", "/("), gatewayv1.PortNumber(80)
		rule := gatewayv1.HTTPRouteRule{Matches: []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: &kind, Value: &value}}}}
		ref := gatewayv1.HTTPBackendRef{}
		ref.Name, ref.Port = gatewayv1.ObjectName(fmt.Sprintf("s%d", w.random.IntN(6))), &port
		rule.BackendRefs = []gatewayv1.HTTPBackendRef{ref}
		w.rulePolicies(&rule)
		r.Spec.Rules = append(r.Spec.Rules, rule)
	}
	return r
}

// stream returns a Route of a kind that its number decides.
func (w *world) stream(n int, generation int64) metav1.Object {
	meta := metav1.ObjectMeta{
		Namespace: "default", Name: fmt.Sprintf("s%d", n), Generation: generation, UID: types.UID(fmt.Sprint(w.random.IntN(2))),
		CreationTimestamp: metav1.Unix(int64(w.random.IntN(3)), 0),
	}
	parents := gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{
		Kind: new(gatewayv1.Kind(w.pick("Gateway", "Gateway", "ListenerSet"))), Name: gatewayv1.ObjectName(w.pick("web", "web", "gone")),
	}}}
	ref := gatewayv1.BackendRef{Weight: new(int32(w.random.IntN(3)))}
	ref.Name, ref.Port = gatewayv1.ObjectName(fmt.Sprintf("s%d", w.random.IntN(6))), new(gatewayv1.PortNumber(80))
	refs := []gatewayv1.BackendRef{ref}
	switch n % 4 {
	case 3:
		return w.grpcRoute(n, meta)
	case 0:
		hostnames := []gatewayv1.Hostname{gatewayv1.Hostname(w.pick("a.example.com", "*.example.com")), "b.test"}
		return &gatewayv1.TLSRoute{ObjectMeta: meta, Spec: gatewayv1.TLSRouteSpec{CommonRouteSpec: parents, Hostnames: hostnames, Rules: []gatewayv1.TLSRouteRule{{BackendRefs: refs}}}}
	case 1:
		return &gatewayv1.TCPRoute{ObjectMeta: meta, Spec: gatewayv1.TCPRouteSpec{CommonRouteSpec: parents, Rules: []gatewayv1.TCPRouteRule{{BackendRefs: refs}}}}
	default:
		return &gatewayv1.UDPRoute{ObjectMeta: meta, Spec: gatewayv1.UDPRouteSpec{CommonRouteSpec: parents, Rules: []gatewayv1.UDPRouteRule{{BackendRefs: refs}}}}
	}
}

// listenerSet returns a ListenerSet, or nil, which may be in the way of the Gateway's own
// Listeners.
func (w *world) listenerSet() *gatewayv1.ListenerSet {
	if w.random.IntN(3) == 0 {
		return nil
	}
	s := &gatewayv1.ListenerSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Generation: int64(w.random.IntN(9))}}
	s.Spec.ParentRef.Name = "web"
	s.Spec.Listeners = []gatewayv1.ListenerEntry{{
		Name: "tcp", Port: gatewayv1.PortNumber(53 + w.random.IntN(2)), Protocol: gatewayv1.TCPProtocolType,
	}, {
		Name: "tls", Port: 443, Protocol: gatewayv1.TLSProtocolType, Hostname: new(gatewayv1.Hostname(w.pick("a.example.com", "*.example.com"))),
		TLS: &gatewayv1.ListenerTLSConfig{Mode: new(gatewayv1.TLSModeType(w.pick("Passthrough", "Terminate")))},
	}}
	return s
}

// rulePolicies adds to a rule what goes beyond matches and Backends.
func (w *world) rulePolicies(rule *gatewayv1.HTTPRouteRule) {
	if w.random.IntN(3) == 0 {
		w.backendFilters(&rule.BackendRefs[0])
	}
	switch w.random.IntN(8) {
	case 3:
		rule.SessionPersistence = w.session() //nolint:staticcheck // Deprecated, and still served by the API.
	case 4:
		rule.Filters = []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterExternalAuth, ExternalAuth: w.auth()}}
	case 0:
		mirror := &gatewayv1.HTTPRequestMirrorFilter{Percent: new(int32(w.random.IntN(3)))}
		mirror.BackendRef.Name, mirror.BackendRef.Port = gatewayv1.ObjectName(fmt.Sprintf("s%d", w.random.IntN(6))), new(gatewayv1.PortNumber(80))
		rule.Filters = []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterRequestMirror, RequestMirror: mirror}}
	case 1:
		cors := &gatewayv1.HTTPCORSFilter{AllowOrigins: []gatewayv1.CORSOrigin{gatewayv1.CORSOrigin(w.pick("*", "https://example.com", "example.com"))}}
		rule.Filters = []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterCORS, CORS: cors}}
	case 2:
		rule.Retry = &gatewayv1.HTTPRouteRetry{Attempts: new(w.random.IntN(3))}
	}
}

// session returns the session persistence of a rule, which may lack what its type needs.
func (w *world) session() *gatewayv1.SessionPersistence {
	s := &gatewayv1.SessionPersistence{Type: new(gatewayv1.SessionPersistenceType(w.pick("Cookie", "Header"))), AbsoluteTimeout: new(gatewayv1.Duration(w.pick("1h", "2h", "soon")))}
	if w.random.IntN(2) == 0 {
		s.Cookie = &gatewayv1.CookieConfig{LifetimeType: new(gatewayv1.CookieLifetimeType(w.pick("Session", "Permanent")))}
		s.Header = &gatewayv1.HeaderConfig{Name: "X-Session"}
	}
	return s
}

// auth returns the question to an authorization server that may not be there.
func (w *world) auth() *gatewayv1.HTTPExternalAuthFilter {
	a := &gatewayv1.HTTPExternalAuthFilter{ExternalAuthProtocol: gatewayv1.HTTPRouteExternalAuthProtocol(w.pick("HTTP", "GRPC", "SOAP"))}
	a.BackendRef.Name, a.BackendRef.Port = gatewayv1.ObjectName(fmt.Sprintf("s%d", w.random.IntN(6))), new(gatewayv1.PortNumber(80))
	a.ForwardBody = &gatewayv1.ForwardBodyConfig{MaxSize: int32(w.random.IntN(2 << 20))}
	return a
}

// backendFilters adds filters to a backendRef.
func (w *world) backendFilters(ref *gatewayv1.HTTPBackendRef) {
	rewrite := &gatewayv1.HTTPURLRewriteFilter{Hostname: new(gatewayv1.PreciseHostname(w.pick("a.test", "b.test"))), Path: &gatewayv1.HTTPPathModifier{
		Type: gatewayv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: new(w.pick("/x", "/y")),
	}}
	set := &gatewayv1.HTTPHeaderFilter{Set: []gatewayv1.HTTPHeader{{Name: "X-Ref", Value: w.pick("1", "2")}}}
	ref.Filters = []gatewayv1.HTTPRouteFilter{
		{Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: rewrite},
		{Type: gatewayv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: set},
	}
}

// tlsPolicy returns a BackendTLSPolicy for a port that its Service may not have.
func (w *world) tlsPolicy(n int) *gatewayv1.BackendTLSPolicy {
	p := &gatewayv1.BackendTLSPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("p%d", n), Generation: int64(w.random.IntN(9))}}
	t := gatewayv1.LocalPolicyTargetReferenceWithSectionName{}
	t.Kind, t.Name = kindService, gatewayv1.ObjectName(fmt.Sprintf("s%d", n))
	if section := gatewayv1.SectionName(w.pick("", "p0", "p1")); section != "" {
		t.SectionName = &section
	}
	p.Spec.TargetRefs = []gatewayv1.LocalPolicyTargetReferenceWithSectionName{t}
	p.Spec.Validation.Hostname = gatewayv1.PreciseHostname(w.pick("a.internal", "b.internal"))
	p.Spec.Validation.WellKnownCACertificates = new(gatewayv1.WellKnownCACertificatesSystem)
	return p
}

// trafficPolicy returns an XBackendTrafficPolicy, which may be one of two for its Service.
func (w *world) trafficPolicy(n int) *gatewayx.XBackendTrafficPolicy {
	p := &gatewayx.XBackendTrafficPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("t%d", n), Generation: int64(w.random.IntN(9))}}
	p.Spec.TargetRefs = []gatewayx.LocalPolicyTargetReference{{Kind: kindService, Name: gatewayv1.ObjectName(fmt.Sprintf("s%d", n/2))}}
	p.Spec.SessionPersistence = w.session() //nolint:staticcheck // Deprecated, and still served by the API.
	p.Spec.RetryConstraint = &gatewayx.RetryConstraint{Budget: &gatewayx.BudgetDetails{Percent: new(w.random.IntN(3))}}
	return p
}

// grpcRoute returns a GRPCRoute, which may want a hostname that an HTTPRoute has.
func (w *world) grpcRoute(n int, meta metav1.ObjectMeta) *gatewayv1.GRPCRoute {
	r := &gatewayv1.GRPCRoute{ObjectMeta: meta}
	r.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "web"}}
	r.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(w.pick("a.example.com", "*.example.com", "grpc.test"))}
	ref := gatewayv1.GRPCBackendRef{}
	ref.Name, ref.Port = gatewayv1.ObjectName(fmt.Sprintf("s%d", n)), new(gatewayv1.PortNumber(80))
	r.Spec.Rules = []gatewayv1.GRPCRouteRule{{
		Matches:     []gatewayv1.GRPCRouteMatch{{Method: &gatewayv1.GRPCMethodMatch{Service: new(w.pick("a", "b")), Method: new(w.pick("", "c"))}}},
		BackendRefs: []gatewayv1.GRPCBackendRef{ref},
	}}
	return r
}

// snapshot returns the objects in an order that differs from call to call.
func (w *world) snapshot() *Snapshot {
	s := &Snapshot{Settings: testSettings()}
	class := &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "lintel"}}
	class.Spec.ControllerName = gatewayv1.GatewayController(s.Settings.ControllerName)
	s.GatewayClasses = []*gatewayv1.GatewayClass{class}
	if !w.gone {
		s.Gateways = []*gatewayv1.Gateway{w.gateway}
	}
	for _, r := range w.routes {
		s.HTTPRoutes = append(s.HTTPRoutes, r)
	}
	for _, r := range w.streams {
		switch r := r.(type) {
		case *gatewayv1.GRPCRoute:
			s.GRPCRoutes = append(s.GRPCRoutes, r)
		case *gatewayv1.TLSRoute:
			s.TLSRoutes = append(s.TLSRoutes, r)
		case *gatewayv1.TCPRoute:
			s.TCPRoutes = append(s.TCPRoutes, r)
		case *gatewayv1.UDPRoute:
			s.UDPRoutes = append(s.UDPRoutes, r)
		}
	}
	if w.tunnel != nil {
		s.Tunnels = []*v1alpha1.Tunnel{w.tunnel}
	}
	if w.set != nil {
		s.ListenerSets = []*gatewayv1.ListenerSet{w.set}
	}
	for _, service := range w.services {
		s.Services = append(s.Services, service)
	}
	for _, p := range w.policies {
		s.BackendTLSPolicies = append(s.BackendTLSPolicies, p)
	}
	for _, p := range w.traffic {
		s.BackendTrafficPolicies = append(s.BackendTrafficPolicies, p)
	}
	if w.crd.Name != "" {
		s.CRDs = []CRD{w.crd}
	}
	if w.secret != nil {
		s.Secrets = []*corev1.Secret{w.secret}
	}
	s.Settings.Issuers, s.Settings.DefaultIssuer = []Issuer{{Name: "le", Challenge: "dns-01"}, {Name: "alpn", Challenge: "tls-alpn-01"}}, "le"
	s.Observed = w.observed
	if w.open {
		s.Observed.Sockets = map[string]string{":80": "", ":81": ""}
	}
	return s
}
