package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/lintel-dev/lintel/router"
)

const okResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// overUDP reports whether something holds the UDP port of the gateway's number.
func (g *gateway) overUDP() bool {
	g.t.Helper()
	conn, err := net.ListenPacket("udp", g.address())
	if err != nil {
		return true
	}
	conn.Close()
	return false
}

// TestAltSvc shows when a client over TCP is told that there is HTTP/3.
func TestAltSvc(t *testing.T) {
	other := `h2="alt.test:443"`
	for _, tt := range []struct {
		name, host, path, want string
		settings               Settings
	}{
		{name: "port of the scheme", host: "app.test", path: "/", want: `h3=":443"; ma=86400`},
		{name: "port that the client names", host: "app.test:8443", path: "/", want: `h3=":8443"; ma=86400`},
		{name: "address", host: "[2001:db8::1]", path: "/", want: `h3=":443"; ma=86400`},
		{name: "address and port", host: "[2001:db8::1]:8443", path: "/", want: `h3=":8443"; ma=86400`},
		{name: "empty port", host: "app.test:", path: "/", want: `h3=":443"; ma=86400`},
		{name: "answer of our own", host: "app.test", path: "/forbidden", want: `h3=":443"; ma=86400`},
		{name: "no route", host: "app.test", path: "//", want: `h3=":443"; ma=86400`},
		{name: "the upstream has one", host: "app.test", path: "/has", want: other},
		{name: "a filter sets one", host: "app.test", path: "/sets", want: other},
		{name: "a filter removes it", host: "app.test", path: "/removes", want: ""},
		{name: "off", host: "app.test", path: "/", want: "", settings: Settings{NoHTTP3: true}},
		{name: "to a proxy", host: "app.test", path: "/", want: "", settings: Settings{TrustedProxies: []netip.Prefix{loopback}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, []mode{tlsMode, h2Mode}, tt.settings, func(t *testing.T, g *gateway) {
				backend := rawBackend(t, answering(okResponse))
				g.route("/", backend)
				g.route("/forbidden").Action.Status = http.StatusForbidden
				g.route("/has", rawBackend(t, answering("HTTP/1.1 200 OK\r\nalt-svc: "+other+"\r\nContent-Length: 0\r\n\r\n")))
				g.route("/sets", backend).Action.ResponseHeaders = &router.HeaderFilter{Set: []router.Field{{Name: "Alt-Svc", Value: other}}}
				g.route("/removes", backend).Action.ResponseHeaders = &router.HeaderFilter{Remove: []string{"alt-svc"}}
				g.apply()
				req, _ := http.NewRequest(http.MethodGet, g.url(tt.path), nil)
				req.Host = tt.host
				if res, _ := g.do(req); strings.Join(res.Header["Alt-Svc"], "|") != tt.want {
					t.Errorf("%q, want %q", res.Header["Alt-Svc"], tt.want)
				}
			})
		})
	}
}

func TestHTTP3Off(t *testing.T) {
	for name, g := range map[string]*gateway{
		"setting": newGateway(t, tlsMode, Settings{NoHTTP3: true}),
		"plain":   newGateway(t, plainMode, Settings{}),
	} {
		g.apply()
		if g.overUDP() {
			t.Errorf("%s: the UDP port is open", name)
		}
	}
}

// A socket whose UDP port is taken serves without HTTP/3, until the port is free: nothing
// else need change.
func TestHTTP3PortTaken(t *testing.T) {
	var log syncBuffer
	g := newGateway(t, plainMode, Settings{Log: slog.New(slog.NewTextHandler(&log, nil))})
	g.route("/", rawBackend(t, answering(okResponse)))
	g.apply()
	taken, err := net.ListenPacket("udp", g.address())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	g.mode = tlsMode
	g.apply()
	g.apply()
	if res, body := g.get("/"); body != "ok" || res.Header.Get("Alt-Svc") != "" {
		t.Errorf("%q %v", body, res.Header)
	}
	if n := strings.Count(log.String(), "no HTTP/3"); n != 1 {
		t.Errorf("%d warnings: %s", n, log.String())
	}
	taken.Close()
	eventually(t, "HTTP/3 is announced", func() bool {
		g.client.CloseIdleConnections() // connections keep what they were told of
		res, _ := g.get("/")
		return res.Header.Get("Alt-Svc") != ""
	})
	if answer := g.dialH3().request(get()); answer.body != "ok" {
		t.Errorf("%+v", answer)
	}
}

