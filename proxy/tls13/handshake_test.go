package tls13

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// exchange sends p to a server that echoes, and wants it back and a proper end.
func exchange(t *testing.T, client *tls.Conn, p []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := client.Write(p)
		sent <- errors.Join(err, client.CloseWrite())
	}()
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, p) {
		t.Fatalf("%d bytes of %d came back, %v", len(got), len(p), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// serverConfig is a usual server's.
func serverConfig(t testing.TB) (server, client *tls.Config) {
	certificate, pool := authority(t)
	server = &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}
	return server, &tls.Config{
		RootCAs:            pool,
		ServerName:         "localhost",
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(0), // asks for tickets
	}
}

func TestHandshakesThatAreHandedOver(t *testing.T) {
	certificate, pool := authority(t)
	cases := map[string]struct {
		server, client func(*tls.Config)
		check          func(*testing.T, tls.ConnectionState)
	}{
		"defaults": {check: func(t *testing.T, state tls.ConnectionState) {
			if state.CurveID != tls.X25519MLKEM768 {
				t.Errorf("key exchange %v is not post-quantum", state.CurveID)
			}
			if state.NegotiatedProtocol != "http/1.1" || state.ServerName != "localhost" {
				t.Errorf("protocol %q, server name %q", state.NegotiatedProtocol, state.ServerName)
			}
		}},
		"X25519": {client: func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }},
		"hello retry": {
			server: func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP384} },
			check: func(t *testing.T, state tls.ConnectionState) {
				if !state.HelloRetryRequest || state.CurveID != tls.CurveP384 {
					t.Errorf("retry %v, key exchange %v", state.HelloRetryRequest, state.CurveID)
				}
			},
		},
		"without tickets": {server: func(c *tls.Config) { c.SessionTicketsDisabled = true }},
		"client certificate": {
			server: func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, pool },
			client: func(c *tls.Config) { c.Certificates = []tls.Certificate{certificate} },
			check: func(t *testing.T, state tls.ConnectionState) {
				if len(state.PeerCertificates) != 1 || len(state.VerifiedChains) == 0 {
					t.Errorf("%d certificates, %d chains", len(state.PeerCertificates), len(state.VerifiedChains))
				}
			},
		},
		"client certificate wanted, none given": {
			server: func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert },
		},
		"long chain": {server: func(c *tls.Config) {
			chain := c.Certificates[0]
			for range 60 { // more than a record
				chain.Certificate = append(chain.Certificate, certificate.Certificate[0])
			}
			c.Certificates = []tls.Certificate{chain}
		}},
		"configuration by name": {server: func(c *tls.Config) {
			other := c.Clone()
			c.Certificates = nil
			c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if hello.ServerName != "localhost" {
					return nil, errors.New("who?")
				}
				return other, nil
			}
		}},
	}
	payload := make([]byte, 300<<10)
	_, _ = rand.Read(payload)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server, client := serverConfig(t)
			client.InsecureSkipVerify = true // the authority of the case is another one
			if c.server != nil {
				c.server(server)
			}
			if c.client != nil {
				c.client(client)
			}
			l := listen(t, server, nil)
			conn := l.dial(t, client)
			a := l.next(t)
			if a.err != nil || a.Session == nil || a.Handshake.Conn != nil {
				t.Fatalf("not handed over: %v", a.outcome())
			}
			if c.check != nil {
				c.check(t, a.State)
			}
			done := make(chan error, 1)
			go func() { done <- echo(a.Conn) }()
			exchange(t, conn, payload)
			if err := <-done; err != nil {
				t.Errorf("server: %v", err)
			}
		})
	}
}

// What can't be handed over works as if nothing had been tried.
func TestHandshakeThatStaysWithCryptoTLS(t *testing.T) {
	server, client := serverConfig(t)
	client.MaxVersion = tls.VersionTLS12
	l := listen(t, server, nil)
	conn := l.dial(t, client)
	a := l.next(t)
	if a.err != nil || a.Session != nil || a.State.Version != tls.VersionTLS12 {
		t.Fatalf("%v", a.outcome())
	}
	go echo(a.Conn)
	exchange(t, conn, bytes.Repeat([]byte("data"), 10_000))
}

