package tls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"math/big"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The signature of RFC 6979 §A.2.5 with SHA-256 and message = "sample".
func TestSignatureOfRFC6979(t *testing.T) {
	key := func() (crypto.Signer, error) {
		return ecdsa.ParseRawPrivateKey(elliptic.P256(), unhex(t, "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"))
	}
	var store Store
	store.Apply(map[string][]Certificate{":443": {{Certificate: certificateOf(t, "a.test", key)}}})
	served, err := store.For(":443")(&tls.ClientHelloInfo{
		SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
	})
	if err != nil || served == nil {
		t.Fatalf("no certificate: %v", err)
	}
	digest := sha256.Sum256([]byte("sample"))
	signature, err := served.PrivateKey.(crypto.Signer).Sign(rand.Reader, digest[:], crypto.SHA256)
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

// Certificates serve handshakes, whatever their key and the version.
func TestCertificatesServeHandshakes(t *testing.T) {
	for name, generate := range map[string]func() (crypto.Signer, error){
		"P-256":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"P-384":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"P-521":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
		"RSA":     rsaKey,
		"Ed25519": func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err },
	} {
		t.Run(name, func(t *testing.T) {
			var store Store
			store.Apply(map[string][]Certificate{":443": {{"a.test", certificateOf(t, "a.test", generate)}}})
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				client := &tls.Config{ServerName: "a.test", MinVersion: version, MaxVersion: version}
				if got, err := handshake(t, &store, ":443", client); err != nil || got != "a.test" {
					t.Errorf("%s: %q, %v", tls.VersionName(version), got, err)
				}
			}
		})
	}
}
