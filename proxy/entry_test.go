package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// entrance gives requests to an Entry one by one, as the end of a tunnel over QUIC does.
func entrance(t *testing.T, g *gateway) (*Entry, *http.Client) {
	t.Helper()
	entry := g.server.Entry()
	return entry, &http.Client{Transport: edgeTripper{t: t, entry: entry}}
}

func TestEntryTellsWhoTheClientIs(t *testing.T) {
	g := newGateway(t, plainMode, Settings{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	entry, client := entrance(t, g)
	g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "X-Forwarded-Proto", "X-Forwarded-Port"} {
			w.Header().Set("Seen-"+name, r.Header.Get(name))
		}
	}))
	g.server.Apply(g.table(), nil) // no socket is open
	ask := func(peer, scheme string) *http.Response {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, "http://app.test:8443/", nil)
		req.Header.Set("Cf-Connecting-Ip", peer)
		req.Header.Set("X-Forwarded-For", strings.TrimSuffix("203.0.113.5, "+peer, ", "))
		req.Header.Set("X-Forwarded-Proto", scheme)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	if res := ask("192.0.2.7", "gopher"); res.StatusCode != http.StatusNotFound {
		t.Errorf("an entry that leads nowhere: %s", res.Status)
	}
	entry.Lead(Ways{Secure: socketName})
	for _, tt := range []struct{ peer, chain, real, proto string }{
		{"192.0.2.7", "192.0.2.7", "192.0.2.7", "https"},
		{"::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7", "https"},
		{"198.51.100.1", "203.0.113.5, 198.51.100.1", "203.0.113.5", "gopher"},
		{"", "", "", "https"},
	} {
		res := ask(tt.peer, "gopher")
		h := res.Header
		if h.Get("Seen-X-Forwarded-For") != tt.chain || h.Get("Seen-X-Real-Ip") != tt.real && tt.peer != "" ||
			h.Get("Seen-X-Forwarded-Proto") != tt.proto || h.Get("Seen-X-Forwarded-Port") != "8443" {
			t.Errorf("%q: %s %v", tt.peer, res.Status, h)
		}
	}
	if res := ask("192.0.2.7", "http"); res.StatusCode != http.StatusNotFound {
		t.Errorf("a scheme that leads nowhere: %s", res.Status)
	}
}

// The end of Run waits for what is under way, and cuts it in the end; then nothing enters.
func TestEntryDrains(t *testing.T) {
	g := newGateway(t, plainMode, Settings{DrainTimeout: time.Second})
	entry, client := entrance(t, g)
	entry.Lead(Ways{Secure: socketName})
	proceed, forever := make(chan struct{}), make(chan struct{})
	defer close(forever)
	for path, wait := range map[string]chan struct{}{"/short": proceed, "/long": forever} {
		g.route(path, httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "first\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-wait:
			case <-r.Context().Done():
			}
			_, _ = io.WriteString(w, "last\n")
		}))
	}
	g.server.Apply(g.table(), nil)
	bodies := map[string]*bufio.Reader{}
	for _, path := range []string{"/short", "/long"} {
		res, err := client.Get("http://app.test" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		bodies[path] = bufio.NewReader(res.Body)
		if line, err := bodies[path].ReadString('\n'); line != "first\n" {
			t.Fatalf("%s: %q, %v", path, line, err)
		}
	}
	g.stop()
	eventually(t, "nothing enters", func() bool {
		res, err := client.Get("http://app.test/short")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode == http.StatusServiceUnavailable
	})
	close(proceed)
	if rest, err := io.ReadAll(bodies["/short"]); string(rest) != "last\n" || err != nil {
		t.Errorf("short: %q, %v", rest, err)
	}
	if rest, err := io.ReadAll(bodies["/long"]); err == nil {
		t.Errorf("long ended in order with %q", rest)
	}
	<-g.ended
}

func TestEntryLeadsStreamsByPort(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	entry := g.server.Entry()
	backend := rawBackend(t, func(conn net.Conn, r *bufio.Reader) { _, _ = io.Copy(conn, r) })
	stream := &router.Stream{Route: "TCPRoute default/db", Backends: []router.WeightedBackend{{Backend: backend, Weight: 1}}}
	g.server.Apply(router.Compile(nil, nil).WithStreams([]router.StreamRules{{Socket: "db", Stream: stream}}), nil)
	entry.Lead(Ways{Streams: map[uint16]string{5432: "db", 5433: "nothing"}})
	for destination, want := range map[string]string{"10.0.0.1:5432": "ping", "10.0.0.1:5433": "", "10.0.0.1:22": "", "10.0.0.1": ""} {
		near, far := net.Pipe()
		var served sync.WaitGroup
		served.Go(func() { entry.ServeStream(far, destination) })
		_ = near.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = near.Write([]byte("ping"))
		got := make([]byte, len(want))
		if n, err := io.ReadFull(near, got); string(got) != want {
			t.Errorf("%s: %q, %v", destination, got[:n], err)
		}
		near.Close()
		served.Wait()
	}
}

func TestEntryIsFull(t *testing.T) {
	g := newGateway(t, plainMode, Settings{MaxConnections: 1})
	entry, client := entrance(t, g)
	entry.Lead(Ways{Secure: socketName})
	proceed := make(chan struct{})
	g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-proceed
	}))
	g.server.Apply(g.table(), nil)
	first, err := client.Get("http://app.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	second, err := client.Get("http://app.test/")
	if err != nil {
		t.Fatal(err)
	}
	second.Body.Close()
	close(proceed)
	if second.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%s", second.Status)
	}
	if _, err := io.ReadAll(first.Body); err != nil {
		t.Error(err)
	}
}

func TestEntryIsGuarded(t *testing.T) {
	var mu sync.Mutex
	var causes []exchange.Cause
	g := newGateway(t, plainMode, Settings{Observe: func(r *exchange.Report) {
		if r.Protocol == "tcp" {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		causes = append(causes, r.Cause)
		if r.Method != http.MethodGet || r.Path != "/" || r.Host != "app.test" {
			t.Errorf("reported as %s %s%s", r.Method, r.Host, r.Path)
		}
	}})
	entry, client := entrance(t, g)
	reached := 0
	g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) { reached++ }))
	g.server.Apply(g.table().WithStreams([]router.StreamRules{{Socket: "db", Stream: &router.Stream{}}}), nil)
	entry.Lead(Ways{Secure: socketName, Streams: map[uint16]string{5432: "db"}, Guard: func(r *http.Request) error {
		if r.Header.Get("Ticket") == "" {
			return errors.New("no ticket")
		}
		return nil
	}})
	for _, test := range []struct {
		ticket string
		status int
	}{{"", http.StatusForbidden}, {"yes", http.StatusOK}} {
		r, _ := http.NewRequest(http.MethodGet, "http://app.test/", nil)
		r.Header.Set("Ticket", test.ticket)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != test.status {
			t.Errorf("ticket %q: %s", test.ticket, res.Status)
		}
	}
	eventually(t, "both are reported", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(causes) == 2 && slices.Contains(causes, exchange.CauseNoAccess) && slices.Contains(causes, exchange.CauseNone)
	})
	if n := g.server.Stats().NoAccess.Load(); n != 1 || reached != 1 {
		t.Errorf("%d refused, %d reached the backend", n, reached)
	}
	near, far := net.Pipe()
	entry.ServeStream(far, "10.0.0.1:5432")
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("a stream is served, of which a Guard knows nothing")
	}
}
