package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// udpServer answers each datagram by answer, until the test ends.
func udpServer(t *testing.T, answer func(p []byte) []byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		p := make([]byte, maxDatagram)
		for {
			n, from, err := conn.ReadFrom(p)
			if err != nil {
				return
			}
			if said := answer(p[:n]); said != nil {
				_, _ = conn.WriteTo(said, from)
			}
		}
	})
	t.Cleanup(func() {
		conn.Close()
		served.Wait()
	})
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

// udpBackend answers with its name and what it got.
func udpBackend(t *testing.T, name string) *router.Backend {
	t.Helper()
	b := router.NewBackend("default/app:53")
	b.SetEndpoints([]netip.AddrPort{udpServer(t, func(p []byte) []byte { return fmt.Appendf(nil, "%s: %s", name, p) })})
	return b
}

// datagrams is a gateway with a UDP socket.
type datagrams struct {
	*gateway
	name string
}

func newDatagrams(t *testing.T, name string, settings Settings, backends ...*router.Backend) *datagrams {
	t.Helper()
	settings.Lane = exchange.LaneFull // there is but one
	if settings.DrainTimeout == 0 {
		settings.DrainTimeout = 200 * time.Millisecond // sessions that nobody ends would last longer
	}
	d := &datagrams{gateway: newGateway(t, plainMode, settings), name: name}
	d.use(backends...)
	t.Cleanup(func() {
		d.stop()
		<-d.ended
		if n := d.server.Stats().Sessions.Load(); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
	return d
}

// use makes these the backends.
func (d *datagrams) use(backends ...*router.Backend) {
	d.t.Helper()
	stream := &router.Stream{Listener: "Gateway default/dns/udp", Route: "UDPRoute default/dns"}
	for _, b := range backends {
		stream.Backends = append(stream.Backends, router.WeightedBackend{Backend: b, Weight: 1})
	}
	table := router.Compile(nil, nil).WithStreams([]router.StreamRules{{Socket: d.name, Stream: stream}})
	if err := d.server.Apply(table, []Listener{{Name: d.name, Protocol: router.SocketUDP}})[d.name]; err != nil {
		d.t.Fatal(err)
	}
}

// socket returns the open socket.
func (d *datagrams) socket() *datagramSocket {
	d.server.mu.Lock()
	defer d.server.mu.Unlock()
	return d.server.udp[d.name]
}

func (d *datagrams) at() string { return d.socket().conn.LocalAddr().String() }

// dialUDP returns a client.
func dialUDP(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// askOver asks again and again until there is an answer, as clients of UDP do; "" if there
// is none.
func askOver(conn net.Conn, text string) string {
	p := make([]byte, maxDatagram)
	for range 20 {
		if _, err := conn.Write([]byte(text)); err != nil {
			continue
		}
		_ = conn.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
		if n, err := conn.Read(p); err == nil {
			return string(p[:n])
		}
	}
	return ""
}

func ask(t *testing.T, address, text string) string {
	t.Helper()
	conn := dialUDP(t, address)
	defer conn.Close()
	return askOver(conn, text)
}

func TestDatagrams(t *testing.T) {
	d := newDatagrams(t, "127.0.0.1:0/udp", Settings{SessionIdleTimeout: 400 * time.Millisecond}, udpBackend(t, "one"))
	first, second := dialUDP(t, d.at()), dialUDP(t, d.at())
	for i := range 5 {
		for _, client := range []net.Conn{first, second} {
			text := fmt.Sprint(client.LocalAddr(), i)
			if got := askOver(client, text); got != "one: "+text {
				t.Errorf("got %q", got)
			}
		}
	}
	big := make([]byte, 60_000)
	if got := askOver(first, string(big)); len(got) != len(big)+5 {
		t.Errorf("%d bytes of a datagram have come back", len(got))
	}
	if n := d.server.Stats().Sessions.Load(); n != 2 {
		t.Errorf("%d sessions of two clients", n)
	}
	x := d.observed(2) // when they were silent for long enough
	if x.Protocol != "udp" || x.Route != "UDPRoute default/dns" || x.Cause != "" || x.Received == 0 || x.Sent <= x.Received ||
		x.Client.String() != "127.0.0.1" || x.Duration < 400*time.Millisecond {
		t.Errorf("observed %+v", x)
	}
	eventually(t, "no sessions are left", func() bool { return d.server.Stats().Sessions.Load() == 0 })
	if got := askOver(first, "again"); got != "one: again" {
		t.Errorf("got %q", got)
	}
}

// The answer comes from the address that was asked: who is asked at one address drops what
// comes from another.
func TestDatagramsAnswerFromTheAddressAsked(t *testing.T) {
	d := newDatagrams(t, ":0/udp", Settings{}, udpBackend(t, "one"))
	_, port, _ := net.SplitHostPort(d.at())
	asked := []string{"127.0.0.1", "127.0.0.2", "127.1.2.3"}
	if conn, err := net.Dial("udp", "[::1]:"+port); err == nil {
		conn.Close()
		asked = append(asked, "::1")
	}
	for _, address := range asked {
		if got := ask(t, net.JoinHostPort(address, port), "hi"); got != "one: hi" {
			t.Errorf("%s: got %q", address, got)
		}
	}
}

// Go's resolver, over UDP and, when an answer is cut, over TCP.
func TestDNSThroughStreams(t *testing.T) {
	answer := func(p []byte, whole bool) []byte {
		var query dnsmessage.Message
		if query.Unpack(p) != nil || len(query.Questions) != 1 {
			return nil
		}
		q := query.Questions[0]
		m := dnsmessage.Message{Questions: query.Questions}
		m.Header = dnsmessage.Header{ID: query.ID, Response: true, Authoritative: true, Truncated: !whole}
		if whole && q.Type == dnsmessage.TypeA {
			header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
			m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}}}}
		}
		packed, _ := m.Pack()
		return packed
	}
	short := router.NewBackend("default/dns:53")
	short.SetEndpoints([]netip.AddrPort{udpServer(t, func(p []byte) []byte {
		var query dnsmessage.Message
		_ = query.Unpack(p)
		return answer(p, len(query.Questions) == 1 && query.Questions[0].Name.String() == "small.test.")
	})})
	d := newDatagrams(t, "127.0.0.1:0/udp", Settings{}, short)

	runStreams(t, router.SocketTCP, Settings{}, func(t *testing.T, g *streamed) {
		g.stream("", dnsOverTCP(t, answer))
		g.apply()
		var over []string
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			over = append(over, network)
			if network == "udp" {
				return new(net.Dialer).DialContext(ctx, "udp", d.at())
			}
			return new(net.Dialer).DialContext(ctx, "tcp", g.address())
		}}
		for _, name := range []string{"small.test.", "large.test."} {
			over = nil
			got, err := resolver.LookupNetIP(t.Context(), "ip4", name)
			if err != nil || len(got) != 1 || got[0].Unmap().String() != "192.0.2.7" {
				t.Errorf("%s: %v, %v", name, got, err)
			}
			if viaTCP := slices.Contains(over, "tcp"); viaTCP != (name == "large.test.") {
				t.Errorf("%s: asked over %v", name, over)
			}
		}
	})
}