// A handshake that looks odd in any way isn't handed over; its client's early data
// is not lost.
func TestOddHandshakeStaysWithCryptoTLS(t *testing.T) {
	odd := map[string]func(*recorder){
		"no secret":        func(r *recorder) { r.receive = secret{} },
		"two secrets":      func(r *recorder) { r.send.set([]byte("00")) },
		"wrong size":       func(r *recorder) { r.send.size = 48 },
		"inside a record":  func(r *recorder) { r.framer.have = 1 },
		"partial write":    func(r *recorder) { r.sent = append(r.sent, 23, 3, 3, 0) },
		"foreign record":   func(r *recorder) { r.sent = append(r.sent, 23, 3, 3, 0, 1, 0) },
		"record too short": func(r *recorder) { r.sent = append(r.sent, 23, 3, 3, 0, 9, 0) },
	}
	for name, spoil := range odd {
		t.Run(name, func(t *testing.T) {
			config, client := serverConfig(t)
			server := NewServer(config)
			near, far := tcpPair(t)
			go func() {
				c := tls.Client(&gluedConn{Conn: far}, client)
				_, _ = c.Write([]byte("early"))
			}()
			r := &recorder{Conn: near}
			var pool sync.Pool
			r.lend(&pool)
			c := tls.Server(r, server.config)
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			state := c.ConnectionState()
			if spoil(r); r.session(&state) != nil {
				t.Fatal("handed over")
			}
			r.finish(&pool)
			got := make([]byte, 5)
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "early" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	far, err = net.Dial("tcp", socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err = socket.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{near, far} {
		_ = conn.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { conn.Close() })
	}
	return near, far
}

// gluedConn is a client's connection that holds its second flight back until the
// first data, and sends both at once.
type gluedConn struct {
	net.Conn
	hello, sent bool
	held        []byte
}

func (g *gluedConn) Write(p []byte) (int, error) {
	if !g.hello || g.sent {
		g.hello = true
		return g.Conn.Write(p)
	}
	// A change_cipher_spec of 6 bytes, the Finished, and the data.
	g.sent = len(g.held) > 6
	g.held = append(g.held, p...)
	if !g.sent {
		return len(p), nil
	}
	_, err := g.Conn.Write(g.held)
	return len(p), err
}

// Data may have come with the last bytes of the handshake: whole records, and a
// part of one.
func TestDataGluedToTheFinished(t *testing.T) {
	for name, size := range map[string]int{"whole record": 100, "part of a record": MaxPlaintext} {
		t.Run(name, func(t *testing.T) {
			server, client := serverConfig(t)
			client.DynamicRecordSizingDisabled = true
			l := listen(t, server, nil)
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			c := tls.Client(&gluedConn{Conn: conn}, client)
			early := bytes.Repeat([]byte("x"), size)
			if _, err := c.Write(early); err != nil {
				t.Fatal(err)
			}
			a := l.next(t)
			if a.Session == nil || len(a.Unread) == 0 {
				t.Fatalf("nothing unread: %v", a.outcome())
			}
			// Others read into the memory of handshakes that are done.
			l.dial(t, client)
			if other := l.next(t); other.err != nil {
				t.Fatal(other.err)
			}
			go echo(a.Conn)
			got := make([]byte, size)
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, early) {
				t.Fatalf("%q, %v", got, err)
			}
			exchange(t, c, []byte("more"))
		})
	}
}

// dribble reads one byte at a time.
type dribble struct{ net.Conn }

func (d dribble) Read(p []byte) (int, error) { return d.Conn.Read(p[:min(1, len(p))]) }

func TestHandshakeInSingleBytes(t *testing.T) {
	for name, version := range map[string]uint16{"1.3": tls.VersionTLS13, "1.2": tls.VersionTLS12} {
		t.Run(name, func(t *testing.T) {
			server, client := serverConfig(t)
			client.MaxVersion = version
			l := listen(t, server, func(conn net.Conn) net.Conn { return dribble{conn} })
			conn := l.dial(t, client)
			a := l.next(t)
			if a.err != nil || (a.Session != nil) != (version == tls.VersionTLS13) {
				t.Fatalf("%v", a.outcome())
			}
			go echo(a.Conn)
			exchange(t, conn, []byte("in single bytes"))
		})
	}
}

func TestHandshakeErrors(t *testing.T) {
	server, client := serverConfig(t)
	l := listen(t, server, nil)

	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	var header tls.RecordHeaderError
	if a := l.next(t); !errors.As(a.err, &header) || header.Conn == nil || string(header.RecordHeader[:]) != "GET /" {
		t.Errorf("plain HTTP: %v", a.err)
	}

	client.RootCAs = x509.NewCertPool()
	distrustful, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer distrustful.Close()
	if err := tls.Client(distrustful, client).Handshake(); err == nil {
		t.Fatal("a client trusts nobody")
	}
	if a := l.next(t); a.err == nil || !strings.Contains(a.err.Error(), "certificate") {
		t.Errorf("distrusted: %v", a.err)
	}
}

func TestHandshakeEndsWithItsContext(t *testing.T) {
	config, _ := serverConfig(t)
	server := NewServer(config)
	near, far := tcpPair(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := server.Handshake(ctx, near)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("connection is open")
	}
}

// lines is a KeyLogWriter.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestKeyLogWriterIsKept(t *testing.T) {
	server, client := serverConfig(t)
	var ours, theirs lines
	server.KeyLogWriter, client.KeyLogWriter = &ours, &theirs
	l := listen(t, server, nil)
	conn := l.dial(t, client)
	a := l.next(t)
	if a.Session == nil {
		t.Fatal("not handed over")
	}
	go echo(a.Conn)
	exchange(t, conn, []byte("x"))
	sorted := func(s string) string {
		all := strings.SplitAfter(s, "\n")
		var log strings.Builder
		for _, label := range []string{"CLIENT_H", "SERVER_H", labelClientTraffic, labelServerTraffic} {
			for _, line := range all {
				if strings.HasPrefix(line, label) {
					log.WriteString(line)
				}
			}
		}
		return log.String()
	}
	if sorted(ours.String()) != sorted(theirs.String()) || strings.Count(ours.String(), "\n") != 4 {
		t.Errorf("server's key log\n%s\nclient's\n%s", ours.String(), theirs.String())
	}
}
