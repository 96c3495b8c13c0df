package proxy

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/proxyprotocol"
	"github.com/lintel-dev/lintel/router"
)

// introduced is a Backend whose endpoint wants a PROXY protocol header, and answers each
// request of a connection with what that said.
type introduced struct {
	*router.Backend
	mu          sync.Mutex
	connections int
	first       []byte // of the last connection
}

func newIntroduced(t *testing.T, settings router.BackendSettings) *introduced {
	b := &introduced{}
	backend := rawBackend(t, func(conn net.Conn, _ *bufio.Reader) {
		buf := make([]byte, 0, proxyprotocol.MaxSize)
		var header proxyprotocol.Header
		for n := 0; n == 0; {
			got, err := conn.Read(buf[len(buf):cap(buf)])
			if err != nil {
				return
			}
			buf = buf[:len(buf)+got]
			if n, header, err = proxyprotocol.Parse(buf); err != nil {
				t.Errorf("%v: %q", err, buf)
				return
			}
			if n > 0 {
				conn = &behind{Conn: conn, unread: buf[n:]}
			}
		}
		b.mu.Lock()
		b.connections++
		b.first = buf
		b.mu.Unlock()
		if settings.TLS != nil {
			conn = tls.Server(conn, &tls.Config{
				NextProtos:     []string{"h2", "http/1.1"},
				GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return makeCertificate() },
			})
		}
		in := bufio.NewReader(conn)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			text := fmt.Sprintf("%v %v", header.Source, header.Destination)
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		}
	})
	b.Backend = with(settings, backend)
	return b
}

// ownTLS recognises an endpoint with the certificate of these tests.
func ownTLS(t *testing.T) *router.BackendTLS {
	t.Helper()
	certificate, err := makeCertificate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &router.BackendTLS{ServerName: "app.test", Roots: roots}
}

// An endpoint is told whose connection is forwarded, and no connection to it serves two
// clients, nor one client twice.
func TestIntroduction(t *testing.T) {
	for _, test := range []struct {
		name     string
		settings router.BackendSettings
		begins   string
	}{
		{"v1", router.BackendSettings{ProxyProtocol: router.ProxyProtocolV1}, "PROXY TCP4 127.0.0.1 127.0.0.1 "},
		{"v2", router.BackendSettings{ProxyProtocol: router.ProxyProtocolV2}, "\r\n\r\n\x00\r\nQUIT\n\x21\x11"},
		{"v2 before TLS", router.BackendSettings{ProxyProtocol: router.ProxyProtocolV2, Protocol: router.HTTPS, TLS: ownTLS(t)}, "\r\n\r\n\x00\r\nQUIT\n\x21\x11"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
				backend := newIntroduced(t, test.settings)
				g.route("/", backend.Backend)
				g.apply()
				requests := 0
				for range 2 {
					c := g.dial()
					want := fmt.Sprintf("%v %v", c.conn.LocalAddr(), c.conn.RemoteAddr())
					for range 2 {
						requests++
						c.send("POST / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 192.0.2.9\r\nContent-Length: 3\r\n\r\nabc")
						if res, body := c.response("POST"); res.StatusCode != http.StatusOK || body != want {
							t.Errorf("%d %q, want %q", res.StatusCode, body, want)
						}
					}
				}
				backend.mu.Lock()
				defer backend.mu.Unlock()
				if backend.connections != requests {
					t.Errorf("%d connections for %d requests", backend.connections, requests)
				}
				if first := string(backend.first[:min(len(test.begins), len(backend.first))]); first != test.begins {
					t.Errorf("begins with %q", first)
				}
			})
		})
	}
}

// Whom a load balancer names by the PROXY protocol goes on to the endpoint.
func TestIntroductionIsPassedOn(t *testing.T) {
	settings := Settings{ProxyProtocolFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	run(t, allModes, settings, func(t *testing.T, g *gateway) {
		backend := newIntroduced(t, router.BackendSettings{ProxyProtocol: router.ProxyProtocolV1})
		g.route("/", backend.Backend)
		g.apply()
		conn, err := net.Dial("tcp", g.address())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, "PROXY TCP6 2001:db8::1 2001:db8::2 1111 443\r\n"); err != nil {
			t.Fatal(err)
		}
		c := g.over(conn)
		c.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		if _, body := c.response("GET"); body != "[2001:db8::1]:1111 [2001:db8::2]:443" {
			t.Errorf("%q", body)
		}
	})
}
