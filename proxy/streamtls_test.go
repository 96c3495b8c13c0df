package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// getOver requests / and returns the body, over a connection that speaks TLS.
func getOver(t *testing.T, conn net.Conn, host string) string {
	t.Helper()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// isRefused reports whether the server closed the connection in place of an answer.
func isRefused(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// One socket serves HTTP, passes TLS through and ends it, as the server name says.
func TestTLSStreams(t *testing.T) {
	runStreams(t, router.SocketTLS, Settings{}, func(t *testing.T, g *streamed) {
		passed, server := tlsBackend(t, "passed")
		g.stream("pass.test", passed)
		g.stream("end.test", rawBackend(t, echoes)).Terminate = true
		g.stream("none.test").Stream = nil
		g.listener.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return makeCertificate() }
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "routed") }))
		g.apply()

		conn := g.connectTLS(&tls.Config{ServerName: "pass.test"})
		if body := getOver(t, conn, "pass.test"); body != "passed HTTP/1.1 pass.test" {
			t.Errorf("passed through: %q", body)
		}
		if got := conn.ConnectionState().PeerCertificates[0]; !got.Equal(server.Certificate()) {
			t.Error("the client has not met the endpoint itself")
		}
		_, _ = io.Copy(io.Discard, conn) // to close with something unread is to reset,
		conn.NetConn().Close()           // and so is to be told goodbye when one has closed
		if x := g.observed(1); x.Protocol != "tls" || x.Host != "pass.test" || x.Route != "Route default/pass.test" || x.Cause != "" {
			t.Errorf("observed %+v", x)
		}

		client := &http.Client{Transport: &http.Transport{
			ForceAttemptHTTP2: true, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", g.address())
			},
		}}
		res, err := client.Get("https://PASS.test/")
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != "passed HTTP/2.0 PASS.test" {
			t.Errorf("HTTP/2, passed through: %q", body)
		}
		res.Body.Close()

		conn = g.connectTLS(&tls.Config{ServerName: "end.test", NextProtos: []string{"h2", "http/1.1"}})
		exchangeBytes(t, conn, strings.Repeat("ended ", 50_000))
		if promised := conn.ConnectionState().NegotiatedProtocol; promised != "" {
			t.Errorf("the client was promised %q", promised)
		}
		_ = conn.CloseWrite()
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
			t.Errorf("after the end: %q, %v", rest, err)
		}

		if body := getOver(t, g.connectTLS(&tls.Config{ServerName: "www.test"}), "www.test"); body != "routed" {
			t.Errorf("HTTP: %q", body)
		}
		err = g.connectTLS(&tls.Config{ServerName: "none.test"}).Handshake()
		if !isRefused(err) {
			t.Errorf("a Listener without a Route: %v", err)
		}
		plain := g.connect()
		_, _ = io.WriteString(plain, "GET / HTTP/1.1\r\nHost: www.test\r\n\r\n")
		if all, _ := io.ReadAll(plain); !strings.HasPrefix(string(all), "HTTP/1.1 400 ") {
			t.Errorf("HTTP in the clear: %q", all)
		}
	})
}

// A socket without HTTP knows no other names.
func TestTLSStreamsAlone(t *testing.T) {
	runStreams(t, router.SocketTLS, Settings{ReadHeaderTimeout: 300 * time.Millisecond}, func(t *testing.T, g *streamed) {
		passed, _ := tlsBackend(t, "passed")
		g.stream("pass.test", passed)
		g.apply()
		for _, name := range []string{"other.test", ""} {
			err := g.connectTLS(&tls.Config{ServerName: name}).Handshake()
			if !isRefused(err) {
				t.Errorf("%q: %v", name, err)
			}
		}
		for _, bytes := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", ""} { // no hello, or never a whole one
			conn := g.connect()
			_, _ = io.WriteString(conn, bytes)
			start := time.Now()
			if _, err := io.ReadAll(conn); isTimeout(err) {
				t.Errorf("%q: not closed after %v", bytes, time.Since(start))
			}
		}
		eventually(t, "nothing is open", func() bool { return g.server.Stats().Downstream.Load() == 0 })
		if g.server.sockets[socketName].h3.Load() != nil {
			t.Error("HTTP/3 is served where there is no HTTP")
		}
	})
}

// dribble writes in small pieces.
type dribble struct{ net.Conn }

func (d dribble) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// A ClientHello may come in any number of segments.
func TestTLSStreamHelloInPieces(t *testing.T) {
	runStreams(t, router.SocketTLS, Settings{}, func(t *testing.T, g *streamed) {
		passed, _ := tlsBackend(t, "passed")
		g.stream("pass.test", passed)
		g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "routed") }))
		g.apply()
		for name, want := range map[string]string{"pass.test": "passed HTTP/1.1 pass.test", "app.test": "routed"} {
			conn := tls.Client(dribble{g.connect()}, &tls.Config{ServerName: name, InsecureSkipVerify: true})
			if body := getOver(t, conn, name); body != want {
				t.Errorf("%s: got %q", name, body)
			}
		}
	})
}

