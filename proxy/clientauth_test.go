package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// authority makes certificates for clients.
type authority struct {
	t     *testing.T
	key   *ecdsa.PrivateKey
	root  *x509.Certificate
	roots *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t), roots: x509.NewCertPool()}
	a.root = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, a.key)
	a.roots.AddCert(a.root)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	a.t.Helper()
	template.SerialNumber, template.NotAfter = big.NewInt(1), time.Now().Add(time.Hour)
	parent := a.root
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate
}

// client makes a certificate for a client.
func (a *authority) client() tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	certificate := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key)
	return tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
}

// tlsConfig is that of the gateway's client, to be changed before it is used.
func (g *gateway) tlsConfig() *tls.Config {
	switch transport := g.client.Transport.(type) {
	case *http.Transport:
		return transport.TLSClientConfig
	case *http3.Transport:
		return transport.TLSClientConfig
	}
	g.t.Fatal("another transport")
	return nil
}

// demand applies the rules with a socket that asks clients for certificates of a.
func (g *gateway) demand(kind tls.ClientAuthType, a *authority) {
	g.t.Helper()
	l := Listener{Name: socketName, GetCertificate: certificateFor("app.test"), ClientAuth: kind, ClientCAs: a.roots}
	if err := g.server.Apply(g.table(), []Listener{l})[socketName]; err != nil {
		g.t.Fatal(err)
	}
}

// Who has no certificate, or another authority's, gets nowhere.
func TestClientCertificates(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	for _, test := range []struct {
		name     string
		kind     tls.ClientAuthType
		presents *authority
		served   bool
	}{
		{"required, none", tls.RequireAndVerifyClientCert, nil, false},
		{"required, ours", tls.RequireAndVerifyClientCert, ours, true},
		{"required, another", tls.RequireAndVerifyClientCert, others, false},
		{"optional, none", tls.VerifyClientCertIfGiven, nil, true},
		{"optional, another", tls.VerifyClientCertIfGiven, others, false},
		{"not asked for", tls.NoClientCert, others, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, []mode{tlsMode, h2Mode, h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
				g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) {}))
				g.demand(test.kind, ours)
				if test.presents != nil {
					certificate := test.presents.client()
					g.tlsConfig().GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
				}
				res, err := g.client.Get(g.url("/"))
				if err == nil {
					res.Body.Close()
				}
				if served := err == nil && res.StatusCode == http.StatusOK; served != test.served {
					t.Errorf("served %v, want %v: %v", served, test.served, err)
				}
			})
		})
	}
}

// From when certificates are asked for on, connections and sessions from before are no
// way around them.
func TestClientCertificatesFromNowOn(t *testing.T) {
	run(t, []mode{tlsMode, h2Mode, h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		ours := newAuthority(t)
		g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) {}))
		g.apply()
		g.tlsConfig().ClientSessionCache = tls.NewLRUClientSessionCache(8)
		if res, _ := g.get("/"); res.StatusCode != http.StatusOK {
			t.Fatalf("before: %d", res.StatusCode)
		}
		g.demand(tls.RequireAndVerifyClientCert, ours)
		eventually(t, "the connection has ended", func() bool { return g.server.Stats().Downstream.Load() == 0 })
		if res, err := g.client.Get(g.url("/")); err == nil {
			res.Body.Close()
			t.Errorf("served: %d", res.StatusCode)
		}
	})
}