func TestDatagramsSessionLimit(t *testing.T) {
	d := newDatagrams(t, "127.0.0.1:0/udp", Settings{MaxSessions: 2}, udpBackend(t, "one"))
	first, second, third := dialUDP(t, d.at()), dialUDP(t, d.at()), dialUDP(t, d.at())
	askOver(first, "1")
	askOver(second, "2")
	_, _ = third.Write([]byte("3"))
	eventually(t, "a datagram is dropped", func() bool { return d.server.Stats().Dropped.Load() == 1 })
	if askOver(first, "1") == "" || askOver(second, "2") == "" {
		t.Error("those who have sessions lost them")
	}
	if n := d.server.Stats().Sessions.Load(); n != 2 {
		t.Errorf("%d sessions", n)
	}
	// The first is silent for long enough to make room.
	socket := d.socket()
	socket.mu.Lock()
	for key, s := range socket.sessions {
		if key.client.String() == first.LocalAddr().String() {
			s.active.Store(time.Now().Add(-exchange.SessionPatience).UnixNano())
		}
	}
	socket.mu.Unlock()
	if got := askOver(third, "3"); got != "one: 3" {
		t.Errorf("got %q", got)
	}
	if askOver(second, "2") == "" {
		t.Error("the second has lost its session")
	}
}

