package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificateLife outlives any test and any day of work.
const certificateLife = 30 * 24 * time.Hour

// authority signs the certificates of one control plane.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// keyPair is a certificate and its key, both PEM.
type keyPair struct{ certificate, key []byte }

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	template := template("lintel-test-ca")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate authority: %w", err)
	}
	return &authority{certificate, key, encode("CERTIFICATE", der)}, nil
}

// server issues a certificate for the API server's addresses.
func (a *authority) server() (keyPair, error) {
	t := template("kube-apiserver")
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)}
	return a.issue(t)
}

// client issues a certificate that is a user of a group (Kubernetes' X.509 client
// certificates: the common name is the user, each organization a group).
func (a *authority) client(user, group string) (keyPair, error) {
	t := template(user)
	t.Subject.Organization = []string{group}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(t)
}

func (a *authority) issue(t *x509.Certificate) (keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, fmt.Errorf("generate key: %w", err)
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return keyPair{}, fmt.Errorf("sign certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	return keyPair{encode("CERTIFICATE", der), keyPEM}, err
}

func template(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(certificateLife),
	}
}

// encodeKey uses the SEC 1 form, the only one from which the API server also reads
// the public key.
func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return encode("EC PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// credentials are the files that the API server is started with, by flag.
type credentials struct {
	admin keyPair
	ca    []byte
	flags []string
}

// writeCredentials makes a fresh authority and everything that it signs in dir.
func writeCredentials(dir string) (*credentials, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	server, err := ca.server()
	if err != nil {
		return nil, err
	}
	admin, err := ca.client("admin", "system:masters")
	if err != nil {
		return nil, err
	}
	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	tokenKey, err := encodeKey(tokens)
	if err != nil {
		return nil, err
	}
	c := &credentials{admin: admin, ca: ca.pem}
	for _, f := range []struct {
		name    string
		content []byte
		flags   []string
	}{
		{"ca.crt", ca.pem, []string{"--client-ca-file"}},
		{"apiserver.crt", server.certificate, []string{"--tls-cert-file"}},
		{"apiserver.key", server.key, []string{"--tls-private-key-file"}},
		{"tokens.key", tokenKey, []string{"--service-account-key-file", "--service-account-signing-key-file"}},
	} {
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, f.content, 0o600); err != nil {
			return nil, fmt.Errorf("write credentials: %w", err)
		}
		for _, flag := range f.flags {
			c.flags = append(c.flags, flag+"="+path)
		}
	}
	return c, nil
}
