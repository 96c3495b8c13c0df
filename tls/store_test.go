package tls

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

func certificate(t testing.TB, names ...string) *tls.Certificate {
	t.Helper()
	certPEM, keyPEM, err := SelfSigned(names, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

func rsaKey() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// certificateOf makes a certificate that signs itself with a key.
func certificateOf(t testing.TB, name string, generate func() (crypto.Signer, error)) *tls.Certificate {
	t.Helper()
	key, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// handshake returns the common name of the certificate that a client gets.
func handshake(t testing.TB, store *Store, socket string, client *tls.Config) (string, error) {
	t.Helper()
	client.InsecureSkipVerify = true
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	server := tls.Server(far, &tls.Config{GetCertificate: store.For(socket)})
	// A server in TLS 1.3 goes on after its Finished only once its session
	// ticket is read: closing the pipe ends it.
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Handshake()
	}()
	conn := tls.Client(near, client)
	err := conn.HandshakeContext(context.Background())
	near.Close()
	<-done
	if err != nil {
		return "", err
	}
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestStoreServesTheMostSpecificName(t *testing.T) {
	entry := func(serverName, commonName string, more ...string) Certificate {
		return Certificate{ServerName: serverName, Certificate: certificate(t, append([]string{commonName}, more...)...)}
	}
	var store Store
	store.Apply(map[string][]Certificate{
		":443": {
			entry("*.example.com", "wildcard", "*.example.com", "*.deep.example.com"),
			entry("www.example.com", "exact", "www.example.com"),
			entry("*.b.example.com", "long wildcard", "*.b.example.com"),
			entry("example.com", "apex", "example.com"),
			entry("two.test", "first of two", "other.test"),
			entry("two.test", "second of two", "two.test"),
			entry("misnamed.test", "misnamed", "something.else"),
		},
		":8443": {entry("", "any", "fallback.test"), entry("www.example.com", "other socket", "www.example.com")},
		":9443": nil,
	})
	const refused = ""
	for _, tc := range []struct{ name, socket, serverName, want string }{
		{"exact before wildcard", ":443", "www.example.com", "exact"},
		{"case does not count", ":443", "WWW.Example.COM", "exact"},
		{"wildcard, one label", ":443", "api.example.com", "wildcard"},
		{"wildcard, two labels", ":443", "x.deep.example.com", "wildcard"},
		{"longest suffix first", ":443", "a.b.example.com", "long wildcard"},
		{"a wildcard is not its own suffix", ":443", "example.com", "apex"},
		{"longer wildcard is not its own suffix", ":443", "b.example.com", "wildcard"},
		{"of one name the first that suits", ":443", "two.test", "second of two"},
		{"a certificate for another name still answers", ":443", "misnamed.test", "misnamed"},
		{"unknown name", ":443", "unknown.test", refused},
		{"no name and no default", ":443", "", refused},
		{"default for any name", ":8443", "unknown.test", "any"},
		{"default for no name", ":8443", "", "any"},
		{"sockets are apart", ":8443", "www.example.com", "other socket"},
		{"socket without certificates", ":9443", "www.example.com", refused},
		{"unknown socket", ":1", "www.example.com", refused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := handshake(t, &store, tc.socket, &tls.Config{ServerName: tc.serverName})
			if tc.want == refused {
				wantUnrecognizedName(t, err)
			} else if err != nil || got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func wantUnrecognizedName(t *testing.T, err error) {
	t.Helper()
	const unrecognizedName = tls.AlertError(112)
	var alert tls.AlertError
	var remote *net.OpError
	if !errors.As(err, &alert) && errors.As(err, &remote) {
		// A client gets the alert as the text of an OpError.
		if remote.Err.Error() == unrecognizedName.Error() {
			return
		}
	}
	if alert != unrecognizedName {
		t.Errorf("got %v; want the alert unrecognized_name", err)
	}
}

func TestStoreServesTheKeyThatTheClientKnows(t *testing.T) {
	var store Store
	ec, rs := certificate(t, "a.test"), certificateOf(t, "a.test", rsaKey)
	store.Apply(map[string][]Certificate{":443": {{"a.test", ec}, {"a.test", rs}}})
	for _, tc := range []struct {
		name   string
		suites []uint16
		want   *tls.Certificate
	}{
		{"both", []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, ec},
		{"RSA alone", []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, rs},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got *tls.Certificate
			get := store.For(":443")
			near, far := net.Pipe()
			server := tls.Server(far, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				c, err := get(h)
				got = c
				return c, err
			}})
			done := make(chan struct{})
			go func() { defer close(done); _ = server.Handshake() }()
			err := tls.Client(near, &tls.Config{
				ServerName: "a.test", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: tc.suites,
			}).Handshake()
			near.Close()
			<-done
			if err != nil || got == nil || !slices.Equal(got.Certificate[0], tc.want.Certificate[0]) {
				t.Errorf("wrong certificate (error %v)", err)
			}
		})
	}
}

func TestZeroStoreRefuses(t *testing.T) {
	_, err := handshake(t, new(Store), ":443", &tls.Config{ServerName: "a.test"})
	wantUnrecognizedName(t, err)
}

// A handshake during a swap gets the old or the new certificate, and never none.
func TestApplyDuringHandshakes(t *testing.T) {
	var store Store
	sets := []map[string][]Certificate{
		{":443": {{"a.test", certificate(t, "a.test")}}},
		{":443": {{"a.test", certificate(t, "a.test")}, {"b.test", certificate(t, "b.test")}}, ":8443": nil},
	}
	store.Apply(sets[0])
	stop := make(chan struct{})
	var swapping, shaking sync.WaitGroup
	swapping.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				store.Apply(sets[i%2])
			}
		}
	})
	for range 4 {
		shaking.Go(func() {
			for range 50 {
				if got, err := handshake(t, &store, ":443", &tls.Config{ServerName: "a.test"}); err != nil || got != "a.test" {
					t.Errorf("got %q, %v", got, err)
					return
				}
			}
		})
	}
	shaking.Wait()
	close(stop)
	swapping.Wait()
}

func TestSelfSignedVerifies(t *testing.T) {
	certPEM, keyPEM, err := SelfSigned([]string{"a.test", "*.b.test", "127.0.0.1", "::1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	for _, name := range []string{"a.test", "x.b.test", "127.0.0.1", "::1"} {
		if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Leaf.VerifyHostname("c.test"); err == nil {
		t.Error("valid for a name that it was not made for")
	}
	for _, bad := range []struct {
		names    []string
		validity time.Duration
	}{{nil, time.Hour}, {[]string{"a.test"}, 0}} {
		if _, _, err := SelfSigned(bad.names, bad.validity); err == nil {
			t.Errorf("SelfSigned(%v, %v) made a certificate", bad.names, bad.validity)
		}
	}
}

func BenchmarkStore(b *testing.B) {
	var store Store
	store.Apply(map[string][]Certificate{":443": {{"*.example.com", certificate(b, "*.example.com")}}})
	get := store.For(":443")
	hello := &tls.ClientHelloInfo{
		ServerName: "www.example.com", SupportedVersions: []uint16{tls.VersionTLS13},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
	}
	b.ReportAllocs()
	for b.Loop() {
		if c, _ := get(hello); c == nil {
			b.Fatal("no certificate")
		}
	}
}
