package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	corev1 "k8s.io/api/core/v1"
)

// The signature of RFC 6979 §A.2.5 with SHA-256 and message = "sample".
func TestSignatureOfRFC6979(t *testing.T) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), unhex(t, "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("sample"))
	signature, err := signing(key).(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var r, s big.Int
	var pair cryptobyte.String
	in := cryptobyte.String(signature)
	if !in.ReadASN1(&pair, asn1.SEQUENCE) || !pair.ReadASN1Integer(&r) || !pair.ReadASN1Integer(&s) || !pair.Empty() {
		t.Fatalf("signature %x is not that of ECDSA", signature)
	}
	wantR := new(big.Int).SetBytes(unhex(t, "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"))
	wantS := new(big.Int).SetBytes(unhex(t, "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"))
	if r.Cmp(wantR) != 0 || s.Cmp(wantS) != 0 {
		t.Errorf("r = %x, s = %x; want %x and %x", &r, &s, wantR, wantS)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Certificates of Secrets serve handshakes, whatever their key and the version.
func TestCertificatesServeHandshakes(t *testing.T) {
	for name, generate := range map[string]func() (crypto.Signer, error){
		"P-256":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"P-384":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"P-521":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
		"RSA":     func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
		"Ed25519": func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err },
	} {
		t.Run(name, func(t *testing.T) {
			key, err := generate()
			if err != nil {
				t.Fatal(err)
			}
			pair := parseKeyPair(secretWith(t, key))
			if pair.fault != "" {
				t.Fatal(pair.fault)
			}
			roots := x509.NewCertPool()
			roots.AddCert(pair.certificate.Leaf)
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				shake(t, pair.certificate, &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: version, MaxVersion: version})
			}
		})
	}
}

// secretWith is a Secret with a certificate for example.com.
func secretWith(t *testing.T, key crypto.Signer) *corev1.Secret {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}}
}

// shake does a handshake of a client with a server that has a certificate, which it asks of
// the client too.
func shake(t *testing.T, certificate *tls.Certificate, client *tls.Config) {
	t.Helper()
	client.Certificates = []tls.Certificate{*certificate}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	served := make(chan error, 1)
	go func() {
		served <- tls.Server(far, &tls.Config{
			Certificates: []tls.Certificate{*certificate}, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		}).Handshake()
	}()
	if err := tls.Client(near, client).Handshake(); err != nil {
		t.Errorf("client, %s: %v", tls.VersionName(client.MaxVersion), err)
		near.Close()
	}
	if err := <-served; err != nil {
		t.Errorf("server, %s: %v", tls.VersionName(client.MaxVersion), err)
	}
}
