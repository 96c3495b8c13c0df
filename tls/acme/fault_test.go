package acme_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/pebble"
	edgetls "github.com/lintel-dev/lintel/tls"
	"github.com/lintel-dev/lintel/tls/acme"
)

// ownCA starts a CA that a test can make misbehave, and returns an issuer of it.
func ownCA(t *testing.T, change func(*pebble.Options)) (*pebble.Server, acme.Issuer) {
	t.Helper()
	o := shared.caOptions()
	o.BadNonces = -1 // so that calls can be counted
	if change != nil {
		change(&o)
	}
	ca := pebble.ForTest(t, o)
	issuer := shared.issuer("main")
	issuer.Directory, issuer.Roots = ca.Directory, rootsOf(ca)
	return ca, issuer
}

// single is a certificate for one name.
func single(name string) acme.Certificate {
	return acme.Certificate{Name: acme.Name{Namespace: "a", Name: "b"}, Names: []string{name}, Issuer: "main"}
}

// A token that Cloudflare does not take fails in Cloudflare's words. The order waits
// for a better one, which is used as soon as it is there.
func TestWrongToken(t *testing.T) {
	t.Parallel()
	zone, issuer := shared.zone(t), shared.issuer("main")
	var current atomic.Value
	current.Store("wrong-token-wrong-token-wrong-token-0000")
	issuer.Solver = acme.DNS01{
		Provider:  acme.Cloudflare{Token: func() (string, error) { return current.Load().(string), nil }, HTTPClient: shared.dns.HTTPClient()},
		Resolvers: []string{shared.dns.DNS},
	}
	want := single(zone)
	r := start(t, options(t, directory(t, t.TempDir()), issuer), want)
	state := r.untilFailed(t, want.Name, "Invalid access token")
	if !state.Retry.After(time.Now()) || !strings.Contains(state.Message, "_acme-challenge."+zone) {
		t.Errorf("state %+v", state)
	}
	r.until(t, want.Name, "failed again", func(s acme.State) bool { return s.Stage == acme.Failed && s.Retry.After(state.Retry) })
	current.Store(cloudflare.Token)
	r.untilReady(t, want.Name)
	if n := len(shared.orders(zone)); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// Roots that cannot be read, or that are not those of the CA, fail in words that say so.
// Better ones are used as soon as they are there.
func TestRootsThatAreNotThere(t *testing.T) {
	t.Parallel()
	ca, issuer := ownCA(t, nil)
	var current atomic.Value
	current.Store("")
	issuer.Roots = func() (string, error) {
		if roots := current.Load().(string); roots != "" {
			return roots, nil
		}
		return "", errors.New("there is no Secret a/ca")
	}
	want := single(shared.zone(t))
	r := start(t, options(t, directory(t, t.TempDir()), issuer), want)
	r.untilFailed(t, want.Name, "read certificates that the CA's server is trusted by: there is no Secret a/ca")
	current.Store("my CA")
	r.untilFailed(t, want.Name, "there is no PEM certificate in what was read")
	other, _, err := edgetls.SelfSigned([]string{"localhost"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	current.Store(string(other))
	r.untilFailed(t, want.Name, "certificate signed by unknown authority")
	if n := ca.Calls(pebble.Directory); n != 0 {
		t.Errorf("the CA was asked %d times though it is not trusted", n)
	}
	current.Store(string(ca.Roots))
	r.untilReady(t, want.Name)
}

// A zone that is not in the DNS, or not in the account that the token is for.
func TestZoneNotFound(t *testing.T) {
	t.Parallel()
	zone := shared.zoneName(t)
	const token = "token-for-another-zone-0000000000000000"
	shared.dns.SetToken(token, cloudflare.Grant{Zones: []string{"other.test"}, Write: true})
	issuer := shared.issuer("main")
	issuer.Solver = acme.DNS01{
		Provider:  acme.Cloudflare{Token: func() (string, error) { return token, nil }, HTTPClient: shared.dns.HTTPClient()},
		Resolvers: []string{shared.dns.DNS},
	}
	want := single("www." + zone)
	r := start(t, options(t, directory(t, t.TempDir()), issuer), want)
	r.untilFailed(t, want.Name, "_acme-challenge.www."+zone+": "+shared.dns.DNS+": REFUSED")
	shared.dns.AddZone(zone)
	t.Cleanup(func() { shared.dns.RemoveZone(zone) })
	r.untilFailed(t, want.Name, "to zone "+zone+".: Cloudflare: expected 1 zone, got 0")
	shared.dns.SetToken(token, cloudflare.Grant{Zones: []string{zone}, Write: true})
	r.untilReady(t, want.Name)
	if n := len(shared.orders(zone)); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// laggingDNS answers like another server, but shows no TXT records while it lags, and
// has no authority if it is a resolver.
type laggingDNS struct {
	behind   string
	lagging  atomic.Bool
	resolver bool
}

func (l *laggingDNS) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	answer, err := dns.Exchange(question, l.behind)
	if err != nil {
		return
	}
	if l.lagging.Load() && question.Question[0].Qtype == dns.TypeTXT {
		answer.Answer = nil
	}
	answer.Authoritative = answer.Authoritative && !l.resolver
	_ = w.WriteMsg(answer)
}

func (l *laggingDNS) listen(t *testing.T) (address string) {
	t.Helper()
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: socket, Handler: l, NotifyStartedFunc: func() { close(started) }}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := errors.Join(server.Shutdown(), <-done); err != nil {
			t.Error(err)
		}
	})
	return socket.LocalAddr().String()
}

