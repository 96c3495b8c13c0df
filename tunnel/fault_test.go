package tunnel_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/lintel-dev/lintel/conformance/edge"
	"github.com/lintel-dev/lintel/tunnel"
)

// load sends requests one after the other by a few users until stop is called, which
// returns how many there were, and the failures.
func (s *site) load() (stop func() (int64, []error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var users sync.WaitGroup
	var mu sync.Mutex
	var count atomic.Int64
	var failures []error
	for range 4 {
		users.Go(func() {
			for ctx.Err() == nil {
				err := s.visit()
				count.Add(1)
				if err != nil {
					mu.Lock()
					failures = append(failures, err)
					mu.Unlock()
				}
			}
		})
	}
	return func() (int64, []error) {
		cancel()
		users.Wait()
		return count.Load(), failures
	}
}

// visit sends one request.
func (s *site) visit() error {
	res, err := s.client.Get("https://app.example.com/")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello" || res.StatusCode != http.StatusOK {
		return errors.Join(err, errors.New(res.Status+" "+string(body)))
	}
	return nil
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// serverOf are the servers that the connections go to.
func (s *site) serverOf() []int {
	var all []int
	for _, c := range s.edge.Connections(s.tunnel) {
		all = append(all, c.Server)
	}
	slices.Sort(all)
	return all
}

func TestFourConnectionsGoToFourAddresses(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		if got := s.serverOf(); !slices.Equal(got, []int{0, 1, 2, 3}) {
			t.Errorf("servers %v", got)
		}
		s.eventually("the status has four connections", func() bool { return len(s.status().Connections) == 4 })
		status := s.status()
		if status.Failure != nil || status.Registered != 4 {
			t.Errorf("status %+v", status)
		}
		for i, c := range status.Connections {
			if c.Index != i || !strings.HasPrefix(c.Location, "fake0") || c.Protocol != p || c.RoundTrip <= 0 {
				t.Errorf("connection %+v", c)
			}
		}
		s.until(func() bool { return len(s.edge.LocalConfigurations()) == 1 })
	})
}

func TestMoreConnectionsThanAddresses(t *testing.T) {
	s := newSite(t, siteOptions{edge: edge.Options{Servers: 2}})
	s.wait(2)
	s.eventually("two connections", func() bool { return len(s.status().Connections) == 2 })
	if f := s.status().Failure; f != nil {
		t.Errorf("failure %+v", f)
	}
}

func TestServersOfTheEdgeRestart(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		t.Parallel()
		s := connected(t, siteOptions{protocol: p})
		s.serve("/", hello)
		for i := range 2 {
			// One of which only the edge knows yet would not be lost, but have failed.
			s.eventually("both sides have all connections", func() bool { return len(s.status().Connections) == 4 })
			s.edge.Stop(i)
			s.wait(3)
			if err := s.visit(); err != nil {
				t.Error(err)
			}
			if err := s.edge.Restart(i); err != nil {
				t.Fatal(err)
			}
			s.wait(4)
		}
		if status := s.status(); status.Lost < 2 {
			t.Errorf("status %+v", status)
		}
		s.eventually("nothing is wrong", func() bool { return s.status().Failure == nil })
	})
}

func TestOneRegionIsGone(t *testing.T) {
	s := newSite(t, siteOptions{edge: edge.Options{Servers: 8}, before: func(e *edge.Edge) {
		for i := 1; i < 8; i += 2 { // the addresses belong to the two in turn
			e.Stop(i)
		}
	}})
	s.wait(4)
	if got := s.serverOf(); !slices.Equal(got, []int{0, 2, 4, 6}) {
		t.Errorf("servers %v", got)
	}
}

func TestTheEdgeIsAwayAtTheStart(t *testing.T) {
	s := newSite(t, siteOptions{before: func(e *edge.Edge) {
		for i := range 4 {
			e.Stop(i)
		}
	}})
	s.eventually("the status says why", func() bool { return s.status().Failure != nil })
	if status := s.status(); status.Failure.Permanent || !strings.Contains(status.Failure.Reason, "refused") || status.Healthy() {
		t.Errorf("status %+v", status.Failure)
	}
	for i := range 4 {
		if err := s.edge.Restart(i); err != nil {
			t.Fatal(err)
		}
	}
	s.wait(4)
}

func TestQUICIsBlocked(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{protocol: tunnel.Auto, before: func(e *edge.Edge) { e.BlockQUIC() }})
	start := time.Now()
	s.wait(1)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("fallback took %v", took)
	}
	s.wait(4)
	for _, c := range s.edge.Connections(s.tunnel) {
		if c.Protocol != "http2" {
			t.Errorf("connection %+v", c)
		}
	}
}

func TestQUICStalls(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{protocol: tunnel.Auto})
	s.wait(4)
	if c := s.edge.Connections(s.tunnel)[0]; c.Protocol != "quic" {
		t.Errorf("connection %+v", c)
	}
	s.edge.BlockQUIC()
	s.until(func() bool {
		all := s.edge.Connections(s.tunnel)
		return len(all) == 4 && !slices.ContainsFunc(all, func(c edge.Connection) bool { return c.Protocol == "quic" })
	})
}

