package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/internal/succession"
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// shareOf is a name that only this test's Servers have.
func shareOf(t *testing.T) string {
	return fmt.Sprint(strings.ReplaceAll(t.Name(), "/", "-"), time.Now().UnixNano())
}

// requests are clients that ask again and again, over new connections and kept ones,
// and note what fails.
type requests struct {
	clients sync.WaitGroup
	stop    context.CancelFunc

	mu       sync.Mutex
	answered int
	failures []error
}

// ask begins to request from an address that stays the same.
func (g *gateway) ask() *requests {
	ctx, stop := context.WithCancel(context.Background())
	r := &requests{stop: stop}
	address := g.address()
	for i := range 8 {
		transport := g.client.Transport.(*http.Transport).Clone()
		transport.DisableKeepAlives = i%2 == 0
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
		client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
		r.clients.Go(func() {
			defer transport.CloseIdleConnections()
			for ctx.Err() == nil {
				err := askOnce(client, g.url("/"))
				r.mu.Lock()
				if r.answered++; err != nil {
					r.failures = append(r.failures, err)
				}
				r.mu.Unlock()
			}
		})
	}
	return r
}

func askOnce(client *http.Client, url string) error {
	res, err := client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || string(body) != "here") {
		err = fmt.Errorf("got %d %q", res.StatusCode, body)
	}
	return err
}

func (r *requests) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answered
}

// replica is a Server that serves what the others of its share do.
func replica(t *testing.T, m mode, share string, backend *router.Backend) *gateway {
	t.Helper()
	g := newGateway(t, m, Settings{Share: share})
	g.route("/", backend)
	g.apply()
	return g
}

// Servers replace each other time and again, and no request fails.
func TestReplicasReplaceEachOther(t *testing.T) {
	for _, m := range []mode{plainMode, tlsMode, h2Mode} {
		t.Run(m.name, func(t *testing.T) {
			backend := httpBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
			share := shareOf(t)
			serving := []*gateway{replica(t, m, share, backend), replica(t, m, share, backend)}
			if serving[0].address() != serving[1].address() {
				t.Fatalf("two replicas are at %s and %s", serving[0].address(), serving[1].address())
			}
			asking := serving[0].ask()
			for range 6 {
				before := asking.count()
				serving = append(serving, replica(t, m, share, backend))
				serving[0].stop()
				<-serving[0].ended
				serving = serving[1:]
				eventually(t, "requests are answered", func() bool { return asking.count() > before+200 })
			}
			asking.stop()
			asking.clients.Wait()
			t.Logf("%d requests", asking.answered)
			for _, err := range asking.failures {
				t.Error(err)
			}
		})
	}
}

// Connections that nobody has accepted yet are not lost with the process that opened the
// socket.
func TestQueuedConnectionsAreServedByTheOther(t *testing.T) {
	backend := httpBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	share := shareOf(t)
	idle := New(Settings{Share: share, Lane: exchange.LaneFull}) // never runs, so it never accepts
	if err := idle.Apply(router.Compile(nil, nil), []Listener{{Name: socketName}})[socketName]; err != nil {
		t.Fatal(err)
	}
	idle.mu.Lock()
	address := idle.sockets[socketName].listener.Addr().String()
	idle.mu.Unlock()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	g := replica(t, plainMode, share, backend)
	idle.Apply(router.Compile(nil, nil), nil)
	r := g.over(conn)
	r.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
	if res, body := r.response("GET"); res.StatusCode != http.StatusOK || body != "here" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := idle.Run(ended); err != nil {
		t.Error(err)
	}
}

