package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/proxyprotocol"
	"github.com/lintel-dev/lintel/router"
)

// streamed is a gateway whose socket has streams.
type streamed struct {
	*gateway
	listener Listener
	streams  []router.StreamRules
}

// runStreams runs a test with a socket of a protocol, in each lane.
func runStreams(t *testing.T, protocol router.SocketProtocol, settings Settings, test func(*testing.T, *streamed)) {
	t.Helper()
	run(t, []mode{plainMode}, settings, func(t *testing.T, g *gateway) {
		g.server.Apply(router.Compile(nil, nil), nil)
		s := &streamed{gateway: g, listener: Listener{Name: socketName, Protocol: protocol}}
		if protocol == router.SocketTLS {
			s.listener.GetCertificate = certificateFor("app.test")
		}
		test(t, s)
	})
}

// stream adds a Route for a server name.
func (s *streamed) stream(host string, backends ...*router.Backend) *router.StreamRules {
	stream := &router.Stream{Listener: "Gateway default/web/" + host, Route: "Route default/" + host}
	for _, b := range backends {
		stream.Backends = append(stream.Backends, router.WeightedBackend{Backend: b, Weight: 1})
	}
	s.streams = append(s.streams, router.StreamRules{Socket: s.listener.Name, ListenerHost: host, Host: host, Stream: stream})
	return &s.streams[len(s.streams)-1]
}

// apply brings rules and streams into effect.
func (s *streamed) apply() {
	s.t.Helper()
	var hosts []router.HostRules
	if len(s.rules) > 0 {
		hosts = append(hosts, router.HostRules{Socket: s.listener.Name, Rules: s.rules})
	}
	table := router.Compile(hosts, nil).WithStreams(s.streams)
	if err := s.server.Apply(table, []Listener{s.listener})[s.listener.Name]; err != nil {
		s.t.Fatalf("Apply: %v", err)
	}
}

// connect returns a connection to the socket.
func (s *streamed) connect() *net.TCPConn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

// connectTLS returns one over TLS.
func (s *streamed) connectTLS(config *tls.Config) *tls.Conn {
	config.InsecureSkipVerify = true
	return tls.Client(s.connect(), config)
}

// echoes sends back what it gets, and the end of it too.
func echoes(conn net.Conn, in *bufio.Reader) {
	if _, err := io.Copy(conn, in); err == nil {
		_ = conn.(closeWriter).CloseWrite()
	}
}

// exchangeBytes sends something and expects it back.
func exchangeBytes(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("got %.100q, %v", got, err)
	}
}

// tlsBackend serves TLS with a name of its own.
func tlsBackend(t *testing.T, name string) (*router.Backend, *httptest.Server) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", name, r.Proto, r.TLS.ServerName)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return backendAt(server.Listener.Addr()), server
}

func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String())
}

func TestTCPStream(t *testing.T) {
	runStreams(t, router.SocketTCP, Settings{}, func(t *testing.T, g *streamed) {
		g.stream("", rawBackend(t, echoes))
		g.apply()
		conn := g.connect()
		exchangeBytes(t, conn, "hello")
		exchangeBytes(t, conn, strings.Repeat("much ", 200_000))
		eventually(t, "a stream is open", func() bool { return g.server.Stats().Streams.Load() == 1 })
		_ = conn.CloseWrite()
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
			t.Errorf("got %q, %v", rest, err)
		}
		x := g.observed(1)
		if x.Received != 1_000_005 || x.Sent != x.Received || x.Protocol != "tcp" || x.Cause != "" ||
			x.Route != "Route default/" || x.Backend != "default/app:80" || !x.Upstream.IsValid() || x.Attempts != 1 {
			t.Errorf("observed %+v", x)
		}
		eventually(t, "no stream is open", func() bool { return g.server.Stats().Streams.Load() == 0 })
	})
}

// The end of either side goes through, and the other one may go on.
func TestTCPStreamHalfClosed(t *testing.T) {
	runStreams(t, router.SocketTCP, Settings{}, func(t *testing.T, g *streamed) {
		got := make(chan string, 1)
		g.stream("", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = io.WriteString(conn, "bye")
			_ = conn.(closeWriter).CloseWrite()
			rest, _ := io.ReadAll(in)
			got <- string(rest)
		}))
		g.apply()
		conn := g.connect()
		if all, err := io.ReadAll(conn); string(all) != "bye" || err != nil {
			t.Fatalf("got %q, %v", all, err)
		}
		_, _ = io.WriteString(conn, "one")
		_, _ = io.WriteString(conn, "two")
		_ = conn.CloseWrite()
		if rest := <-got; rest != "onetwo" {
			t.Errorf("the endpoint got %q", rest)
		}
		if x := g.observed(1); x.Cause != "" {
			t.Errorf("observed %+v", x)
		}
	})
}

