package tls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Challenge is a question of a CA that a certificate in a handshake answers
// (TLS-ALPN-01, RFC 8737).
type Challenge struct{ Identifier, KeyAuthorization string }

const (
	// challengeProtocol is the only one that the CA's handshake offers.
	challengeProtocol = "acme-tls/1"
	// challengeValidity is more than any CA takes to ask.
	challengeValidity = 24 * time.Hour
)

// ApplyChallenges replaces the challenges that all sockets answer.
func (s *Store) ApplyChallenges(challenges []Challenge) error {
	answers := make(map[string]*tls.Certificate, len(challenges))
	for _, c := range challenges {
		certificate, err := c.certificate()
		if err != nil {
			return fmt.Errorf("answer challenge for %s: %w", c.Identifier, err)
		}
		answers[strings.ToLower(c.Identifier)] = certificate
	}
	s.challenges.Store(&answers)
	return nil
}

// isChallenge reports whether a CA asks, and not a client.
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{challengeProtocol})
}

// answer returns the certificate that a CA asks for, or nil.
func (s *Store) answer(hello *tls.ClientHelloInfo) *tls.Certificate {
	answers := s.challenges.Load()
	if answers == nil {
		return nil
	}
	return (*answers)[strings.ToLower(hello.ServerName)]
}

// certificate is the answer of RFC 8737 §3: a certificate that signs itself, with the
// digest of the key authorization in a critical extension.
func (c Challenge) certificate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	digest := sha256.Sum256([]byte(c.KeyAuthorization))
	value, err := asn1.Marshal(digest[:])
	if err != nil {
		return nil, fmt.Errorf("encode digest: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "ACME challenge"},
		DNSNames:     []string{c.Identifier},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(challengeValidity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		ExtraExtensions: []pkix.Extension{{
			Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}, Critical: true, Value: value, // id-pe-acmeIdentifier
		}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