// What was sent to us over TLS can go on over TLS, to an endpoint that is recognised.
func TestTLSStreamReencrypted(t *testing.T) {
	runStreams(t, router.SocketTLS, Settings{}, func(t *testing.T, g *streamed) {
		_, server := tlsBackend(t, "inner")
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		backendOf := func(name string) *router.Backend {
			b := router.NewBackendWith("default/app:443", router.BackendSettings{
				Protocol: router.HTTPS, TLS: &router.BackendTLS{ServerName: name, Roots: roots},
			})
			b.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(server.Listener.Addr().String())})
			return b
		}
		g.stream("app.test", backendOf("example.com")).Terminate = true
		g.apply()
		conn := g.connectTLS(&tls.Config{ServerName: "app.test"})
		if body := getOver(t, conn, "x"); body != "inner HTTP/1.1 example.com" {
			t.Errorf("got %q", body)
		}
		conn.Close()
		g.observed(1)
		g.streams[0].Stream = &router.Stream{Backends: []router.WeightedBackend{{Backend: backendOf("wrong.test"), Weight: 1}}}
		g.apply()
		conn = g.connectTLS(&tls.Config{ServerName: "app.test"})
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
		if all, _ := io.ReadAll(conn); len(all) > 0 {
			t.Errorf("got %q from an endpoint that is not recognised", all)
		}
		if x := g.observed(2); x.Cause != exchange.CauseUpstreamTLS {
			t.Errorf("observed %+v", x)
		}
	})
}

// Programs that people use get through.
func TestTLSStreamForeignClients(t *testing.T) {
	runStreams(t, router.SocketTLS, Settings{}, func(t *testing.T, g *streamed) {
		passed, _ := tlsBackend(t, "passed")
		g.stream("pass.test", passed)
		g.apply()
		_, port, _ := net.SplitHostPort(g.address())
		for _, command := range [][]string{
			{"curl", "-sk", "--http1.1", "--resolve", "pass.test:" + port + ":127.0.0.1", "https://pass.test:" + port + "/"},
			{"openssl", "s_client", "-quiet", "-connect", g.address(), "-servername", "pass.test"},
			{"openssl", "s_client", "-quiet", "-tls1_2", "-connect", g.address(), "-servername", "pass.test"},
		} {
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Logf("no %s", command[0])
				continue
			}
			c := exec.CommandContext(t.Context(), command[0], command[1:]...)
			c.Stdin = strings.NewReader("GET / HTTP/1.1\r\nHost: pass.test\r\nConnection: close\r\n\r\n")
			if out, err := c.Output(); !strings.HasSuffix(string(out), "passed HTTP/1.1 pass.test") {
				t.Errorf("%v: %q, %v", command, out, err)
			}
		}
	})
}

// QUIC cannot be passed through: who wants a stream is told that it is not there.
func TestHTTP3RefusesServersOfStreams(t *testing.T) {
	g := &streamed{gateway: newGateway(t, h3Mode, Settings{Lane: exchange.LaneFull})}
	g.listener = Listener{Name: socketName, Protocol: router.SocketTLS, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return makeCertificate() }}
	g.stream("pass.test", backendAt())
	g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "routed") }))
	g.apply()
	if _, body := g.get("/"); body != "routed" {
		t.Errorf("got %q", body)
	}
	const unrecognizedName = 112 // RFC 8446 §6.2
	_, err := quic.DialAddr(t.Context(), g.address(), &tls.Config{InsecureSkipVerify: true, ServerName: "pass.test", NextProtos: []string{"h3"}}, nil)
	if refused, ok := errors.AsType[*quic.TransportError](err); !ok || refused.ErrorCode != 0x100+unrecognizedName {
		t.Errorf("got %v", err)
	}
}

// A UDPRoute has the UDP port before HTTP/3 does, whichever came first.
func TestHTTP3YieldsToDatagrams(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	name := free.Addr().String()
	free.Close()
	g := newGateway(t, tlsMode, Settings{Lane: exchange.LaneFull})
	secure := Listener{Name: name, Protocol: router.SocketTLS, GetCertificate: certificateFor("app.test")}
	datagrams := Listener{Name: name + "/udp", Protocol: router.SocketUDP}
	hosts := []router.HostRules{{Socket: name}}
	table := router.Compile(hosts, nil).WithStreams([]router.StreamRules{{
		Socket: datagrams.Name, Stream: &router.Stream{Backends: []router.WeightedBackend{{Backend: udpBackend(t, "one"), Weight: 1}}},
	}})
	serves := func(listeners ...Listener) error {
		for _, err := range g.server.Apply(table, listeners) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := serves(secure); err != nil {
		t.Fatal(err)
	}
	if g.server.sockets[name].h3.Load() == nil {
		t.Fatal("no HTTP/3 on a port that is free")
	}
	eventually(t, "the UDPRoute has the port", func() bool { return serves(secure, datagrams) == nil })
	if g.server.sockets[name].h3.Load() != nil {
		t.Error("HTTP/3 is still served")
	}
	if got := ask(t, name, "hi"); got != "one: hi" {
		t.Errorf("got %q", got)
	}
	eventually(t, "HTTP/3 is back", func() bool {
		err := serves(secure)
		return err == nil && g.server.sockets[name].h3.Load() != nil
	})
	if fmt.Sprint(g.server.Stats().Dropped.Load()) != "0" {
		t.Error("datagrams were dropped")
	}
}

// A reset comes out as a reset where TLS ends here, whatever its version.
func TestTLSStreamReset(t *testing.T) {
	runStreams(t, router.SocketTLS, Settings{}, func(t *testing.T, g *streamed) {
		came, ended := make(chan bool, 1), make(chan error, 1)
		g.stream("end.test", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			if order, _ := in.ReadByte(); order == 'r' {
				leave(conn, "resets")
				return
			}
			came <- true
			_, err := io.ReadAll(in)
			ended <- err
		})).Terminate = true
		g.listener.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return makeCertificate() }
		g.apply()
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			conn := g.connectTLS(&tls.Config{ServerName: "end.test", MaxVersion: version})
			_, _ = io.WriteString(conn, "r")
			if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client got %v for the endpoint's reset", err)
			}
			conn = g.connectTLS(&tls.Config{ServerName: "end.test", MaxVersion: version})
			_, _ = io.WriteString(conn, "w")
			<-came
			leave(conn, "resets")
			if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the endpoint got %v for the client's reset", err)
			}
		}
	})
}
