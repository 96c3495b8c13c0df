package tunnel_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/lintel-dev/lintel/conformance/edge"
	"github.com/lintel-dev/lintel/proxy"
	"github.com/lintel-dev/lintel/router"
	"github.com/lintel-dev/lintel/tunnel"
)

func TestMain(m *testing.M) {
	// What answers calls in the fake edge ends with a finalizer.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("zombiezen.com/go/capnproto2/server.(*server).dispatch"))
}

// The sockets of the Table, none of which is open.
const (
	plainSocket  = "192.0.2.1:80"
	secureSocket = "192.0.2.1:443"
	streamSocket = "192.0.2.1:5432"
	streamPort   = 5432
)

// site is a tunnel from a fake edge to the data plane, which has rules.
type site struct {
	t         testing.TB
	edge      *edge.Edge
	tunnel    uuid.UUID
	config    tunnel.Config
	connector *tunnel.Connector
	server    *proxy.Server
	rules     []*router.Rule
	streams   []router.StreamRules
	client    *http.Client
	stop      context.CancelFunc
	ended     chan struct{}

	mu      sync.Mutex
	reports []proxy.Report
}

// siteOptions say how a site begins. The zero value has the defaults of everything.
type siteOptions struct {
	protocol tunnel.Protocol
	edge     edge.Options
	settings tunnel.Settings
	before   func(*edge.Edge) // the tunnel is connected
}

// protocols runs a test over both transports, beside others.
func protocols(t *testing.T, test func(*testing.T, tunnel.Protocol)) {
	t.Parallel() // they wait for much of the time
	alone(t, test)
}

// alone runs a test over both transports while no other runs.
func alone(t *testing.T, test func(*testing.T, tunnel.Protocol)) {
	for _, p := range []tunnel.Protocol{tunnel.HTTP2, tunnel.QUIC} {
		t.Run(string(p), func(t *testing.T) { test(t, p) })
	}
}

// newSite starts everything, and does not wait for the tunnel.
func newSite(t testing.TB, o siteOptions) *site {
	t.Helper()
	s := &site{t: t, edge: edge.ForTest(t, o.edge), tunnel: uuid.New(), ended: make(chan struct{})}
	if o.before != nil {
		o.before(s.edge)
	}
	s.server = proxy.New(proxy.Settings{Observe: func(r *proxy.Report) {
		s.mu.Lock()
		defer s.mu.Unlock()
		kept := *r
		s.reports = append(s.reports, kept)
	}, DrainTimeout: 5 * time.Second})
	entry := s.server.Entry()
	entry.Lead(proxy.Ways{Plain: plainSocket, Secure: secureSocket, Streams: map[uint16]string{streamPort: streamSocket}})
	o.settings.Edge = tunnel.Edge{Addresses: s.edge.Addresses(), Roots: s.edge.Roots}
	if o.settings.Retry == (tunnel.Retry{}) {
		o.settings.Retry = tunnel.Retry{First: 50 * time.Millisecond, Max: 500 * time.Millisecond, Refused: 500 * time.Millisecond}
	}
	s.connector = tunnel.New(o.settings)
	s.config = tunnel.Config{Credentials: s.credentials(), Protocol: o.protocol, Handler: entry}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	var running sync.WaitGroup
	serverCtx, stopServer := context.WithCancel(context.Background())
	running.Go(func() { _ = s.server.Run(serverCtx) })
	running.Go(func() {
		_ = s.connector.Run(ctx)
		stopServer()
	})
	go func() {
		defer close(s.ended)
		running.Wait()
	}()
	s.client = &http.Client{Transport: s.edge.RoundTripper(s.tunnel), Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		stop()
		<-s.ended
	})
	s.connector.Apply(map[string]tunnel.Config{"home": s.config})
	return s
}

// connected starts a site, and waits until all connections are registered.
func connected(t testing.TB, o siteOptions) *site {
	t.Helper()
	s := newSite(t, o)
	s.wait(4)
	return s
}

// credentials makes new ones for the tunnel.
func (s *site) credentials() tunnel.Credentials {
	s.t.Helper()
	c, err := tunnel.ParseToken(s.edge.Allow(s.tunnel))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// wait waits until the edge has n connections.
func (s *site) wait(n int) {
	s.t.Helper()
	s.until(func() bool { return len(s.edge.Connections(s.tunnel)) == n })
}

// until waits until something holds that the edge knows of.
func (s *site) until(holds func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.edge.Until(ctx, holds); err != nil {
		s.t.Fatalf("%v; connections %+v, status %+v", err, s.edge.Connections(s.tunnel), s.status())
	}
}

func (s *site) status() tunnel.Status { return s.connector.Status()["home"] }

// eventually waits until something holds.
func (s *site) eventually(what string, holds func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not so after 30 s: %s; status %+v", what, s.status())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// route adds a Rule for a path to a Backend.
func (s *site) route(prefix string, backend *router.Backend) *router.Rule {
	rule := &router.Rule{
		Route: "HTTPRoute default/" + prefix, Listener: "default/gateway/https",
		Match:  router.Match{Path: router.PathMatch{Kind: router.PathPrefix, Value: prefix}},
		Action: router.Action{Backends: []router.WeightedBackend{{Backend: backend, Weight: 1}}},
	}
	s.rules = append(s.rules, rule)
	s.apply()
	return rule
}

// serve adds a Rule for a path to an origin that speaks HTTP/1.1.
func (s *site) serve(prefix string, handler http.HandlerFunc) *router.Rule {
	origin := httptest.NewServer(handler)
	s.t.Cleanup(origin.Close)
	backend := router.NewBackend("default/app:80")
	backend.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(origin.Listener.Addr().String())})
	return s.route(prefix, backend)
}

// serveStream lets what comes to a port go to an origin.
func (s *site) serveStream(serve func(net.Conn)) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	s.t.Cleanup(func() {
		listener.Close()
		served.Wait()
	})
	backend := router.NewBackend("default/db:5432")
	backend.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(listener.Addr().String())})
	s.streams = []router.StreamRules{{Socket: streamSocket, Stream: &router.Stream{
		Route: "TCPRoute default/db", Listener: "default/gateway/db", Backends: []router.WeightedBackend{{Backend: backend, Weight: 1}},
	}}}
	s.apply()
}

// apply gives the data plane a Table of all rules. No socket is opened.
func (s *site) apply() {
	table := router.Compile([]router.HostRules{{Socket: secureSocket, Rules: s.rules}}, nil).WithStreams(s.streams)
	s.server.Apply(table, nil)
}

// report waits for the n-th Report.
func (s *site) report(n int) proxy.Report {
	s.t.Helper()
	var r proxy.Report
	s.eventually("an exchange is observed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.reports) >= n {
			r = s.reports[n-1]
		}
		return len(s.reports) >= n
	})
	return r
}