// While the DNS does not show the record, the CA is not told to look: the order is
// kept, and taken up again until it does.
func TestDNSThatDoesNotPropagate(t *testing.T) {
	t.Parallel()
	zone, issuer := shared.zone(t), shared.issuer("main")
	lag := &laggingDNS{behind: shared.dns.DNS}
	lag.lagging.Store(true)
	solver := issuer.Solver.(acme.DNS01)
	solver.Resolvers, solver.PropagationTimeout = []string{lag.listen(t)}, time.Second
	issuer.Solver = solver
	want := single(zone)
	r := start(t, options(t, directory(t, t.TempDir()), issuer), want)
	r.until(t, want.Name, "waiting", func(s acme.State) bool {
		return s.Stage == acme.WaitingForDNS && strings.Contains(s.Message, "TXT _acme-challenge."+zone+": not at "+solver.Resolvers[0])
	})
	r.untilFailed(t, want.Name, "Cloudflare made the record, but after 1s it is not seen: TXT _acme-challenge."+zone)
	if left := shared.leftovers(zone); len(left) > 0 {
		t.Errorf("records left: %v", left)
	}
	r.until(t, want.Name, "waiting again", func(s acme.State) bool { return s.Stage == acme.WaitingForDNS })
	lag.lagging.Store(false)
	r.untilReady(t, want.Name)
	if n := len(shared.orders(zone)); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// The servers of a zone are found by a resolver. Where they cannot be reached, what the
// resolver sees is good enough.
func TestServersOfAZoneOutOfReach(t *testing.T) {
	t.Parallel()
	zone, issuer := shared.zone(t), shared.issuer("main")
	shared.dns.AddZone("cloudflare.test")
	t.Cleanup(func() { shared.dns.RemoveZone("cloudflare.test") })
	for _, name := range []string{"ada", "bob"} { // at 127.9.9.9 there is nobody
		if _, err := shared.dns.Put("cloudflare.test", cloudflare.Record{Type: "A", Name: name + ".ns.cloudflare.test", Content: "127.9.9.9"}); err != nil {
			t.Fatal(err)
		}
	}
	resolver := &laggingDNS{behind: shared.dns.DNS, resolver: true}
	resolver.lagging.Store(true)
	solver := issuer.Solver.(acme.DNS01)
	solver.Resolvers = []string{resolver.listen(t)}
	issuer.Solver = solver
	want := single(zone)
	r := start(t, options(t, directory(t, t.TempDir()), issuer), want)
	r.until(t, want.Name, "waiting", func(s acme.State) bool {
		return s.Stage == acme.WaitingForDNS && strings.Contains(s.Message, "no server answers") && strings.Contains(s.Message, "127.9.9.9:53")
	})
	resolver.lagging.Store(false)
	r.untilReady(t, want.Name)
}

// A CA in trouble is asked again after growing waits.
func TestCAOutOfOrder(t *testing.T) {
	t.Parallel()
	ca, issuer := ownCA(t, nil)
	zone := shared.zone(t)
	ca.Intercept(pebble.Directory, func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "a proxy before the CA is out of order", http.StatusBadGateway)
		return true
	})
	want := single(zone)
	r := start(t, options(t, directory(t, t.TempDir()), issuer), want)
	r.untilFailed(t, want.Name, "a proxy before the CA is out of order")
	ca.Intercept(pebble.Directory, nil)
	ca.Intercept(pebble.NewOrder, pebble.Refuse(http.StatusInternalServerError, "serverInternal", 0))
	first := r.untilFailed(t, want.Name, "the CA refused: refused for a test: serverInternal (serverInternal, HTTP 500)")
	r.until(t, want.Name, "failed again", func(s acme.State) bool { return s.Stage == acme.Failed && s.Retry.After(first.Retry) })
	const asksAtOnce = 3 // of the library, which takes an error 500 for a hiccup
	if n := ca.Calls(pebble.NewOrder); n > 3*asksAtOnce {
		t.Errorf("%d orders were tried", n)
	}
	ca.Intercept(pebble.NewOrder, nil)
	r.untilReady(t, want.Name)
	if n := len(ca.Orders()); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// Whatever the CA refuses for a while, in words or by a limit, is said, and in the end
