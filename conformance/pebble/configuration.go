package pebble

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const day = 24 * time.Hour

// defaultProfiles are Let's Encrypt's.
func defaultProfiles() map[string]time.Duration {
	return map[string]time.Duration{"default": 90 * day, "shortlived": 6 * day}
}

// configuration is Pebble's own file (cmd/pebble/main.go there).
type configuration struct {
	ListenAddress                  string             `json:"listenAddress"`
	ManagementListenAddress        string             `json:"managementListenAddress"`
	Certificate                    string             `json:"certificate"`
	PrivateKey                     string             `json:"privateKey"`
	HTTPPort                       int                `json:"httpPort"`
	TLSPort                        int                `json:"tlsPort"`
	ExternalAccountBindingRequired bool               `json:"externalAccountBindingRequired"`
	ExternalAccountMACKeys         map[string]string  `json:"externalAccountMACKeys,omitempty"`
	DomainBlocklist                []string           `json:"domainBlocklist,omitempty"`
	KeyAlgorithm                   string             `json:"keyAlgorithm"`
	Profiles                       map[string]profile `json:"profiles"`
}

type profile struct {
	Description    string `json:"description"`
	ValidityPeriod uint64 `json:"validityPeriod"` // seconds
}

// writeConfiguration returns the path of the file. Ports are for ACME, management,
// HTTP-01 and TLS-ALPN-01.
func (s *Server) writeConfiguration(o Options, ports []uint16, id *identity) (string, error) {
	certificate, key := filepath.Join(s.dir, "certificate.pem"), filepath.Join(s.dir, "key.pem")
	c := configuration{
		ListenAddress: local(ports[0]), ManagementListenAddress: local(ports[1]),
		Certificate: certificate, PrivateKey: key,
		HTTPPort: o.HTTPPort, TLSPort: o.TLSPort,
		ExternalAccountBindingRequired: len(o.ExternalAccounts) > 0, ExternalAccountMACKeys: o.ExternalAccounts,
		DomainBlocklist: o.Blocked, KeyAlgorithm: "ecdsa", Profiles: map[string]profile{},
	}
	if c.HTTPPort == 0 {
		c.HTTPPort = int(ports[2])
	}
	if c.TLSPort == 0 {
		c.TLSPort = int(ports[3])
	}
	profiles := o.Profiles
	if profiles == nil {
		profiles = defaultProfiles()
	}
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		c.Profiles[name] = profile{Description: "certificates for " + profiles[name].String(), ValidityPeriod: uint64(profiles[name] / time.Second)}
	}
	content, err := json.Marshal(map[string]configuration{"pebble": c})
	if err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	path := filepath.Join(s.dir, "pebble.json")
	for file, content := range map[string][]byte{path: content, certificate: id.certificatePEM, key: id.keyPEM} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return "", fmt.Errorf("write configuration: %w", err)
		}
	}
	return path, nil
}

// environment is what Pebble has no file for.
func environment(o Options) []string {
	env := []string{
		"PEBBLE_VA_NOSLEEP=1", // a test waits for nobody
		"PEBBLE_AUTHZREUSE=" + strconv.Itoa(o.ReuseAuthorizations),
		"PEBBLE_ALTERNATE_ROOTS=" + strconv.Itoa(o.AlternateChains),
	}
	if o.BadNonces != 0 {
		env = append(env, "PEBBLE_WFE_NONCEREJECT="+strconv.Itoa(max(0, o.BadNonces)))
	}
	return env
}

func local(port uint16) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
}

// identity is the certificate of the directory's own HTTPS, signed by itself and
// trusted as it is.
type identity struct {
	rootPEM, certificatePEM, keyPEM []byte
	certificate                     tls.Certificate
}

func newIdentity() (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "Pebble's directory"},
		NotBefore: now.Add(-day), NotAfter: now.Add(10 * 365 * day), // tests may turn the clock
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write key: %w", err)
	}
	id := &identity{
		certificatePEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	id.rootPEM = id.certificatePEM
	id.certificate, err = tls.X509KeyPair(id.certificatePEM, id.keyPEM)
	return id, err
}
