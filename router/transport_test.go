package router

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"
)

// issued is a certificate and the key to issue others.
type issued struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// issue makes a certificate for template, signed by parent or, without one, by itself.
func issue(t *testing.T, template *x509.Certificate, parent *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	by, signer := template, key
	if parent != nil {
		by, signer = parent.Certificate, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{c, key}
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

func TestBackendTLSVerify(t *testing.T) {
	root, other := issue(t, authority("root"), nil), issue(t, authority("other"), nil)
	middle := issue(t, authority("middle"), root)
	leaf := issue(t, &x509.Certificate{
		DNSNames: []string{"shop.internal", "*.apps.internal"},
		URIs:     []*url.URL{{Scheme: "spiffe", Host: "cluster", Path: "/shop"}},
	}, middle)
	client := issue(t, &x509.Certificate{
		DNSNames: []string{"shop.internal"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, root)
	trusted, strangers := x509.NewCertPool(), x509.NewCertPool()
	trusted.AddCert(root.Certificate)
	strangers.AddCert(other.Certificate)
	chain := []*x509.Certificate{leaf.Certificate, middle.Certificate}

	for _, tt := range []struct {
		name string
		tls  BackendTLS
		sent []*x509.Certificate
		in   time.Duration // from now
		want bool
	}{
		{"server name", BackendTLS{ServerName: "shop.internal", Roots: trusted}, chain, 0, true},
		{"wildcard", BackendTLS{ServerName: "a.apps.internal", Roots: trusted}, chain, 0, true},
		{"another name", BackendTLS{ServerName: "evil.internal", Roots: trusted}, chain, 0, false},
		{"another authority", BackendTLS{ServerName: "shop.internal", Roots: strangers}, chain, 0, false},
		{"the system's authorities", BackendTLS{ServerName: "shop.internal"}, chain, 0, false},
		{"no intermediate", BackendTLS{ServerName: "shop.internal", Roots: trusted}, chain[:1], 0, false},
		{"nothing sent", BackendTLS{ServerName: "shop.internal", Roots: trusted}, nil, 0, false},
		{"expired", BackendTLS{ServerName: "shop.internal", Roots: trusted}, chain, 2 * time.Hour, false},
		{"of a client", BackendTLS{ServerName: "shop.internal", Roots: trusted}, []*x509.Certificate{client.Certificate}, 0, false},
		{"DNS name instead", BackendTLS{ServerName: "sni", DNSNames: []string{"x", "shop.internal"}, Roots: trusted}, chain, 0, true},
		{"URI instead", BackendTLS{ServerName: "sni", URIs: []string{"spiffe://cluster/shop"}, Roots: trusted}, chain, 0, true},
		{"one of both", BackendTLS{ServerName: "sni", DNSNames: []string{"x"}, URIs: []string{"spiffe://cluster/shop"}, Roots: trusted}, chain, 0, true},
		{"server name alone is not enough", BackendTLS{ServerName: "shop.internal", DNSNames: []string{"x"}, Roots: trusted}, chain, 0, false},
		{"another URI", BackendTLS{ServerName: "sni", URIs: []string{"spiffe://cluster/shop/"}, Roots: trusted}, chain, 0, false},
		{"names of a stranger", BackendTLS{ServerName: "sni", DNSNames: []string{"shop.internal"}, Roots: strangers}, chain, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.tls.Verify(tt.sent, time.Now().Add(tt.in)); (err == nil) != tt.want {
				t.Errorf("got %v, want valid %t", err, tt.want)
			}
		})
	}
}

func TestBackendSettingsEqual(t *testing.T) {
	pool := func(names ...string) *x509.CertPool {
		p := x509.NewCertPool()
		for _, name := range names {
			p.AddCert(&x509.Certificate{Raw: []byte(name), RawSubject: []byte(name)})
		}
		return p
	}
	https := func(tls BackendTLS) BackendSettings { return BackendSettings{Protocol: HTTPS, TLS: &tls} }
	different := []func() BackendSettings{
		func() BackendSettings { return BackendSettings{} },
		func() BackendSettings { return BackendSettings{Protocol: H2C} },
		func() BackendSettings { return BackendSettings{Outlier: Outlier{Errors: 5}} },
		func() BackendSettings { return BackendSettings{SlowStart: time.Second} },
		func() BackendSettings { return BackendSettings{Circuit: Circuit{MaxPending: 1}} },
		func() BackendSettings { return https(BackendTLS{ServerName: "a"}) },
		func() BackendSettings { return https(BackendTLS{ServerName: "b"}) },
		func() BackendSettings { return https(BackendTLS{ServerName: "a", Roots: pool("x")}) },
		func() BackendSettings { return https(BackendTLS{ServerName: "a", Roots: pool("x", "y")}) },
		func() BackendSettings { return https(BackendTLS{ServerName: "a", DNSNames: []string{"c"}}) },
		func() BackendSettings { return https(BackendTLS{ServerName: "a", URIs: []string{"c"}}) },
		func() BackendSettings { return https(BackendTLS{ServerName: "a", ALPN: []string{"h2"}}) },
	}
	for i, one := range different {
		for j, other := range different {
			x, y := one(), other()
			if got := x.Equal(&y); got != (i == j) {
				t.Errorf("%d and %d: got %t", i, j, got)
			}
		}
	}
}

func TestNewBackendRefusesContradictions(t *testing.T) {
	for name, s := range map[string]BackendSettings{
		"HTTPS without TLS":  {Protocol: HTTPS},
		"TLS without HTTPS":  {TLS: &BackendTLS{ServerName: "a"}},
		"TLS without a name": {Protocol: HTTPS, TLS: &BackendTLS{}},
		"TLS beside h2c":     {Protocol: H2C, TLS: &BackendTLS{ServerName: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("made a Backend")
				}
			}()
			NewBackendWith("default/shop:80", s)
		})
	}
}