// A reset comes out as a reset on the other side, and not as the end of what was sent.
func TestTCPStreamReset(t *testing.T) {
	runStreams(t, router.SocketTCP, Settings{}, func(t *testing.T, g *streamed) {
		ended := make(chan error, 1)
		g.stream("", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			order, _ := in.ReadByte()
			if order == 'r' {
				_ = conn.(*net.TCPConn).SetLinger(0)
				return
			}
			_, err := io.ReadAll(in)
			ended <- err
		}))
		g.apply()

		conn := g.connect()
		_, _ = io.WriteString(conn, "r")
		if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client got %v for the endpoint's reset", err)
		}
		if x := g.observed(1); x.Cause != exchange.CauseUpstreamReset {
			t.Errorf("observed %+v", x)
		}

		conn = g.connect()
		_, _ = io.WriteString(conn, "w")
		eventually(t, "the endpoint is there", func() bool { return g.server.Stats().Upstream.Load() == 1 })
		time.Sleep(20 * time.Millisecond) // the byte arrives; without it the test is weaker, not wrong
		_ = conn.SetLinger(0)
		conn.Close()
		if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the endpoint got %v for the client's reset", err)
		}
		if x := g.observed(2); x.Cause != exchange.CauseClientGone {
			t.Errorf("observed %+v", x)
		}
	})
}

func TestTCPStreamWithoutBackend(t *testing.T) {
	runStreams(t, router.SocketTCP, Settings{}, func(t *testing.T, g *streamed) {
		weightless := g.stream("", rawBackend(t, echoes))
		none := router.WeightedBackend{Weight: 1}
		for _, test := range []struct {
			name     string
			backends []router.WeightedBackend
			cause    exchange.Cause
		}{
			{"a reference that does not resolve", []router.WeightedBackend{none}, exchange.CauseNoBackend},
			{"no weight", []router.WeightedBackend{{Backend: weightless.Stream.Backends[0].Backend}}, exchange.CauseNoBackend},
			{"no endpoint", []router.WeightedBackend{{Backend: router.NewBackend("default/empty:1"), Weight: 1}}, exchange.CauseNoEndpoint},
		} {
			g.streams[0].Stream = &router.Stream{Backends: test.backends}
			g.apply()
			before := g.count()
			if all, err := io.ReadAll(g.connect()); len(all) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: got %q, %v", test.name, all, err)
			}
			if x := g.observed(before + 1); x.Cause != test.cause {
				t.Errorf("%s: observed %+v", test.name, x)
			}
		}
		g.streams[0].Stream = nil
		g.apply()
		if all, _ := io.ReadAll(g.connect()); len(all) > 0 {
			t.Errorf("no route: got %q", all)
		}
	})
}

// An endpoint that refuses costs the client nothing but time.
func TestTCPStreamTriesTheNextEndpoint(t *testing.T) {
	runStreams(t, router.SocketTCP, Settings{}, func(t *testing.T, g *streamed) {
		good := rawBackend(t, echoes)
		backend := router.NewBackend("default/app:80")
		backend.SetEndpoints([]netip.AddrPort{refusing(t), refusing(t), good.Endpoints()[0].Addr})
		g.stream("", backend)
		g.apply()
		for range 20 {
			conn := g.connect()
			exchangeBytes(t, conn, "hello")
			conn.Close()
		}
		for i := range 20 {
			if x := g.observed(i + 1); x.Upstream != good.Endpoints()[0].Addr {
				t.Errorf("observed %+v", x)
			}
		}
		backend.SetEndpoints([]netip.AddrPort{refusing(t), refusing(t)})
		if all, _ := io.ReadAll(g.connect()); len(all) > 0 {
			t.Errorf("got %q", all)
		}
		if x := g.observed(21); x.Cause != exchange.CauseConnectRefused || x.Attempts != 2 {
			t.Errorf("observed %+v", x)
		}
	})
}

func TestTCPStreamWeights(t *testing.T) {
	runStreams(t, router.SocketTCP, Settings{}, func(t *testing.T, g *streamed) {
		var counts [2]int
		says := func(text string) *router.Backend {
			return rawBackend(t, func(conn net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(conn, text) })
		}
		g.stream("", says("0"), says("1")).Stream.Backends[0].Weight = 3
		g.apply()
		const total = 400
		for range total {
			all, err := io.ReadAll(g.connect())
			if err != nil {
				t.Fatal(err)
			}
			counts[all[0]-'0']++
		}
		if counts[0] < total*3/4-60 || counts[0] > total*3/4+60 {
			t.Errorf("%v of %d; want three quarters at the first", counts, total)
		}
	})
}

func TestTCPStreamProxyProtocol(t *testing.T) {
	settings := Settings{ProxyProtocolFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	runStreams(t, router.SocketTCP, settings, func(t *testing.T, g *streamed) {
		heads := make(chan string, 1)
		at := rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			line, _ := in.ReadString('\n')
			heads <- line
			echoes(conn, in)
		})
		backend := router.NewBackendWith("default/app:80", router.BackendSettings{ProxyProtocol: router.ProxyProtocolV1})
		backend.SetEndpoints([]netip.AddrPort{at.Endpoints()[0].Addr})
		g.stream("", backend)
		g.apply()
		conn := g.connect()
		header := proxyprotocol.Header{Source: netip.MustParseAddrPort("192.0.2.1:1000"), Destination: netip.MustParseAddrPort("192.0.2.2:25")}
		_, _ = conn.Write(append(proxyprotocol.AppendV2(nil, header), "first"...))
		if line := <-heads; line != "PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\n" {
			t.Errorf("the endpoint got %q", line)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(conn, got); string(got) != "first" {
			t.Errorf("got %q, %v", got, err)
		}
		conn.Close()
		if x := g.observed(1); x.Client != header.Source.Addr() {
			t.Errorf("observed %+v", x)
		}
	})
}