// there is a certificate by the first order.
func TestEveryStepMayFail(t *testing.T) {
	t.Parallel()
	const wait = time.Second
	for name, refuse := range map[string]struct {
		with pebble.Interceptor
		says string
	}{
		"error": {pebble.Refuse(http.StatusInternalServerError, "serverInternal", 0), "serverInternal"},
		"limit": {pebble.Refuse(http.StatusTooManyRequests, "rateLimited", wait), "rateLimited"},
	} {
		for _, step := range []pebble.Step{
			pebble.Directory, pebble.NewNonce, pebble.NewAccount, pebble.NewOrder, pebble.GetOrder,
			pebble.Authorization, pebble.Challenge, pebble.Finalize, pebble.Certificate, pebble.RenewalInfo,
		} {
			t.Run(name+strings.ReplaceAll(string(step), "/", "-"), func(t *testing.T) {
				t.Parallel()
				ca, issuer := ownCA(t, nil)
				ca.Intercept(step, refuse.with)
				want := single(shared.zone(t))
				r := start(t, options(t, directory(t, t.TempDir()), issuer), want)
				if step != pebble.RenewalInfo { // for that there is a way without
					says := refuse.says
					if step == pebble.NewNonce {
						says = "fetching new nonce from server: HTTP " // which has no room for words
					}
					first := r.untilFailed(t, want.Name, says)
					r.until(t, want.Name, "failed again", func(s acme.State) bool { return s.Stage == acme.Failed && s.Retry.After(first.Retry) })
				}
				ca.Intercept(step, nil)
				r.untilReady(t, want.Name)
				if n := len(ca.Orders()); n != 1 {
					t.Errorf("%d orders", n)
				}
			})
		}
	}
}

// losingStorage loses the lock of the first order in the middle.
type losingStorage struct {
	acme.Storage
	lose context.Context
}

func (s *losingStorage) Lock(ctx context.Context, key string) (context.Context, func(), error) {
	held, unlock, err := s.Storage.Lock(ctx, key)
	if err != nil || s.lose.Err() != nil {
		return held, unlock, err
	}
	held, cancel := context.WithCancel(held)
	stop := context.AfterFunc(s.lose, cancel)
	return held, func() { stop(); cancel(); unlock() }, nil
}