// One server of the edge that does not answer says nothing of QUIC, by which the others do.
func TestQUICStallsAtOneServer(t *testing.T) {
	t.Parallel()
	s := connected(t, siteOptions{protocol: tunnel.Auto})
	frozen := s.serverOf()[0]
	s.edge.Freeze(frozen)
	s.eventually("a connection is tried in vain", func() bool { return s.status().Failed > 0 })
	s.edge.Thaw(frozen)
	s.eventually("four connections", func() bool { return len(s.status().Connections) == 4 })
	for _, c := range s.status().Connections {
		if c.Protocol != tunnel.QUIC {
			t.Errorf("connection %d speaks %s", c.Index, c.Protocol)
		}
	}
}

func TestQUICWithoutFallback(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{protocol: tunnel.QUIC, before: func(e *edge.Edge) { e.BlockQUIC() }})
	s.eventually("the status says why", func() bool { return s.status().Failure != nil })
	if status := s.status(); !strings.Contains(status.Failure.Reason, "by quic") || status.Failure.Permanent {
		t.Errorf("status %+v", status.Failure)
	}
	s.edge.AllowQUIC()
	s.wait(4)
}

// A half-open connection is given up, and others serve meanwhile.
func TestConnectionIsHalfOpen(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		t.Parallel()
		s := connected(t, siteOptions{protocol: p, edge: edge.Options{Servers: 5}})
		s.serve("/", hello)
		used := s.serverOf()
		frozen := used[0]
		s.edge.Freeze(frozen)
		s.eventually("another address is used", func() bool {
			now := s.serverOf()
			return slices.ContainsFunc(now, func(i int) bool { return !slices.Contains(used, i) })
		})
		s.edge.Thaw(frozen)
		s.eventually("four connections", func() bool { return len(s.status().Connections) == 4 })
		s.wait(4)
		if err := s.visit(); err != nil {
			t.Error(err)
		}
	})
}

// What is under way on a connection that is sent away goes on, and no request is lost.
func TestServerSendsItsConnectionsAway(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		s.serve("/", hello)
		s.serveEcho("/socket")
		sockets := []io.ReadWriteCloser{s.webSocket("/socket"), s.webSocket("/socket"), s.webSocket("/socket"), s.webSocket("/socket")}
		stop := s.load()
		for i := range 4 {
			s.edge.GoAway(i)
			s.wait(4)
		}
		for _, socket := range sockets {
			pingPong(t, socket)
			socket.Close()
		}
		if n, failures := stop(); len(failures) > 0 {
			t.Errorf("%d of %d requests failed: %v", len(failures), n, failures[0])
		}
	})
}

func TestRegistrationIsRefusedForAWhile(t *testing.T) {
	var asked atomic.Int32
	s := newSite(t, siteOptions{before: func(e *edge.Edge) {
		e.Refuse(func(edge.Registration) error {
			if asked.Add(1) <= 3 {
				return edge.Later("busy", 20*time.Millisecond)
			}
			return nil
		})
	}})
	s.eventually("the status says why", func() bool { f := s.status().Failure; return f != nil || asked.Load() > 3 })
	if f := s.status().Failure; f != nil && (f.Permanent || !strings.Contains(f.Reason, "busy")) {
		t.Errorf("failure %+v", f)
	}
	s.wait(4)
	if status := s.status(); status.Refused != 3 {
		t.Errorf("status %+v", status)
	}
}

func TestTokenIsRevokedThenReplaced(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		s.serve("/", hello)
		s.edge.Revoke(s.tunnel)
		s.eventually("the refusal is permanent", func() bool {
			status := s.status()
			return !status.Healthy() && status.Failure != nil && status.Failure.Permanent
		})
		if status := s.status(); !strings.Contains(status.Failure.Reason, "Unauthorized") {
			t.Errorf("status %+v", status)
		}
		s.config.Credentials = s.credentials()
		s.connector.Apply(map[string]tunnel.Config{"home": s.config})
		s.wait(4)
		s.eventually("all is well", func() bool { status := s.status(); return status.Failure == nil && len(status.Connections) == 4 })
		if err := s.visit(); err != nil {
			t.Error(err)
		}
	})
}

// While credentials that are not right are tried, those before go on; the right ones take
// over without a request lost.
func TestTokenIsReplacedUnderLoad(t *testing.T) {
	s := connected(t, siteOptions{})
	s.serve("/", hello)
	stop := s.load()
	before := s.edge.Connections(s.tunnel)[0].Connector

	wrong := s.config
	wrong.Credentials.Secret = "wrong"
	s.connector.Apply(map[string]tunnel.Config{"home": wrong})
	s.eventually("the wrong token is refused", func() bool { f := s.status().Failure; return f != nil && f.Permanent })
	s.eventually("the old connections are there", func() bool { return len(s.status().Connections) == 4 })
	s.config.Protocol = tunnel.QUIC
	s.connector.Apply(map[string]tunnel.Config{"home": s.config})
	s.until(func() bool {
		all := s.edge.Connections(s.tunnel)
		return len(all) == 4 && !slices.ContainsFunc(all, func(c edge.Connection) bool { return c.Connector == before })
	})
	if n, failures := stop(); len(failures) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(failures), n, failures[0])
	}
}