// A machine that says that nobody listens is not asked again, for a while.
func TestDatagramsRefused(t *testing.T) {
	// Nobody else here uses the address: a port of 127.0.0.1 may soon be another's.
	conn, err := net.ListenPacket("udp", "127.0.0.77:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := netip.MustParseAddrPort(conn.LocalAddr().String())
	conn.Close()
	good := udpBackend(t, "one")
	backend := router.NewBackend("default/app:53")
	backend.SetEndpoints([]netip.AddrPort{gone})
	d := newDatagrams(t, "127.0.0.1:0/udp", Settings{}, backend)
	client := dialUDP(t, d.at())
	_, _ = client.Write([]byte("lost"))
	if x := d.observed(1); x.Cause != exchange.CauseConnectRefused || x.Upstream != gone {
		t.Errorf("observed %+v", x)
	}
	backend.SetEndpoints([]netip.AddrPort{gone, good.Endpoints()[0].Addr})
	if got := askOver(client, "found"); got != "one: found" {
		t.Errorf("got %q", got)
	}
}

// A client gets another endpoint when its own is gone, or its Route goes elsewhere.
func TestDatagramsFollowEndpointsAndRoutes(t *testing.T) {
	one, two := udpBackend(t, "one"), udpBackend(t, "two")
	backend := router.NewBackend("default/app:53")
	backend.SetEndpoints([]netip.AddrPort{one.Endpoints()[0].Addr})
	d := newDatagrams(t, "127.0.0.1:0/udp", Settings{}, backend)
	client := dialUDP(t, d.at())
	for _, step := range []struct {
		change func()
		want   string
	}{
		{func() {}, "one: hi"},
		{func() { backend.SetEndpoints([]netip.AddrPort{two.Endpoints()[0].Addr}) }, "two: hi"},
		{func() { d.use(one) }, "one: hi"},
		{func() { d.use(one, two) }, "one: hi"}, // its session goes on
	} {
		step.change()
		if got := askOver(client, "hi"); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
	d.use()
	before := d.server.Stats().Dropped.Load()
	_, _ = client.Write([]byte("hi"))
	eventually(t, "the datagram is dropped", func() bool { return d.server.Stats().Dropped.Load() > before })
	eventually(t, "no session is left", func() bool { return d.server.Stats().Sessions.Load() == 0 })
}

// What was asked before a socket is removed is still answered.
func TestDatagramsDrain(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	backend := router.NewBackend("default/app:53")
	backend.SetEndpoints([]netip.AddrPort{udpServer(t, func(p []byte) []byte {
		asked <- struct{}{}
		<-release
		return p
	})})
	d := newDatagrams(t, "127.0.0.1:0/udp", Settings{DrainTimeout: 2 * time.Second}, backend)
	client, address := dialUDP(t, d.at()), d.at()
	_, _ = client.Write([]byte("slow"))
	<-asked
	d.server.Apply(router.Compile(nil, nil), nil)
	close(release)
	_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
	p := make([]byte, 10)
	if n, err := client.Read(p); string(p[:n]) != "slow" {
		t.Errorf("got %q, %v", p[:n], err)
	}
	d.observed(1)
	eventually(t, "the address is free", func() bool {
		conn, err := net.ListenPacket("udp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil || !errors.Is(err, errAddressInUse)
	})
}

// Sessions come and go, and nothing is left of them.
func TestDatagramsLeaveNothing(t *testing.T) {
	d := newDatagrams(t, "127.0.0.1:0/udp", Settings{SessionIdleTimeout: 500 * time.Millisecond}, udpBackend(t, "one"))
	address := d.at()
	ask(t, address, "first")
	eventually(t, "no session is left", func() bool { return d.server.Stats().Sessions.Load() == 0 })
	before := inUse(t, d.gateway)
	gate := make(chan struct{}, 50)
	var all sync.WaitGroup
	for i := range 500 {
		gate <- struct{}{}
		all.Go(func() {
			defer func() { <-gate }()
			conn, err := net.Dial("udp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if i%3 == 0 { // leaves before the answer
				_, _ = conn.Write([]byte("hi"))
			} else if got := askOver(conn, "hi"); got != "one: hi" {
				t.Errorf("got %q", got)
			}
		})
	}
	all.Wait()
	eventually(t, "no session is left", func() bool { return d.server.Stats().Sessions.Load() == 0 })
	eventually(t, fmt.Sprintf("no more than %+v is in use", before), func() bool { return inUse(t, d.gateway).within(before) })
}
