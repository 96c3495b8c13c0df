package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
)

// algorithm of a key that none is named for.
const defaultAlgorithm = "ECDSA-256"

// algorithms are those of keys that CAs sign.
func algorithms() []string {
	return []string{defaultAlgorithm, "ECDSA-384", "RSA-2048", "RSA-4096", "Ed25519"}
}

// newKey makes a private key.
func newKey(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "", defaultAlgorithm:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSA-384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "RSA-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "RSA-4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "Ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return nil, fmt.Errorf("make key: algorithm %q is unknown", algorithm)
	}
}

// algorithmOf names the algorithm of a public key as Certificate.KeyAlgorithm does;
// "" if it has no name there.
func algorithmOf(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ECDSA-%d", key.Curve.Params().BitSize)
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", key.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	default:
		return ""
	}
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func decodeKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("decode key: it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("decode key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("decode key: a %T cannot sign", key)
	}
	return signer, nil
}

// signingRequest returns what an order is finalized with (RFC 8555 §7.4), in DER.
func signingRequest(want Certificate, key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: want.CommonName},
		DNSNames: want.Names,
	}, key)
	if err != nil {
		return nil, fmt.Errorf("make signing request: %w", err)
	}
	return der, nil
}