// Who lost the lock stops, since somebody else may go on with the order.
func TestLockThatIsLost(t *testing.T) {
	t.Parallel()
	ca, issuer := ownCA(t, nil)
	lose, cancel := context.WithCancel(t.Context())
	defer cancel()
	ca.Intercept(pebble.Finalize, func(_ http.ResponseWriter, r *http.Request) bool {
		ca.Intercept(pebble.Finalize, nil)
		cancel()
		<-r.Context().Done() // it is not waited for any more
		return true
	})
	want := single(shared.zone(t))
	r := start(t, options(t, &losingStorage{directory(t, t.TempDir()), lose}, issuer), want)
	r.untilFailed(t, want.Name, "lock certificate: it was lost in the middle of an order")
	r.untilReady(t, want.Name)
	if n := len(ca.Orders()); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// A CA that says when to come back is asked nothing before, by nobody, whatever else
// is changed; somebody who takes another CA need not wait.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	ca, issuer := ownCA(t, nil)
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	const wait = 5 * time.Second
	ca.Intercept(pebble.NewOrder, pebble.Refuse(http.StatusTooManyRequests, "rateLimited", wait))
	want, began := single(zone), time.Now()
	r := start(t, options(t, storage, issuer), want)
	state := r.untilFailed(t, want.Name, "refused for a test: rateLimited (rateLimited, HTTP 429)")
	if state.Retry.Before(began.Add(wait)) {
		t.Errorf("retry at %v, which is %v after the beginning", state.Retry, state.Retry.Sub(began))
	}
	ca.Intercept(pebble.NewOrder, nil)
	r.end()
	next := start(t, options(t, storage, issuer), want) // another leader
	next.untilFailed(t, want.Name, "rateLimited")
	want.Names = append(want.Names, "www."+zone) // wanted otherwise
	next.Apply([]acme.Certificate{want})
	next.untilReady(t, want.Name)
	if took := time.Since(began); took < wait {
		t.Errorf("asked again after %v", took)
	}
	if n := ca.Calls(pebble.NewOrder); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestRateLimitIsOfOneCA(t *testing.T) {
	t.Parallel()
	ca, limited := ownCA(t, nil)
	limited.Name = "limited"
	ca.Intercept(pebble.NewOrder, pebble.Refuse(http.StatusTooManyRequests, "rateLimited", time.Hour))
	want := single(shared.zone(t))
	want.Issuer = "limited"
	r := start(t, options(t, directory(t, t.TempDir()), limited, shared.issuer("main")), want)
	r.untilFailed(t, want.Name, "rateLimited")
	want.Issuer = "main"
	r.Apply([]acme.Certificate{want})
	r.untilReady(t, want.Name)
}

// refusingStorage fails where it is told to.
type refusingStorage struct {
	acme.Storage
	load, save, document atomic.Bool
}

var errRefused = errors.New("the disk is full")

func refused(refuse *atomic.Bool) error {
	if refuse.Load() {
		return errRefused
	}
	return nil
}

func (s *refusingStorage) Load(ctx context.Context, name acme.Name) (*acme.Stored, error) {
	if err := refused(&s.load); err != nil {
		return nil, err
	}
	return s.Storage.Load(ctx, name)
}

func (s *refusingStorage) Save(ctx context.Context, name acme.Name, stored *acme.Stored) error {
	if err := refused(&s.save); err != nil {
		return err
	}
	return s.Storage.Save(ctx, name, stored)
}

func (s *refusingStorage) SaveDocument(ctx context.Context, key string, document []byte) error {
	if err := refused(&s.document); err != nil {
		return err
	}
	return s.Storage.SaveDocument(ctx, key, document)
}

// What could not be kept is not ordered, and what was ordered is kept once it can be.
func TestStorageThatRefuses(t *testing.T) {
	t.Parallel()
	zone := shared.zone(t)
	storage := &refusingStorage{Storage: directory(t, t.TempDir())}
	storage.load.Store(true)
	want := single(zone)
	r := start(t, options(t, storage, shared.issuer("main")), want)
	r.untilFailed(t, want.Name, "read certificate: the disk is full")
	storage.document.Store(true)
	storage.save.Store(true)
	storage.load.Store(false)
	r.untilFailed(t, want.Name, "save order under way: the disk is full")
	if n := len(shared.orders(zone)); n != 0 {
		t.Errorf("%d orders that nobody could keep", n)
	}
	storage.document.Store(false)
	first := r.untilFailed(t, want.Name, "save certificate: the disk is full")
	r.until(t, want.Name, "failed again", func(s acme.State) bool { return s.Stage == acme.Failed && s.Retry.After(first.Retry) })
	storage.save.Store(false)
	r.untilReady(t, want.Name)
	if n := len(shared.orders(zone)); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// A clock that is wrong makes certificates look expired. They are not ordered again:
// the new ones would look so too.
func TestClockThatJumps(t *testing.T) {
	t.Parallel()
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	var ahead atomic.Int64
	o := options(t, storage, shared.issuer("main"))
	o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	want := single(zone)
	r := start(t, o, want)
	r.untilReady(t, want.Name)
	for _, jump := range []time.Duration{100 * 24 * time.Hour, -400 * 24 * time.Hour} {
		ahead.Store(int64(jump))
		r.Recheck(want.Name)
		if jump > 0 {
			state := r.untilFailed(t, want.Name, "the clock of this machine is 2400h")
			if state.NotAfter.IsZero() {
				t.Error("nobody knows what is still served")
			}
		}
		ahead.Store(0)
		r.Recheck(want.Name)
		r.untilReady(t, want.Name)
	}
	if n := len(shared.orders(zone)); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// A name that the CA looked at in vain fails in the CA's words, and needs another order.
func TestCAThatSeesNothing(t *testing.T) {
	t.Parallel()
	zone, issuer := shared.zone(t), shared.issuer("main")
	issuer.Solver = acme.HTTP01{}
	var answering atomic.Bool
	follow := shared.answers.follow()
	storage, err := acme.NewDirectory(t.TempDir(), func(all []acme.Challenge) {
		if answering.Load() {
			follow(all)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := single(zone)
	r := start(t, options(t, storage, issuer), want)
	first := r.untilFailed(t, want.Name, "the CA refused "+zone+": ")
	if !strings.Contains(first.Message, "404") {
		t.Errorf("message %q", first.Message)
	}
	answering.Store(true)
	r.untilReady(t, want.Name)
	if n := len(shared.orders(zone)); n > 3 {
		t.Errorf("%d orders", n)
	}
}