func TestTCPStreamIdle(t *testing.T) {
	runStreams(t, router.SocketTCP, Settings{StreamIdleTimeout: 300 * time.Millisecond}, func(t *testing.T, g *streamed) {
		g.stream("", rawBackend(t, echoes))
		g.apply()
		conn := g.connect()
		start := time.Now()
		for range 5 { // it lasts as long as something is said
			exchangeBytes(t, conn, "hello")
			time.Sleep(100 * time.Millisecond)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil || time.Since(start) < 700*time.Millisecond {
			t.Errorf("ended after %v with %v", time.Since(start), err)
		}
		if x := g.observed(1); x.Cause != exchange.CauseIdle {
			t.Errorf("observed %+v", x)
		}
	})
}

func TestTCPStreamLimits(t *testing.T) {
	runStreams(t, router.SocketTCP, Settings{MaxConnections: 2}, func(t *testing.T, g *streamed) {
		g.stream("", rawBackend(t, echoes))
		g.apply()
		first, second := g.connect(), g.connect()
		exchangeBytes(t, first, "1")
		exchangeBytes(t, second, "2")
		if all, _ := io.ReadAll(g.connect()); len(all) > 0 || g.server.Stats().Refused.Load() != 1 {
			t.Errorf("got %q, %d refused", all, g.server.Stats().Refused.Load())
		}
		first.Close()
		g.observed(1)
		eventually(t, "there is room", func() bool {
			conn := g.connect()
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(conn, "3")
			n, _ := conn.Read(make([]byte, 1))
			return n == 1
		})
	})
}

// A socket that is removed lets its streams go on until the drain timeout.
func TestTCPStreamDrains(t *testing.T) {
	runStreams(t, router.SocketTCP, Settings{DrainTimeout: 500 * time.Millisecond}, func(t *testing.T, g *streamed) {
		g.stream("", rawBackend(t, echoes))
		g.apply()
		conn := g.connect()
		exchangeBytes(t, conn, "before")
		start := time.Now()
		g.server.Apply(router.Compile(nil, nil), nil)
		exchangeBytes(t, conn, "after")
		if _, err := conn.Read(make([]byte, 1)); err == nil || time.Since(start) < 400*time.Millisecond {
			t.Errorf("ended after %v with %v", time.Since(start), err)
		}
		if x := g.observed(1); x.Cause != exchange.CauseDrained {
			t.Errorf("observed %+v", x)
		}
	})
}

// Many clients come and go, in good and bad ways, and nothing is left of them.
func TestTCPStreamsLeaveNothing(t *testing.T) {
	runStreams(t, router.SocketTCP, Settings{ConnectTimeout: ample}, func(t *testing.T, g *streamed) {
		g.stream("", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			order, _ := in.ReadByte()
			switch order {
			case 'r':
				_ = conn.(*net.TCPConn).SetLinger(0)
			case 'c':
			default:
				echoes(conn, in)
			}
		}))
		g.apply()
		before := inUse(t, g.gateway)
		const clients = 1000
		gate := make(chan struct{}, 200)
		var all sync.WaitGroup
		for i := range clients {
			gate <- struct{}{}
			all.Go(func() {
				defer func() { <-gate }()
				conn, err := net.Dial("tcp", g.address())
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(4 * ample))
				switch i % 5 {
				case 0: // a whole exchange
					text := strings.Repeat("x", 300*i)
					go func() {
						_, _ = io.WriteString(conn, "e"+text)
						_ = conn.(closeWriter).CloseWrite()
					}()
					if got, err := io.ReadAll(conn); err != nil || len(got) != len(text) {
						t.Errorf("%d of %d bytes, %v", len(got), len(text), err)
					}
				case 1:
					_, _ = io.WriteString(conn, "r")
					_, _ = io.ReadAll(conn)
				case 2:
					_, _ = io.WriteString(conn, "c")
					_, _ = io.ReadAll(conn)
				case 3:
					_, _ = io.WriteString(conn, "e")
					_ = conn.(*net.TCPConn).SetLinger(0)
				case 4: // leaves at once
				}
			})
		}
		all.Wait()
		stats := g.server.Stats()
		eventually(t, "all streams are gone", func() bool {
			return stats.Streams.Load() == 0 && stats.Downstream.Load() == 0 && stats.Upstream.Load() == 0 && g.count() == clients
		})
		eventually(t, fmt.Sprintf("no more than %+v is in use", before), func() bool { return inUse(t, g.gateway).within(before) })
	})
}