// Two replicas are replaced one after the other under load.
func TestRollingRestart(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		s.serve("/", hello)
		stop := s.load()
		other := func() (leave func()) {
			c := tunnel.New(tunnel.Settings{Edge: tunnel.Edge{Addresses: s.edge.Addresses(), Roots: s.edge.Roots}})
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { _ = c.Run(ctx) })
			n := len(s.edge.Connections(s.tunnel))
			c.Apply(map[string]tunnel.Config{"home": s.config})
			s.wait(n + 4)
			return func() {
				cancel()
				running.Wait()
			}
		}
		second := other()
		s.connector.Apply(nil) // the first leaves
		s.wait(4)
		third := other()
		second()
		s.wait(4)
		n, failures := stop()
		third()
		if len(failures) > 0 {
			t.Errorf("%d of %d requests failed: %v", len(failures), n, failures[0])
		}
	})
}

// A response that is under way when the connector stops comes to its end.
func TestStopLetsResponsesEnd(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		proceed := make(chan struct{})
		s.serve("/", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "first\n")
			_ = http.NewResponseController(w).Flush()
			<-proceed
			_, _ = io.WriteString(w, "last\n")
		})
		res, err := s.client.Get("https://app.example.com/")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body := bufio.NewReader(res.Body)
		if line, err := body.ReadString('\n'); err != nil || line != "first\n" {
			t.Fatalf("%q: %v", line, err)
		}
		s.stop()
		s.wait(0)
		close(proceed)
		if rest, err := io.ReadAll(body); err != nil || string(rest) != "last\n" {
			t.Errorf("%q: %v", rest, err)
		}
		<-s.ended
	})
}

func TestConfigurationIsAcknowledged(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p, edge: edge.Options{RemotelyManaged: true}})
		s.serve("/", hello)
		for _, step := range []struct{ version, applied int32 }{{3, 3}, {3, 3}, {5, 5}, {4, 5}} {
			applied, err := s.edge.Configure(t.Context(), s.tunnel, step.version, `{"ingress":[{"service":"http_status:404"}]}`)
			if err != nil || applied != step.applied {
				t.Errorf("version %d: %d applied, %v", step.version, applied, err)
			}
		}
		if err := s.visit(); err != nil { // routes decide, not what was sent
			t.Error(err)
		}
		if n := len(s.edge.LocalConfigurations()); n != 0 {
			t.Errorf("%d configurations were told", n)
		}
	})
}

func TestSeveralTunnelsInOneProcess(t *testing.T) {
	s := connected(t, siteOptions{})
	second := uuid.New()
	credentials, err := tunnel.ParseToken(s.edge.Allow(second))
	if err != nil {
		t.Fatal(err)
	}
	other := tunnel.Config{Credentials: credentials, Protocol: tunnel.QUIC, Handler: s.config.Handler}
	s.connector.Apply(map[string]tunnel.Config{"home": s.config, "other": other})
	s.until(func() bool { return len(s.edge.Connections(second)) == 4 && len(s.edge.Connections(s.tunnel)) == 4 })
	s.connector.Apply(map[string]tunnel.Config{"other": other})
	s.until(func() bool { return len(s.edge.Connections(second)) == 4 && len(s.edge.Connections(s.tunnel)) == 0 })
	s.eventually("the status has one tunnel", func() bool {
		all := s.connector.Status()
		return len(all) == 1 && len(all["other"].Connections) == 4
	})
}

// TestTheEdgeSendsWhatIsNoMessage: connections whose control streams have something malformed
// on them are given up and made anew, not without a pause, and Status tells of it. What is
// under way goes on.
func TestTheEdgeSendsWhatIsNoMessage(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		t.Parallel()
		s := connected(t, siteOptions{protocol: p})
		begun, end := make(chan struct{}), make(chan struct{})
		s.serve("/", func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			<-end
			hello(w, r)
		})
		answered := make(chan error, 1)
		go func() { answered <- s.visit() }()
		<-begun
		s.edge.Interject(make([]byte, 8))
		s.eventually("the status tells", func() bool {
			f := s.status().Failure
			return f != nil && strings.Contains(f.Reason, "malformed message") && !f.Permanent
		})
		close(end)
		if err := <-answered; err != nil {
			t.Errorf("the request that was under way: %v", err)
		}
		attempts := func() uint64 { n := s.status(); return n.Failed + n.Lost }
		start, before := time.Now(), attempts()
		s.eventually("some attempts", func() bool { return attempts() >= before+16 })
		if took := time.Since(start); took < 500*time.Millisecond {
			t.Errorf("16 attempts of 4 connections within %v", took)
		}
		s.edge.Interject(nil)
		s.wait(4)
		s.eventually("nothing is wrong", func() bool { return s.status().Failure == nil })
	})
}
