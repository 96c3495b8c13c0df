package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// How many tests that wait for most of their time run at once, unless -parallel was given, and
// how many workers a fuzz target has: each is a process, and they find more if none comes late.
const (
	atOnce      = 8
	fuzzWorkers = 3
)

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	switch {
	case given:
	case fuzzing:
		_ = flag.Set("test.parallel", strconv.Itoa(fuzzWorkers))
	default:
		_ = flag.Set("test.parallel", strconv.Itoa(atOnce))
	}
	// As in the program, there have to be more processors of the scheduler than event loops,
	// which keep theirs while they wait; each gateway has one, and many tests have several.
	tests := !fuzzing && flag.Lookup("test.bench").Value.String() == ""
	if tests && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(2*atOnce, runtime.GOMAXPROCS(0)))
	}
	goleak.VerifyTestMain(m)
}

// ample is how long anything may take that takes a moment on a machine with nothing else to
// do. It is shorter than the limits by which the proxy itself would end, and hide, what hangs.
const ample = 50 * time.Second

// mode is a way to reach the proxy that every test of an exchange runs in.
type mode struct {
	name string
	tls  bool
	h2   bool
	h3   bool // over QUIC; raw clients go over TLS
}

var (
	plainMode = mode{name: "plain"}
	tlsMode   = mode{name: "tls", tls: true}
	h2cMode   = mode{name: "h2c", h2: true}
	h2Mode    = mode{name: "h2", tls: true, h2: true}
	h3Mode    = mode{name: "h3", tls: true, h3: true}

	// allModes are for tests that write HTTP/1.1 themselves, clientModes for those that
	// leave it to net/http.
	allModes    = []mode{plainMode, tlsMode}
	clientModes = []mode{plainMode, tlsMode, h2cMode, h2Mode, h3Mode}
)

// run runs a test in each of the modes and lanes, with a gateway of its own.
func run(t *testing.T, modes []mode, settings Settings, test func(*testing.T, *gateway)) {
	t.Helper()
	ways{modes: modes, settings: settings, begin: func(*testing.T) {}}.run(t, test)
}

// runAtOnce is run for a test that waits, or has much to do: all its modes and lanes go at
// the same time, beside no other test. They share nothing.
func runAtOnce(t *testing.T, modes []mode, settings Settings, test func(*testing.T, *gateway)) {
	t.Helper()
	ways{modes: modes, settings: settings, begin: (*testing.T).Parallel}.run(t, test)
}

// ways are the modes and lanes that a test runs in.
type ways struct {
	modes    []mode
	settings Settings
	begin    func(*testing.T) // each of them
}

func (w ways) run(t *testing.T, test func(*testing.T, *gateway)) {
	t.Helper()
	for _, m := range w.modes {
		settings := w.settings
		for _, lane := range lanes(&settings) {
			t.Run(m.name+"/"+lane.name, func(t *testing.T) {
				if m.h3 && lane.Lane != exchange.LaneFull {
					t.Skip("HTTP/3 has the full lane alone")
				}
				w.begin(t)
				settings := settings
				settings.Lane = lane.Lane
				g := newGateway(t, m, settings)
				g.apply()
				test(t, g)
			})
		}
	}
}

// lane is a way through the proxy, and its name in LINTEL_LANE.
type lane struct {
	name string
	exchange.Lane
}

// lanes returns the ways that connections can take, or the one that LINTEL_LANE
// names. The express lane dials by itself.
func lanes(settings *Settings) []lane {
	all := []lane{{"express", exchange.LaneAuto}, {"full", exchange.LaneFull}}
	if settings.Dial != nil {
		all = all[1:]
	}
	if only := os.Getenv("LINTEL_LANE"); only != "" && len(all) > 1 {
		all = slices.DeleteFunc(all, func(l lane) bool { return l.name != only })
	}
	return all
}

const socketName = "127.0.0.1:0"

// gateway is a running Server with one socket, and what its tests need.
type gateway struct {
	t      testing.TB
	mode   mode
	server *Server
	rules  []*router.Rule
	auths  []*router.ExternalAuth // of the Listener
	client *http.Client
	stop   context.CancelFunc
	ended  chan struct{}

	mu        sync.Mutex
	exchanges []Report
}

