package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/lintel-dev/lintel/router"
)

// resumer is a client of one request a connection, which keeps its sessions.
type resumer struct {
	g      *gateway
	config *tls.Config
}

func (g *gateway) resumer(version uint16) *resumer {
	return &resumer{g, &tls.Config{
		InsecureSkipVerify: true, ServerName: "app.test", MinVersion: version, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}}
}

// request does one, for a path, and reports whether its session was resumed.
func (r *resumer) request(path string) bool {
	r.g.t.Helper()
	conn, err := tls.Dial("tcp", r.g.address(), r.config)
	if err != nil {
		r.g.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"); err != nil {
		r.g.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn) // and the tickets before it
	if err != nil || len(answer) < 12 || string(answer[9:12]) != "200" {
		r.g.t.Fatalf("%q, %v", answer, err)
	}
	return conn.ConnectionState().DidResume
}

// anotherCertificate is one for app.test that is not that of certificateFor.
func anotherCertificate(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"app.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A client that comes again resumes its session, whichever lane serves it, and after
// certificates were swapped too.
func TestSessionsAreResumed(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			run(t, []mode{tlsMode}, Settings{}, func(t *testing.T, g *gateway) {
				backend := httpBackend(t, func(http.ResponseWriter, *http.Request) {})
				g.route("/", backend)
				// Its requests leave the event loops.
				g.route("/full", newIntroduced(t, router.BackendSettings{ProxyProtocol: router.ProxyProtocolV1}).Backend)
				g.apply()
				r := g.resumer(version)
				if r.request("/") {
					t.Error("the first session was resumed")
				}
				for _, path := range []string{"/", "/full", "/full", "/"} {
					if !r.request(path) {
						t.Errorf("no session resumed for %s", path)
					}
				}
				other := anotherCertificate(t)
				g.server.Apply(g.table(), []Listener{{
					Name:           socketName,
					GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return other, nil },
				}})
				if !r.request("/") {
					t.Error("no session resumed after a swap of certificates")
				}
			})
		})
	}
}

// With the same ticket keys a session goes on at another replica, and after a change of
// keys as long as its own is among them.
func TestSessionsAreResumedByOtherReplicas(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			run(t, []mode{tlsMode}, Settings{}, func(t *testing.T, g *gateway) {
				replica := newGateway(t, g.mode, g.server.settings)
				replica.server.SetTicketKeys([][32]byte{{1}}) // before there is a socket
				for _, g := range []*gateway{g, replica} {
					g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) {}))
					g.apply()
				}
				g.server.SetTicketKeys([][32]byte{{1}})
				here := g.resumer(version)
				there := &resumer{replica, here.config}
				resumes := func(at *resumer, want bool, when string) {
					t.Helper()
					if got := at.request("/"); got != want {
						t.Errorf("%s: resumed %v", when, got)
					}
				}
				resumes(here, false, "first")
				resumes(there, true, "at another replica")
				replica.server.SetTicketKeys([][32]byte{{2}, {1}})
				resumes(there, true, "after a change of keys")
				resumes(here, false, "at a replica that has only the old key")
				replica.server.SetTicketKeys([][32]byte{{3}})
				resumes(there, false, "with keys that are all new")
			})
		})
	}
}

// So do sessions of HTTP/3.
func TestSessionsOverQUICAreResumedByOtherReplicas(t *testing.T) {
	run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		replica := newGateway(t, g.mode, g.server.settings)
		cache := tls.NewLRUClientSessionCache(8)
		request := func(g *gateway) bool {
			t.Helper()
			transport := g.h3Transport()
			defer transport.Close()
			transport.TLSClientConfig.ClientSessionCache = cache
			req, err := http.NewRequest(http.MethodGet, g.url("/"), nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if _, err := io.ReadAll(res.Body); err != nil {
				t.Fatal(err)
			}
			return res.TLS.DidResume
		}
		for _, g := range []*gateway{g, replica} {
			g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) {}))
			g.apply()
			g.server.SetTicketKeys([][32]byte{{1}}) // when the socket is open
		}
		if request(g) {
			t.Error("the first session was resumed")
		}
		if !request(replica) {
			t.Error("no session resumed at another replica")
		}
		for _, g := range []*gateway{g, replica} {
			g.server.SetTicketKeys([][32]byte{{2}})
		}
		if request(replica) {
			t.Error("a session resumed with keys that are all new")
		}
	})
}

// What a client sends before the end of the handshake may be sent again by others, so none of it
// is taken, not in a session that is resumed either.
func TestNoEarlyDataOverQUIC(t *testing.T) {
	run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/").Action.Status = http.StatusNoContent
		g.apply()
		cache := tls.NewLRUClientSessionCache(8)
		for _, resumed := range []bool{false, true} {
			var conn *quic.Conn
			transport := g.h3Transport()
			transport.TLSClientConfig.ClientSessionCache = cache
			transport.Dial = func(ctx context.Context, _ string, config *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
				var err error
				conn, err = quic.DialAddrEarly(ctx, g.address(), config, quicConfig)
				return conn, err
			}
			req, err := http.NewRequest(http3.MethodGet0RTT, g.url("/"), nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			state := conn.ConnectionState()
			if res.StatusCode != http.StatusNoContent || state.Used0RTT || state.TLS.DidResume != resumed {
				t.Errorf("%d, early data %t, resumed %t, want %t", res.StatusCode, state.Used0RTT, state.TLS.DidResume, resumed)
			}
			transport.Close()
		}
	})
}