// firstWrite tells when a client has sent its first packet.
type firstWrite struct {
	net.PacketConn
	sent func()
}

func (c firstWrite) WriteTo(p []byte, to net.Addr) (int, error) {
	defer c.sent()
	return c.PacketConn.WriteTo(p, to)
}

// TestHTTP3ClientsComeFirst shows that clients are served who came between the opening of
// the port and Run.
func TestHTTP3ClientsComeFirst(t *testing.T) {
	g := &gateway{t: t, server: New(Settings{})}
	if err := g.server.Apply(g.table(), []Listener{{Name: socketName, GetCertificate: certificateFor("app.test")}})[socketName]; err != nil {
		t.Fatal(err)
	}
	to, err := net.ResolveUDPAddr("udp", g.address())
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "app.test", NextProtos: []string{http3.NextProtoH3}}
	var sent, served sync.WaitGroup
	for range 8 {
		socket, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		sent.Add(1)
		served.Go(func() {
			conn, err := quic.Dial(t.Context(), firstWrite{socket, sync.OnceFunc(sent.Done)}, to, config, nil)
			if err != nil {
				t.Errorf("dial QUIC: %v", err)
				return
			}
			_ = conn.CloseWithError(0, "")
		})
	}
	sent.Wait()
	ctx, stop := context.WithCancel(t.Context())
	var ran sync.WaitGroup
	ran.Go(func() {
		if err := g.server.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	served.Wait()
	stop()
	ran.Wait()
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// UDP follows when a socket turns from plain to TLS and back, and forth again.
func TestHTTP3FollowsTLS(t *testing.T) {
	g := newGateway(t, plainMode, Settings{})
	g.route("/", rawBackend(t, answering(okResponse)))
	g.apply()
	for range 2 {
		g.mode = tlsMode
		g.apply()
		raw := g.dialH3()
		if answer := raw.request(get()); answer.body != "ok" {
			t.Fatalf("%+v", answer)
		}
		g.mode = plainMode
		g.apply()
		if _, err := tryH3At(t, g.address()); err == nil {
			t.Error("a plain socket takes QUIC connections")
		}
		// While the old connection drains here, the port has its next use.
		<-raw.conn.Context().Done()
	}
	eventually(t, "the UDP port is closed", func() bool { return !g.overUDP() })
}

// A socket that is removed and wanted again has HTTP/3 at once, while connections of
// before still drain on the same UDP port.
func TestHTTP3RemovedAndAdded(t *testing.T) {
	g := newGateway(t, h3Mode, Settings{})
	arrived, answer := make(chan struct{}, 1), make(chan struct{})
	g.route("/", rawBackend(t, answering(okResponse)))
	g.route("/wait", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-answer
		_, _ = w.Write([]byte("late"))
	}))
	g.apply()
	address := g.address()
	listener := func() []Listener { return []Listener{{Name: address, GetCertificate: certificateFor("app.test")}} }
	table := router.Compile([]router.HostRules{{Socket: address, Rules: g.rules}}, nil)
	g.server.Apply(table, nil)
	g.server.Apply(table, listener())
	dial := func() *h3Raw { return dialH3At(t, address) }

	old := dial()
	waiting := old.open(headers(":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/wait"))
	_ = waiting.Close()
	<-arrived
	g.server.Apply(table, nil)
	g.server.Apply(table, listener())
	if got := dial().request(get()); got.body != "ok" {
		t.Errorf("new connection: %+v", got)
	}
	close(answer)
	if got := answerOn(waiting); got.body != "late" || got.code != 0 {
		t.Errorf("old connection: %+v", got)
	}
}

// A connection that drains is told so; what is under way is finished, and what comes
// later is refused such that the client may send it again.
func TestHTTP3Drain(t *testing.T) {
	g := newGateway(t, h3Mode, Settings{DrainTimeout: 20 * time.Second})
	arrived, answer := make(chan struct{}, 1), make(chan struct{})
	g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-answer
		_, _ = w.Write([]byte("late"))
	}))
	g.apply()
	raw := g.dialH3()
	waiting := raw.open(get())
	_ = waiting.Close()
	<-arrived
	g.stop()
	control := raw.serverControl()
	for {
		kind, payload, err := readFrame(control)
		if err != nil {
			t.Fatalf("no GOAWAY: %v", err)
		}
		if kind == frameGoaway {
			if !bytes.Equal(payload, []byte{byte(waiting.StreamID() + 4)}) {
				t.Errorf("GOAWAY % x", payload)
			}
			break
		}
	}
	if got := raw.request(get()); got.code != http3.ErrCodeRequestRejected {
		t.Errorf("late request: %+v", got)
	}
	close(answer)
	if got := answerOn(waiting); got.body != "late" || got.code != 0 {
		t.Errorf("%+v", got)
	}
	<-raw.conn.Context().Done()
	if code := codeOf(context.Cause(raw.conn.Context())); code != http3.ErrCodeNoError {
		t.Errorf("the connection ended with %v", code)
	}
}

