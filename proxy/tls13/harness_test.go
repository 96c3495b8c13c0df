package tls13

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// patience is how long any test waits for a peer.
const patience = 20 * time.Second

// authority is a certificate that clients trust, and is a client's at the same time.
func authority(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "localhost"},
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(30 * 24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// stream is a connection over a Session in blocking style, as an event loop's
// would be without one.
type stream struct {
	net.Conn
	mu      sync.Mutex // net/http reads and writes at once
	session *Session
	raw     []byte // from the socket, unopened
	data    []byte // opened, unread
	out     []byte
}

func (s *stream) Read(p []byte) (int, error) {
	for len(s.data) == 0 {
		s.mu.Lock()
		data, n, err := s.session.Open(s.raw)
		s.mu.Unlock()
		if err != nil {
			return 0, err
		}
		s.data, s.raw = data, s.raw[n:]
		if n > 0 {
			continue
		}
		buf := make([]byte, MaxRecord)
		have := copy(buf, s.raw)
		n, err = s.Conn.Read(buf[have:])
		s.raw = buf[:have+n]
		if n == 0 && err == io.EOF {
			return 0, io.ErrUnexpectedEOF
		} else if n == 0 {
			return 0, err
		}
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = s.session.Seal(s.out[:0], p)
	if _, err := s.Conn.Write(s.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end := s.session.AppendClose(nil); len(end) > 0 {
		_, _ = s.Conn.Write(end)
	}
	return s.Conn.Close()
}

// accepted is a connection as its server sees it.
type accepted struct {
	Handshake
	net.Conn       // a stream or a tls.Conn
	err      error // of the handshake
}

func (a accepted) outcome() string {
	return fmt.Sprintf("version %x, suite %x, resumed %v, handed over %v, %d bytes unread, error %v",
		a.State.Version, a.State.CipherSuite, a.State.DidResume, a.Session != nil, len(a.Unread), a.err)
}

// listener is a socket whose connections have had their handshakes. It is a
// net.Listener of those that succeeded.
type listener struct {
	net.Listener
	conns chan accepted
	group sync.WaitGroup
	once  sync.Once
}

// stop ends listening. It closes conns once all handshakes are done.
func (l *listener) stop() {
	l.once.Do(func() {
		l.Close()
		l.group.Wait()
		close(l.conns)
	})
}

func (l *listener) Accept() (net.Conn, error) {
	for a := range l.conns {
		if a.err == nil {
			return a.Conn, nil
		}
	}
	return nil, net.ErrClosed
}

func (l *listener) next(t testing.TB) accepted {
	t.Helper()
	select {
	case a := <-l.conns:
		return a
	case <-time.After(patience):
		t.Fatal("no connection")
		panic("unreachable")
	}
}

// listen serves handshakes with config. Wrap, when not nil, replaces connections
// from the socket.
func listen(t testing.TB, config *tls.Config, wrap func(net.Conn) net.Conn) *listener {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{Listener: socket, conns: make(chan accepted, 64)}
	server := NewServer(config)
	l.group.Go(func() {
		for {
			conn, err := socket.Accept()
			if err != nil {
				return
			}
			l.group.Go(func() {
				if wrap != nil {
					conn = wrap(conn)
				}
				l.conns <- accept(server, conn)
			})
		}
	})
	t.Cleanup(func() {
		l.stop()
		for a := range l.conns {
			if a.Conn != nil {
				a.Close()
			}
		}
	})
	return l
}

func accept(server *Server, conn net.Conn) accepted {
	_ = conn.SetDeadline(time.Now().Add(patience))
	h, err := server.Handshake(context.Background(), conn)
	if err != nil {
		conn.Close()
		return accepted{err: err}
	}
	a := accepted{Handshake: h, Conn: h.Conn}
	if h.Session != nil {
		a.Conn = &stream{Conn: conn, session: h.Session, raw: h.Unread}
	}
	return a
}

// dial connects a client of crypto/tls.
func (l *listener) dial(t testing.TB, config *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	client := tls.Client(conn, config)
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	return client
}

// echo returns what it reads, until the end.
func echo(conn net.Conn) error {
	defer conn.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			if _, err := conn.Write(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// pair is a Session and that of its peer.
func pair(t testing.TB, s suite) (server, client *Session) {
	t.Helper()
	up, down := make([]byte, s.hashSize()), make([]byte, s.hashSize())
	for i := range up {
		up[i], down[i] = byte(i), byte(100+i)
	}
	server, err := newSession(s, up, down)
	if err != nil {
		t.Fatal(err)
	}
	client, err = newSession(s, down, up)
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

func suites() map[string]suite {
	return map[string]suite{"AES128": aes128, "AES256": aes256, "ChaCha20": chacha20}
}