func newGateway(t testing.TB, m mode, settings Settings) *gateway {
	t.Helper()
	g := &gateway{t: t, mode: m, ended: make(chan struct{})}
	if settings.DrainTimeout == 0 {
		settings.DrainTimeout = 2 * time.Second
	}
	observe := settings.Observe
	settings.Observe = func(x *Report) {
		g.note(x)
		if observe != nil {
			observe(x)
		}
	}
	g.server = newServerWith(settings, 1) // each loop has connections to endpoints of its own
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	go func() {
		defer close(g.ended)
		if err := g.server.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true, ServerName: "app.test"},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 32,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", g.address())
		},
	}
	if m.h2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP2(m.tls)
		transport.Protocols.SetUnencryptedHTTP2(!m.tls)
	}
	g.client = &http.Client{
		Transport:     g.roundTripper(transport),
		Timeout:       ample,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		<-g.ended
		if n := g.server.Stats().Downstream.Load(); n != 0 {
			t.Errorf("%d downstream connections left", n)
		}
		if n := g.server.Stats().Upstream.Load(); n != 0 {
			t.Errorf("%d upstream connections left", n)
		}
		if n := g.server.Stats().UpstreamIdle.Load(); n != 0 {
			t.Errorf("%d idle upstream connections left", n)
		}
	})
	return g
}

// note keeps a copy of a Report beyond its lifetime.
func (g *gateway) note(x *Report) {
	kept := *x
	for _, s := range []*string{&kept.Method, &kept.Host, &kept.Path, &kept.UserAgent, &kept.RequestID} {
		*s = strings.Clone(*s)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.exchanges = append(g.exchanges, kept)
}

// count returns how many exchanges were observed.
func (g *gateway) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.exchanges)
}

// observed waits for n Reports, and returns that of the n-th exchange by its beginning.
func (g *gateway) observed(n int) Report {
	g.t.Helper()
	var x Report
	eventually(g.t, "an exchange is observed", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.exchanges) < n {
			return false
		}
		// A client may be done with a response before it is reported, and send another request.
		inTurn := slices.Clone(g.exchanges)
		slices.SortStableFunc(inTurn, func(a, b Report) int { return a.Start.Compare(b.Start) })
		x = inTurn[n-1]
		return true
	})
	return x
}

// route adds a rule for a path prefix to backends of equal weight.
func (g *gateway) route(prefix string, backends ...*router.Backend) *router.Rule {
	rule := &router.Rule{
		Listener: "Gateway default/web/http",
		Route:    "HTTPRoute default/test",
		Match:    router.Match{Path: router.PathMatch{Value: prefix}},
	}
	for _, b := range backends {
		rule.Action.Backends = append(rule.Action.Backends, router.WeightedBackend{Backend: b, Weight: 1})
	}
	g.rules = append(g.rules, rule)
	return rule
}

// apply brings the rules into effect.
func (g *gateway) apply() {
	g.t.Helper()
	l := Listener{Name: socketName}
	if g.mode.tls {
		l.GetCertificate = certificateFor("app.test")
	}
	for range 10 {
		if err := g.server.Apply(g.table(), []Listener{l})[socketName]; err != nil {
			g.t.Fatalf("Apply: %v", err)
		}
		if !g.mode.h3 || g.socket(socketName).h3.Load() != nil {
			return
		}
		g.server.Apply(g.table(), nil) // the UDP port of this number is somebody else's: take another
	}
	g.t.Fatal("no port is free for both TCP and UDP")
}

// socket returns the open socket of a name, or nil.
func (g *gateway) socket(name string) *socket {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	return g.server.sockets[name]
}

func (g *gateway) table() *router.Table {
	return router.Compile([]router.HostRules{{Socket: socketName, Rules: g.rules, Auths: g.auths}}, nil)
}

func (g *gateway) address() string { return g.addressOf(socketName) }

func (g *gateway) addressOf(name string) string {
	sock := g.socket(name)
	if sock == nil {
		return "127.0.0.1:1"
	}
	return sock.listener.Addr().String()
}

func (g *gateway) url(path string) string {
	if g.mode.tls {
		return "https://app.test" + path
	}
	return "http://app.test" + path
}

func (g *gateway) get(path string) (*http.Response, string) {
	g.t.Helper()
	req, err := http.NewRequest(http.MethodGet, g.url(path), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.do(req)
}

func (g *gateway) do(req *http.Request) (*http.Response, string) {
	g.t.Helper()
	res, err := g.client.Do(req)
	if err != nil {
		g.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatalf("%s %s: read body: %v", req.Method, req.URL, err)
	}
	return res, string(body)
}

// eventually waits until something holds that happens on another goroutine.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

var makeCertificate = sync.OnceValues(func() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "app.test"},
		DNSNames:     []string{"app.test"},
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
})

// certificateFor knows one SNI name.
func certificateFor(name string) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName != name {
			return nil, nil
		}
		return makeCertificate()
	}
}