// After the DrainTimeout nobody is waited for.
func TestHTTP3DrainTimeout(t *testing.T) {
	g := newGateway(t, h3Mode, Settings{DrainTimeout: 100 * time.Millisecond})
	arrived := make(chan struct{}, 1)
	g.route("/", httpBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	g.apply()
	raw := g.dialH3()
	_ = raw.open(get()).Close()
	<-arrived
	g.stop()
	<-raw.conn.Context().Done()
}

// A new certificate is shown from the next handshake on.
func TestHTTP3CertificateSwap(t *testing.T) {
	g := newGateway(t, h3Mode, Settings{})
	g.route("/", rawBackend(t, answering(okResponse)))
	g.apply()
	serial := func(raw *h3Raw) int64 {
		return raw.conn.ConnectionState().TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	before := g.dialH3()
	g.server.Apply(g.table(), []Listener{{Name: socketName, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return serialCertificate(2)
	}}})
	if first, second := serial(before), serial(g.dialH3()); first != 1 || second != 2 {
		t.Errorf("certificates %d, %d", first, second)
	}
	if got := before.request(get()); got.body != "ok" {
		t.Errorf("connection of before: %+v", got)
	}
}

func serialCertificate(serial int64) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// A server name that nobody knows is refused in the handshake.
func TestHTTP3UnknownServerName(t *testing.T) {
	g := newGateway(t, h3Mode, Settings{})
	g.apply()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "other.test", NextProtos: []string{http3.NextProtoH3}}
	if conn, err := quic.DialAddr(ctx, g.address(), config, nil); err == nil {
		_ = conn.CloseWithError(0, "")
		t.Error("accepted")
	}
}

// answered reports whether a request on a connection is.
func answered(raw *h3Raw) bool {
	stream, err := raw.conn.OpenStream()
	if err != nil {
		return false
	}
	_, _ = stream.Write(get())
	_ = stream.Close()
	return answerOn(stream).body == "ok"
}

func TestHTTP3ConnectionsAreBounded(t *testing.T) {
	for name, settings := range map[string]Settings{
		"socket":         {MaxConnections: 2},
		"address":        {MaxConnectionsPerAddress: 2},
		"proxy protocol": {ProxyProtocolFrom: []netip.Prefix{loopback}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, h3Mode, settings)
			g.route("/", rawBackend(t, answering(okResponse)))
			g.apply()
			served := func() bool {
				raw, err := tryH3At(t, g.address())
				return err == nil && answered(raw)
			}
			if name == "proxy protocol" {
				if served() {
					t.Error("a load balancer that has to say whom it speaks for is served without")
				}
				return
			}
			first, second := g.dialH3(), g.dialH3()
			if first.request(get()).body != "ok" || second.request(get()).body != "ok" {
				t.Fatal("connections within the limit are not served")
			}
			if served() {
				t.Error("one too many is served")
			}
			if n := g.server.Stats().Refused.Load(); n != 1 {
				t.Errorf("%d were refused, want 1", n)
			}
			if n := g.server.Stats().Downstream.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
			_ = first.conn.CloseWithError(0, "")
			eventually(t, "there is room again", served)
		})
	}
}

// TestHTTP3AddressValidation shows that clients have to show that their address is
// theirs while many handshakes are under way, and are served then.
func TestHTTP3AddressValidation(t *testing.T) {
	g := newGateway(t, h3Mode, Settings{})
	g.route("/", rawBackend(t, answering(okResponse)))
	g.apply()
	g.server.quic.mu.Lock()
	for _, port := range g.server.quic.open {
		port.handshakes.Add(retryAbove)
	}
	g.server.quic.mu.Unlock()
	if got := g.dialH3().request(get()); got.body != "ok" {
		t.Errorf("%+v", got)
	}
}