// Nobody else gets in: not a stranger, nor a Lintel of another share, nor one of none. They
// are told what they always were.
func TestAPortOfSomebodyElseIsAConflict(t *testing.T) {
	stranger, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	name := stranger.Addr().String()
	for _, share := range []string{"", shareOf(t)} {
		s := New(Settings{Share: share, Lane: exchange.LaneFull})
		if err := s.Apply(router.Compile(nil, nil), []Listener{{Name: name}})[name]; !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("share %q: %v, want an address in use", share, err)
		}
	}
	stranger.Close()
	first := New(Settings{Share: shareOf(t), Lane: exchange.LaneFull})
	if err := first.Apply(router.Compile(nil, nil), []Listener{{Name: name}})[name]; err != nil {
		t.Fatal(err)
	}
	defer first.Apply(router.Compile(nil, nil), nil)
	for _, share := range []string{"", shareOf(t) + "other"} {
		s := New(Settings{Share: share, Lane: exchange.LaneFull})
		if err := s.Apply(router.Compile(nil, nil), []Listener{{Name: name}})[name]; !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("share %q: %v, want an address in use", share, err)
		}
	}
}

// One process reads from a UDP socket; when it ends another goes on, and a question that
// is repeated is answered.
func TestReplicasOfAUDPSocket(t *testing.T) {
	const name = "127.0.0.1:0/udp"
	share, backend := shareOf(t), udpBackend(t, "one")
	first := newDatagrams(t, name, Settings{Share: share}, backend)
	address := first.at()
	client := dialUDP(t, address)
	if got := askOver(client, "1"); got != "one: 1" {
		t.Fatalf("got %q", got)
	}
	second := newDatagrams(t, name, Settings{Share: share}, backend)
	if second.at() != address {
		t.Fatalf("two replicas are at %s and %s", address, second.at())
	}
	for i := range 50 {
		if got := ask(t, address, fmt.Sprint(i)); got != fmt.Sprint("one: ", i) {
			t.Fatalf("got %q", got)
		}
	}
	if n := second.server.Stats().Sessions.Load(); n != 0 {
		t.Errorf("two replicas read: the second has %d sessions", n)
	}
	first.stop()
	eventually(t, "the second reads", func() bool { return ask(t, address, "x") == "one: x" && second.server.Stats().Sessions.Load() > 0 })
	if got := askOver(client, "2"); got != "one: 2" {
		t.Errorf("a client of the first that asks the second got %q", got)
	}
	<-first.ended
}

// HTTP/3 is served by one process, and by the next when its connections have drained.
func TestReplicasOfHTTP3(t *testing.T) {
	backend := httpBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	share := shareOf(t)
	first := replica(t, h3Mode, share, backend)
	if err := askOnce(first.client, first.url("/")); err != nil {
		t.Fatal(err)
	}
	second := replica(t, h3Mode, share, backend)
	first.stop()
	<-first.ended
	for range 5 {
		if err := askOnce(second.client, second.url("/")); err != nil {
			t.Error(err)
		}
	}
	if n := second.count(); n != 5 {
		t.Errorf("the second has served %d requests", n)
	}
}

// lines hands on what is logged.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// A keeper that sends everybody away is asked more and more rarely, and once that lasts it
// is said, once.
func TestKeeperThatSendsAway(t *testing.T) {
	name := "lintel-test/" + shareOf(t)
	var asked atomic.Int32
	seat, err := succession.Take(name, func(*net.UnixConn) error {
		asked.Add(1)
		return net.ErrClosed
	})
	if err != nil {
		t.Fatal(err)
	}
	defer seat.Leave()
	queue, err := succession.Queue(name)
	if err != nil {
		t.Fatal(err)
	}
	said := make(lines, 10)
	h := &shared{name: name, queue: queue, keeps: make(chan struct{}), gone: make(chan struct{}), log: slog.New(slog.NewTextHandler(said, nil))}
	h.following.Go(h.follow)
	if line := <-said; !strings.Contains(line, "it is not known who keeps it next") || !strings.Contains(line, name) {
		t.Errorf("said %s", line)
	}
	if n := asked.Load(); n > 12 {
		t.Errorf("asked %d times", n)
	}
	h.leave() // at once
	if len(said) > 0 {
		t.Errorf("said %s", <-said)
	}
}
